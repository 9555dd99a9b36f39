//! Section `[sources.NAME.scim]`: how the identity provider of the source is spoken with. A preset sets every key; what
//! stands beside it counts more.

use super::read::Section;
use crate::model::dialect::Dialect;

pub(super) fn read(source: &Section<'_>) -> Dialect {
    let section = source.section("scim");
    let preset = Dialect::of(section.word_optional("preset"));
    Dialect {
        preset: preset.preset,
        echo: section.word("patch_answer", preset.echo),
        unknown_members: section.word("unknown_members", preset.unknown_members),
        unknown_attributes: section.word("unknown_attributes", preset.unknown_attributes),
        mode: section.word("mode", preset.mode),
        rehire: section.word("rehire", preset.rehire),
        types: section.word("resource_types", preset.types),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::read::check;
    use super::*;
    use crate::model::dialect::{Echo, Mode, Preset, UnknownMembers};

    #[test]
    fn b7_okta_calls_no_address_with_an_underscore() {
        let text = |url: &str| {
            let source = "[sources.o]\nkind = 'scim'\nrealm = 'agent'\nscim.preset = 'okta'";
            format!("[server]\npublic_url = '{url}'\n{source}")
        };
        assert!(Config::parse(&text("https://m.example/a")).is_ok());
        let refused = Config::parse(&text("https://m.example/a_b")).unwrap_err();
        let keys: Vec<&str> = refused.0.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["sources.o.scim.preset"]);
    }

    #[test]
    fn b7_a_preset_sets_what_is_not_said() {
        let read = |text: &str| check(text, read);
        assert_eq!(read("").unwrap(), Dialect::default());
        let entra = read("[scim]\npreset = 'entra'\nunknown_members = 'refuse'").unwrap();
        assert_eq!((entra.preset, entra.echo), (Some(Preset::Entra), Echo::Users));
        assert_eq!(entra.unknown_members, UnknownMembers::Refuse);
        let other = read("[scim]\npreset = 'entra'\npatch_answer = 'all'\nmode = 'strict'").unwrap();
        assert_eq!((other.echo, other.mode), (Echo::All, Mode::Strict));
        let text = read("[scim]\npreset = 'azure'\nmode = 'lax'\nrehires = 'no'").unwrap_err().to_string();
        for part in ["entra, okta", "tolerant, strict", "rehires"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
