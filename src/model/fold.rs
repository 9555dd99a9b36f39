//! Folding for comparison. Databases fold differently (SQLite only ASCII), so every compared key is folded here and
//! stored folded; the display form is kept beside it.

use unicode_normalization::UnicodeNormalization;

/// Case- and width-insensitive key: NFKC, lower case, NFKC again, outer white space gone. `Ž` = `ž`, `ﬀ` = `ff`.
pub fn key(text: &str) -> String {
    let trimmed = text.trim();
    if trimmed.is_ascii() {
        return trimmed.to_ascii_lowercase();
    }
    trimmed.nfkc().flat_map(char::to_lowercase).nfkc().map(|c| if c == 'ς' { 'σ' } else { c }).collect()
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
