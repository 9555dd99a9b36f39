//! Filters, tests and functions that an expression names and the engine does not have. The engine itself finds out only
//! when a record comes by, and then every record is bad. Start at `unknown`.

use std::collections::BTreeSet;

use minijinja::{ErrorKind, context};

use super::filters::{ENGINE, OWN};

/// Words before a bracket that call nothing.
const KEYWORDS: [&str; 15] = [
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "elif",
    "else",
    "for",
    "set",
    "loop",
    "caller",
    "super",
    "recursive",
    "filter",
];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call<'t> {
    Filter(&'t str),
    Test(&'t str),
    Function(&'t str),
}

/// Every name that the engine does not know, with what is allowed; `None` where there is none.
pub(super) fn unknown(text: &str, template: bool) -> Option<String> {
    let mut found = BTreeSet::new();
    if template {
        for block in blocks(text) {
            calls(block, &mut found);
        }
    } else {
        calls(text, &mut found);
    }
    let own = text_of_macros(text);
    let told = found.iter().filter(|call| !exists(call)).filter_map(|call| match call {
        Call::Filter(name) => {
            Some(format!("there is no filter `{name}`: there are {} and those of Jinja", OWN.join(", ")))
        }
        Call::Test(name) => {
            Some(format!("there is no test `{name}`: there are those of Jinja (defined, none, string ..)"))
        }
        Call::Function(name) if own.contains(name) => None,
        Call::Function(name) => Some(format!("there is no function `{name}`: there are range, dict and namespace")),
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn text_of_macros(text: &str) -> BTreeSet<&str> {
    let ends = |c: char| !c.is_alphanumeric() && c != '_';
    text.split("macro ").skip(1).filter_map(|rest| rest.trim_start().split(ends).next()).collect()
}

/// Asks the engine, with a value that any of them may refuse.
fn exists(call: &Call<'_>) -> bool {
    let (expression, unknown) = match call {
        Call::Filter(name) => (format!("x|{name}"), ErrorKind::UnknownFilter),
        Call::Test(name) => (format!("x is {name}"), ErrorKind::UnknownTest),
        Call::Function(name) => (format!("{name}()"), ErrorKind::UnknownFunction),
    };
    let Ok(compiled) = ENGINE.compile_expression(&expression) else { return true };
    compiled.eval(context! { x => "" }).err().is_none_or(|error| error.kind() != unknown)
}

fn calls<'t>(code: &'t str, found: &mut BTreeSet<Call<'t>>) {
    let tokens = tokens(code);
    for (at, token) in tokens.iter().enumerate() {
        if !token.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            continue;
        }
        let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at)).copied().unwrap_or_default();
        match (before(2), before(1)) {
            (_, "|") => drop(found.insert(Call::Filter(token))),
            (_, "is") if *token == "not" => {}
            (_, "is") | ("is", "not") => drop(found.insert(Call::Test(token))),
            (_, "." | "macro") => {}
            _ if tokens.get(at + 1) == Some(&"(") && !KEYWORDS.contains(token) => {
                found.insert(Call::Function(token));
            }
            _ => {}
        }
    }
}

/// The code of a template, block by block: `{{ .. }}` and `{% .. %}`.
pub(super) fn blocks(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|opening| rest.find(opening)).min() {
        let (opening, inside) = rest[start..].split_at(2);
        let closing = match opening {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let end = if opening == "{#" { inside.find(closing) } else { end_of(inside, closing) };
        let end = end.unwrap_or(inside.len());
        if opening != "{#" {
            all.push(&inside[..end]);
        }
        rest = inside.get(end + closing.len()..).unwrap_or_default();
    }
    all
}

/// Where the block ends: not in a text in quotes.
fn end_of(inside: &str, closing: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in inside.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if inside[at..].starts_with(closing) => return Some(at),
            None => {}
        }
    }
    None
}

/// Names, and single characters of everything else; texts in quotes are left out.
pub(super) fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut chars = code.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if c == '"' || c == '\'' {
            while let Some((_, inner)) = chars.next() {
                if inner == '\\' {
                    chars.next();
                } else if inner == c {
                    break;
                }
            }
            tokens.push("\"");
        } else if c.is_alphanumeric() || c == '_' {
            let mut end = start + c.len_utf8();
            while let Some((_, next)) = chars.next_if(|(_, next)| next.is_alphanumeric() || *next == '_') {
                end += next.len_utf8();
            }
            tokens.push(&code[start..end]);
        } else if !c.is_whitespace() {
            tokens.push(&code[start..start + c.len_utf8()]);
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_engine_has_not_are_found_wherever_they_stand() {
        for (text, template, wrong) in [
            ("userAccountControl | bit(2)", false, 0),
            ("x | nosuch", false, 1),
            ("a if b is defined and c is not none else nosuch(d) | lower", false, 1),
            ("x is nosuch or y is not another", false, 2),
            ("'a | nosuch' ~ \"b | nosuch()\"", false, 0),
            ("range(3) | join(',') | first | upper", false, 0),
            ("(a) and (b) or not (c) | lookup('t')", false, 0),
            ("a.items() | length", false, 0),
            ("{{ a | nosuch }} x | nosuch() {% if nosuch(b) %}{% endif %}", true, 2),
            ("{% macro m(x) %}{{ x | fold }}{% endmacro %}{{ m(a) }}", true, 0),
            ("{% for a in range(2) %}{{ loop.cycle(a) | e164('CZ') | date | slug }}{% endfor %}", true, 0),
        ] {
            let told = unknown(text, template);
            assert_eq!(told.as_ref().map_or(0, |told| told.matches("there is no").count()), wrong, "{text}: {told:?}");
        }
        for own in OWN {
            assert_eq!(unknown(&format!("x | {own}"), false), None);
        }
    }
}
