//! What others wrote, told to people: on one line, from left to right, and no longer than can be read. It must not look like
//! more of the output, and no terminal may take it as a command. Nothing is decided by it. Start at `plain`.

/// Control characters and marks that turn the direction of writing are shown by their numbers.
pub fn plain(text: &str) -> String {
    if !text.contains(is_strange) {
        return text.to_owned();
    }
    text.chars().map(|c| if is_strange(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// At most so many characters; an ellipsis says that there were more.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn is_strange(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_one_line_from_left_to_right() {
        assert_eq!(plain("a\nb\u{202e}c\u{1b}[2J\u{7}"), "a\\u{a}b\\u{202e}c\\u{1b}[2J\\u{7}");
        assert_eq!(plain("e\u{200b}v\u{feff}a"), "e\\u{200b}v\\u{feff}a", "what nobody sees");
        assert_eq!(plain("Žižka"), "Žižka");
        assert_eq!(cut(&"é".repeat(81), 80).chars().count(), 81);
        assert_eq!(cut("short", 80), "short");
    }
}
