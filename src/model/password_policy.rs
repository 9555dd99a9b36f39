//! What a password must be, per profile (R10). Pure: `broken` lists every rule that a password breaks, never the first
//! only, and never the password. Lengths count code points of the normalised text. There is no list of millions: a
//! password is common when what is left of it without its decoration (digits and signs around, `@` for `a`) is a word of
//! `COMMON`, a run of the keyboard or a repetition, or when it is made of the person's own names.

use unicode_normalization::UnicodeNormalization;

use super::kind::words;

words! {
    /// Which rules apply; the profile names it.
    PasswordPolicy {
        /// At least 6 characters with upper, lower, digit and special.
        Legacy = "legacy",
        /// NIST SP 800-63B-4: 15 or more as the only factor, 8 with a second; a blocklist; no composition rules.
        Nist = "nist",
        /// Anything that is not empty.
        Any = "any",
    }
}

words! {
    /// A rule that a password breaks. The words are the codes in API answers and the keys of the pages' texts.
    Rule {
        Empty = "empty",
        TooShort = "too_short",
        TooLong = "too_long",
        ControlCharacter = "control_character",
        NoUpper = "no_upper",
        NoLower = "no_lower",
        NoDigit = "no_digit",
        NoSpecial = "no_special",
        Common = "common",
        OwnName = "own_name",
    }
}

/// Code points. Longer ones are refused, so that hashing costs the same for everybody.
pub const MAX_LENGTH: usize = 256;

/// Words that people take for passwords, folded, without decoration.
const COMMON: &[&str] = &[
    "password",
    "passwort",
    "passw",
    "passwd",
    "pass",
    "heslo",
    "haslo",
    "hasło",
    "kennwort",
    "geheim",
    "secret",
    "admin",
    "administrator",
    "root",
    "user",
    "login",
    "welcome",
    "willkommen",
    "vitejte",
    "witaj",
    "letmein",
    "changeme",
    "default",
    "master",
    "monkey",
    "dragon",
    "football",
    "baseball",
    "hockey",
    "soccer",
    "princess",
    "sunshine",
    "shadow",
    "superman",
    "batman",
    "iloveyou",
    "trustno",
    "starwars",
    "whatever",
    "freedom",
    "hello",
    "hallo",
    "ahoj",
    "test",
    "tester",
    "guest",
    "qwerty",
    "qwertz",
    "azerty",
    "summer",
    "winter",
    "spring",
    "autumn",
    "sommer",
    "leto",
    "zima",
    "company",
    "helpdesk",
    "callcentrum",
    "callcenter",
    "musterd",
    "internet",
    "computer",
    "michael",
    "jordan",
    "michelle",
    "daniel",
    "charlie",
    "correcthorsebatterystaple",
    "temporary",
    "initial",
    "service",
    "support",
    "system",
    "manager",
    "office",
    "abcdef",
];

/// Rows whose runs, forwards and backwards, are no secret.
const RUNS: &[&str] = &[
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1q2w3e4r5t6z7u8i9o0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
];

impl PasswordPolicy {
    pub const fn min_length(self, second_factor: bool) -> usize {
        match self {
            PasswordPolicy::Legacy => 6,
            PasswordPolicy::Nist if second_factor => 8,
            PasswordPolicy::Nist => 15,
            PasswordPolicy::Any => 1,
        }
    }

    /// All rules that `password` breaks, in the order of `Rule::ALL`; empty = it may be used. `own` are the person's
    /// login, names and address; `second_factor` says that the account has one.
    pub fn broken(self, password: &str, second_factor: bool, own: &[&str]) -> Vec<Rule> {
        let text = normalised(password);
        let length = text.chars().count();
        if length == 0 {
            return vec![Rule::Empty];
        }
        let mut broken = Vec::new();
        let mut rule = |rule: Rule, fails: bool| {
            if fails {
                broken.push(rule);
            }
        };
        rule(Rule::TooShort, length < self.min_length(second_factor));
        rule(Rule::TooLong, length > MAX_LENGTH);
        rule(Rule::ControlCharacter, text.chars().any(char::is_control));
        if self == PasswordPolicy::Legacy {
            let has = |what: fn(char) -> bool| text.chars().any(what);
            rule(Rule::NoUpper, !has(char::is_uppercase));
            rule(Rule::NoLower, !has(char::is_lowercase));
            rule(Rule::NoDigit, !has(|c| c.is_ascii_digit()));
            rule(Rule::NoSpecial, !has(|c| !c.is_alphanumeric() && !c.is_whitespace()));
        }
        if self != PasswordPolicy::Any && length <= MAX_LENGTH {
            let core = undecorated(&text);
            rule(Rule::Common, is_common(&text, &core));
            rule(Rule::OwnName, is_own(&core, own));
        }
        broken
    }
}

/// The form that is hashed and verified: NFC, so that the same key presses on two systems are the same password. Nothing
/// is trimmed, folded or cut.
pub fn normalised(password: &str) -> String {
    password.nfc().collect()
}

