//! "Did you mean": the known word that an unknown one was probably meant to be. Only ever a hint for people; nothing is
//! decided by it. Start at `nearest`.

/// The known word that differs in case alone, or whose last part is the same (`agent.note` for `note`), or that is at most
/// a third of the letters away. Of equally near ones the first.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let folded = word.to_lowercase();
    let rank = |other: &'k str| {
        let plain = other.to_lowercase();
        let far = distance(&folded, &plain);
        let same_part = folded != plain && last(&folded) == last(&plain);
        let near = far * 3 <= word.chars().count().max(3);
        (near || same_part).then_some((!same_part && far > 0, far, other))
    };
    known.into_iter().filter_map(rank).min_by_key(|(part, far, _)| (*part, *far)).map(|(_, _, other)| other)
}

fn last(word: &str) -> &str {
    word.rsplit(['.', ':']).next().unwrap_or(word)
}

/// Levenshtein.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_pen_is_understood_and_another_word_is_not() {
        let known = ["displayName", "userName", "name.givenName", "agent.note", "client.language", "title"];
        for (word, meant) in [
            ("displayNam", Some("displayName")),
            ("username", Some("userName")),
            ("givenName", Some("name.givenName")),
            ("client.note", Some("agent.note")),
            ("note", Some("agent.note")),
            ("titel", None),
            ("titles", Some("title")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
