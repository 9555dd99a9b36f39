//! Proposals for login names (R6, R76): diacritics folded, lower case, a number on collision. Only proposals: whoever
//! creates the account may override it, and the unique index decides. Owns no list of logins; the caller says what is
//! taken. Start with `propose`.

use super::fold;
use super::kind::words;

words! {
    /// How a profile builds logins (R95).
    Generator {
        /// The display name: `Eva Žižková` -> `eva.zizkova` (R6).
        Title = "title",
        /// First letter and surname: `ezizkova` (R76).
        InitialSurname = "initial_surname",
        /// The e-mail address is the login (R27); without one, the title.
        Email = "email",
    }
}

/// What a login can be made of; empty where it is not known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Names<'a> {
    pub title: &'a str,
    pub given: &'a str,
    pub family: &'a str,
    pub email: &'a str,
}

/// Characters of a login that we propose; a source may use longer ones.
const LONGEST: usize = 64;

/// The part before a collision number. Never empty.
pub fn base(generator: Generator, names: Names<'_>) -> String {
    let made = match generator {
        Generator::Email if !names.email.trim().is_empty() => return fold::key(names.email),
        Generator::InitialSurname if !names.family.trim().is_empty() => {
            let initial: String = ascii(names.given).chars().take(1).collect();
            initial + &ascii(names.family).replace('.', "")
        }
        _ => ascii(names.title),
    };
    let made: String = made.chars().take(LONGEST).collect();
    if made.is_empty() { "user".to_owned() } else { made }
}

/// The first of `base`, `base2`, `base3` … that is not taken (R6).
pub fn propose(generator: Generator, names: Names<'_>, taken: impl Fn(&str) -> bool) -> String {
    let base = base(generator, names);
    if !taken(&base) {
        return base;
    }
    let numbered = (2_u64..).map(|number| match base.split_once('@') {
        Some((local, domain)) => format!("{local}{number}@{domain}"),
        None => format!("{base}{number}"),
    });
    numbered.into_iter().find(|login| !taken(login)).unwrap_or(base)
}

/// Lower-case letters and digits of ASCII, words joined by single dots.
fn ascii(text: &str) -> String {
    let latin = deunicode::deunicode(text).to_ascii_lowercase().replace('\'', "");
    let words = latin.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r6_a_login_from_the_title() {
        let from = |title| base(Generator::Title, Names { title, ..Names::default() });
        assert_eq!(from("Eva Žižková"), "eva.zizkova");
        assert_eq!(from("  Dr.  Jan  O'Hara-Łoś "), "dr.jan.ohara.los");
        assert_eq!(from("Straße 7"), "strasse.7");
        assert_eq!(from("…"), "user");
        assert_eq!(from(&"ab".repeat(100)).len(), 64);
    }

    #[test]
    fn r6_collisions_are_numbered() {
        let taken = |login: &str| matches!(login, "eva.nova" | "eva.nova2");
        let names = Names { title: "Eva Nová", ..Names::default() };
        assert_eq!(propose(Generator::Title, names, taken), "eva.nova3");
        let names = Names { email: "Eva@X.cz", ..names };
        assert_eq!(propose(Generator::Email, names, |login| login == "eva@x.cz"), "eva2@x.cz");
    }

    #[test]
    fn r76_first_letter_and_surname() {
        let names = Names { title: "x", given: "Šárka", family: "Nová Dvořáková", email: "" };
        assert_eq!(propose(Generator::InitialSurname, names, |_| false), "snovadvorakova");
        assert_eq!(propose(Generator::InitialSurname, names, |login| login == "snovadvorakova"), "snovadvorakova2");
        let unnamed = Names { title: "Servis Brno", ..Names::default() };
        assert_eq!(propose(Generator::InitialSurname, unnamed, |_| false), "servis.brno");
    }
}
