//! The languages of mails and pages (R92), and how a person's wish becomes one of them.

use super::kind::words;

words! {
    Language {
        Cs = "cs",
        De = "de",
        En = "en",
        Pl = "pl",
    }
}

impl Language {
    /// From a SCIM `preferredLanguage`, a locale or an `Accept-Language` header: `cs-CZ`, `pl_PL`, `sk, cs;q=0.8`. Tags
    /// are tried in the order written; Slovak is served in Czech. `None`: none of ours.
    pub fn wished(text: &str) -> Option<Language> {
        text.split(',').find_map(|tag| {
            let tag = tag.split(';').next().unwrap_or_default().trim();
            let primary = tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
            if primary == "sk" { Some(Language::Cs) } else { primary.parse().ok() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r92_wishes_become_languages_or_nothing() {
        for (wish, language) in [
            ("cs", Some(Language::Cs)),
            ("cs-CZ", Some(Language::Cs)),
            ("PL_pl", Some(Language::Pl)),
            ("fr-FR, de;q=0.7, en;q=0.3", Some(Language::De)),
            ("sk", Some(Language::Cs)),
            ("fr", None),
            ("", None),
            ("english", None),
        ] {
            assert_eq!(Language::wished(wish), language, "{wish}");
        }
    }
}
