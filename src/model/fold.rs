//! Folding for comparison. Databases fold differently (SQLite only ASCII), so every compared key is folded here and
//! stored folded; the display form is kept beside it.

use unicode_normalization::UnicodeNormalization;

/// Case- and width-insensitive key: NFKC, lower case, NFKC again, outer white space gone. `Ž` = `ž`, `ﬀ` = `ff`.
pub fn key(text: &str) -> String {
    part(text.trim())
}

/// The same of a part of a text, whose outer white space stands inside of the whole.
pub fn part(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfkc().flat_map(char::to_lowercase).nfkc().map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn spelling_variants_share_a_key() {
        assert_eq!(key(" John.DOE@Example.com "), "john.doe@example.com");
        assert_eq!(key("ŽIŽKA"), key("žižka"));
        assert_eq!(key("Z\u{30c}"), key("ž"));
        assert_eq!(key("ﬀ"), "ff");
        assert_ne!(key("a"), key("á"));
    }
}