/// Lower case, usual replacements undone, and without what is not a letter.
fn undecorated(text: &str) -> String {
    let plain = text.to_lowercase();
    let trimmed = plain.trim_matches(|c: char| !c.is_alphabetic() && !"@$0".contains(c));
    let letters = trimmed.chars().map(|c| match c {
        '@' | '4' => 'a',
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '$' | '5' => 's',
        '7' => 't',
        other => other,
    });
    letters.filter(|c| c.is_alphabetic()).collect()
}

fn is_common(text: &str, core: &str) -> bool {
    let lower = text.to_lowercase();
    is_repeated(&lower) || is_run(&lower) || (!core.is_empty() && is_made_of_common(core))
}

/// `aaaaaaaa`, `abcabcabc`: a piece of at most a third of the text, again and again.
fn is_repeated(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    (1..=letters.len() / 3).any(|piece| letters.iter().enumerate().all(|(at, c)| *c == letters[at % piece]))
}

fn is_run(text: &str) -> bool {
    let backwards: String = text.chars().rev().collect();
    RUNS.iter().any(|row| row.contains(text) || row.contains(&backwards))
}

/// `passwordpassword`, `adminwelcome`: nothing but common words in a row.
fn is_made_of_common(core: &str) -> bool {
    core.is_empty()
        || COMMON
            .iter()
            .any(|word| core.strip_prefix(word).is_some_and(|rest| rest.len() < core.len() && is_made_of_common(rest)))
}

/// Nothing is left of it when the person's own words and four more letters are taken away.
fn is_own(core: &str, own: &[&str]) -> bool {
    let mut rest = core.to_owned();
    let mut found = false;
    for word in
        own.iter().flat_map(|name| name.split(|c: char| !c.is_alphabetic())).filter(|word| word.chars().count() >= 3)
    {
        let word = word.to_lowercase();
        if rest.contains(&word) {
            rest = rest.replace(&word, "");
            found = true;
        }
    }
    found && rest.chars().count() <= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(policy: PasswordPolicy, password: &str) -> Vec<Rule> {
        policy.broken(password, false, &["eva.novotna@acme.test", "Eva", "Novotná"])
    }

    #[test]
    fn r10_legacy_lists_every_failed_rule() {
        use Rule::*;
        assert_eq!(broken(PasswordPolicy::Legacy, "ž"), [TooShort, NoUpper, NoDigit, NoSpecial]);
        assert_eq!(broken(PasswordPolicy::Legacy, "  "), [TooShort, NoUpper, NoLower, NoDigit, NoSpecial]);
        assert_eq!(broken(PasswordPolicy::Legacy, "Kra1-k"), []);
        assert_eq!(broken(PasswordPolicy::Legacy, "Kra1 k"), [NoSpecial]);
        assert_eq!(broken(PasswordPolicy::Legacy, "Heslo123!"), [Common]);
        assert_eq!(broken(PasswordPolicy::Legacy, ""), [Empty]);
    }

    #[test]
    fn r10_nist_counts_and_blocks_but_does_not_compose() {
        use Rule::*;
        let nist = PasswordPolicy::Nist;
        assert_eq!(broken(nist, "tichá voda břehy"), []);
        assert_eq!(broken(nist, "kratke heslo 1"), [TooShort]);
        assert_eq!(nist.broken("vlkodlak", true, &[]), []);
        assert_eq!(nist.broken("vlkodla", true, &[]), [TooShort]);
        for common in [
            "passwordpassword",
            "P@ssw0rdP@ssw0rd",
            "aaaaaaaaaaaaaaaaaa",
            "abcabcabcabcabcabc",
            "abcdefghijklmnopq",
            "1234567890123456",
            "qwertyuiopasdfgh",
            "admin-welcome-admin",
        ] {
            assert_eq!(broken(nist, common), [Common], "{common}");
        }
        assert_eq!(broken(nist, "eva.novotna@acme"), [OwnName]);
        assert_eq!(broken(nist, &"dlouhá věta ".repeat(3).repeat(10)), [TooLong]);
        assert_eq!(broken(nist, "with a\u{7} bell in it"), [ControlCharacter]);
        let longest: String =
            (0..MAX_LENGTH as u32).map(|at| char::from(b'a' + (at * at * at / 7 % 26) as u8)).collect();
        assert_eq!(broken(nist, &longest), []);
    }

    #[test]
    fn r10_any_takes_everything_but_nothing() {
        assert_eq!(broken(PasswordPolicy::Any, "1"), []);
        assert_eq!(broken(PasswordPolicy::Any, ""), [Rule::Empty]);
    }

    #[test]
    fn two_spellings_of_one_password_are_one() {
        assert_eq!(normalised("z\u{30c}"), normalised("ž"));
        assert_ne!(normalised(" a"), normalised("a"));
    }
}
