//! How much a rule may ask of the engine, whose compiler walks an expression by recursion and whose fuel counts steps, not
//! bytes: how long and how deep an expression is, and how long a text it gives. Start at `fault`
//! and `render`.

use std::io;

use minijinja::{Error, ErrorKind, Template, Value};

use super::calls::{blocks, tokens};

/// Characters of a rule.
const LONGEST: usize = 2_000;
/// Operators inside one another, a bracket or a branch counting for several. The compiler's stack bears some times as many.
const DEEPEST: usize = 200;
/// A bracket is a new expression, with all its levels of precedence.
const BRACKET: usize = 5;
/// Bytes of one text that a rule gives.
pub(super) const MOST: usize = 64 << 10;

/// Why the rule is not given to the engine.
pub(super) fn fault(text: &str, template: bool) -> Option<String> {
    let length = text.chars().count();
    if length > LONGEST {
        return Some(format!("is {length} characters long, and a rule has at most {LONGEST}"));
    }
    too_deep(text, template)
}

/// The same for a text of any length.
pub(super) fn too_deep(text: &str, template: bool) -> Option<String> {
    let depth = if template { depth_of_template(text) } else { depth(text) };
    (depth > DEEPEST).then(|| "has too many brackets, operators or branches inside one another".to_owned())
}

fn depth_of_template(text: &str) -> usize {
    // Blocks that are open, and branches: every further one stands inside the one before it.
    let (mut open, mut branches, mut deepest) = (0_usize, 0, 0);
    for block in blocks(text) {
        let word = block.trim_start_matches(['-', '+']).trim_start();
        let word = word.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        match word {
            "if" | "for" | "with" | "filter" | "call" | "macro" | "block" | "autoescape" => open += 1,
            "elif" => branches += 1,
            word if word.starts_with("end") => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max((open + branches) * BRACKET + depth(block));
    }
    deepest
}

/// At most so deep: each operator is taken for one that has all before it, up to the last comma, as its operand.
fn depth(code: &str) -> usize {
    let mut levels = vec![0_usize];
    let (mut sum, mut deepest) = (0, 0);
    for token in tokens(code) {
        let inside = levels.len() > 1;
        let Some(last) = levels.last_mut() else { break };
        let before = *last;
        match token {
            "(" | "[" | "{" => {
                levels.push(BRACKET);
                sum += BRACKET;
            }
            ")" | "]" | "}" if inside => {
                levels.pop();
                // A list, or a call: something to be operated on.
                if let Some(outer) = levels.last_mut() {
                    *outer += 1;
                }
                sum = sum + 1 - before;
            }
            "," | ":" => {
                *last = if inside { BRACKET } else { 0 };
                sum = sum + *last - before;
            }
            token => {
                *last += weight(token);
                sum += weight(token);
            }
        }
        deepest = deepest.max(sum);
    }
    deepest
}

/// What the compiler's stack bears of it.
fn weight(token: &str) -> usize {
    let sign = |c: char| !c.is_alphanumeric() && !"_\"'".contains(c);
    match token {
        "else" | "elif" => BRACKET,
        "not" | "and" | "or" | "in" | "is" | "if" => 1,
        token => usize::from(token.starts_with(sign)),
    }
}

/// Takes a text up to `MOST` bytes.
#[derive(Default)]
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Renders up to `MOST` bytes.
pub(super) fn render(template: &Template<'_, '_>, context: Value) -> Result<String, Error> {
    let mut out = Bounded::default();
    match template.render_captured_to(context, &mut out).map(drop) {
        Ok(()) => Ok(String::from_utf8_lossy(&out.0).into_owned()),
        Err(error) if error.kind() == ErrorKind::WriteFailure => {
            Err(Error::new(ErrorKind::InvalidOperation, too_much()))
        }
        Err(error) => Err(error),
    }
}

/// In the words of a fault.
pub(super) fn too_much() -> String {
    format!("gives a text of more than {MOST} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_rules_are_neither_long_nor_deep() {
        let chain = vec!["a.b | default('x', true)"; 35].join(" ~ ' ' ~ ");
        assert!(chain.len() < LONGEST && fault(&chain, false).is_none(), "{:?}", fault(&chain, false));
        let pieces = "{{ a ~ b }} -----, ((((( ".repeat(60);
        assert_eq!(fault(&pieces, true), None);
        assert_eq!(fault(&format!("'{}'", "-(".repeat(900)), false), None, "a text is no depth");
    }

    #[test]
    fn what_the_compiler_could_not_bear_is_not_given_to_it() {
        for text in [
            "-".repeat(1_999) + "a",
            "a+".repeat(999) + "a",
            "not ".repeat(499) + "a",
            "a**".repeat(600) + "a",
            "(".repeat(1_000),
            "a|first".repeat(250),
            "a.b".repeat(500),
            "a if b else ".repeat(60) + "c",
            "[[a],".repeat(300),
            "f(x=".repeat(300),
        ] {
            assert!(fault(&text, false).is_some(), "{text}");
            assert!(fault(&format!("x {{{{ '}}}}' {text} }}}}"), true).is_some(), "{text}");
        }
        assert!(fault(&("{% if a %}".to_owned() + &"{% elif a %}".repeat(300)), true).is_some());
        assert!(too_deep(&("{% if a %}".to_owned() + &"{%- elif a %}".repeat(300)), true).is_some());
        assert!(fault(&"a".repeat(2_001), false).is_some());
    }

    /// Right at the limit, on half the stack of a thread of the daemon.
    #[test]
    fn what_is_let_through_compiles_on_a_small_stack() {
        let shapes = [
            "-".repeat(DEEPEST) + "a",
            "not ".repeat(DEEPEST) + "a",
            "a+".repeat(DEEPEST) + "a",
            "a**".repeat(DEEPEST / 2) + "a",
            "(".repeat(DEEPEST / BRACKET),
            "(".repeat(DEEPEST / BRACKET) + "a" + &")".repeat(DEEPEST / BRACKET),
            "[-f(a, ".repeat(DEEPEST / BRACKET / 3),
            "a|first".to_owned() + &"|first".repeat(DEEPEST - 1),
            "a if b else ".repeat(DEEPEST / (BRACKET + 1)) + "c",
            "{% if a %}".repeat(DEEPEST / BRACKET - 1) + "x" + &"{% endif %}".repeat(DEEPEST / BRACKET - 1),
            "{% if a %}".to_owned() + &"{% elif a %}".repeat(DEEPEST / BRACKET - 3) + "{% endif %}",
        ];
        let compile = move || {
            for text in shapes {
                let template = text.starts_with("{%");
                assert_eq!(too_deep(&text, template), None, "{text}");
                if template {
                    let mut env = super::super::filters::environment();
                    drop(env.add_template_owned("t", text));
                } else {
                    let compiled = super::super::filters::ENGINE.compile_expression_owned(text);
                    drop(compiled.map(|compiled| compiled.undeclared_variables(false)));
                }
            }
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(compile).unwrap().join().unwrap();
    }
}
