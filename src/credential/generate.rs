//! Generated passwords: four groups of five characters that cannot be mistaken for each other, about 110 bits, and such
//! that every policy takes them (R10, R28).

use secrecy::SecretString;

use crate::clock::Clock;

/// Without 0 O o, 1 l I, and vowels that make words.
const UPPER: &[u8] = b"BCDFGHJKMNPQRSTVWXZ";
const LOWER: &[u8] = b"bcdfghjkmnpqrstvwxz";
const DIGIT: &[u8] = b"23456789";

/// `Kx4mQ-7bTzd-…`: the first characters of the first three groups are an upper-case letter, a lower-case one, a digit.
pub fn password(clock: &Clock) -> SecretString {
    let every: Vec<u8> = [UPPER, LOWER, DIGIT].concat();
    let mut text = String::with_capacity(23);
    for group in 0..4 {
        for place in 0..5 {
            let from = match (group, place) {
                (0, 0) => UPPER,
                (1, 0) => LOWER,
                (2, 0) => DIGIT,
                _ => &every,
            };
            text.push(char::from(from[clock.below(from.len() as u64) as usize]));
        }
        if group < 3 {
            text.push('-');
        }
    }
    SecretString::from(text)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::model::password_policy::PasswordPolicy;
    use crate::model::time::Millis;

    #[test]
    fn r10_generated_passwords_satisfy_every_policy() {
        let clock = Clock::fixed(Millis(1_790_000_000_000), 3);
        for _ in 0..500 {
            let password = password(&clock);
            for policy in PasswordPolicy::ALL {
                assert_eq!(policy.broken(password.expose_secret(), false, &["eva"]), [], "{policy}");
            }
        }
    }
}
