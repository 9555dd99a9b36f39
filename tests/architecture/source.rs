//! A lexer that knows just enough Rust: comments, strings and lifetimes are skipped, names and punctuation stay, with
//! their lines. Good enough to see paths, attributes and function names; it never sees types or expands macros.
//! Start with `all`.

use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// A name, `::`, or one character of punctuation. A string is `""`.
    pub text: String,
    pub line: usize,
}

pub struct File {
    /// Relative to the package, with `/`.
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below these folders of the package, in order.
pub fn all(folders: &[&str]) -> Vec<File> {
    let mut paths = Vec::new();
    for folder in folders {
        collect(&root().join(folder), "rs", &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// Every file with this extension below `folder`.
pub fn collect(folder: &Path, extension: &str, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, extension, into);
        } else if path.extension().is_some_and(|is| is == extension) {
            into.push(path);
        }
    }
}

fn read(path: &Path) -> File {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let relative = path.strip_prefix(root()).expect("below the package").to_string_lossy().into_owned();
    File { path: relative, tokens: lex(&text), text }
}

impl File {
    /// `src/http/api/users.rs` -> `[http, api, users]`; `src/http/mod.rs` -> `[http]`; `src/lib.rs` -> `[]`.
    pub fn module(&self) -> Vec<&str> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path).trim_end_matches(".rs");
        let mut path: Vec<&str> = inner.split('/').collect();
        if matches!(path.last(), Some(&("mod" | "lib"))) {
            path.pop();
        }
        path
    }

    /// The tokens without the items under `#[cfg(test)]`, and the names of the test modules that are files of their own.
    pub fn without_tests(&self) -> (Vec<Token>, Vec<String>) {
        let tokens = &self.tokens;
        let (mut kept, mut files, mut at) = (Vec::new(), Vec::new(), 0);
        while at < tokens.len() {
            if is(&tokens[at..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
                let end = end_of_item(tokens, at + 7);
                let item = &tokens[at + 7..end];
                if let Some(from) = item.iter().position(|token| token.text == "mod")
                    && item.last().is_some_and(|token| token.text == ";")
                {
                    files.push(item[from + 1].text.clone());
                }
                at = end;
            } else {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
        (kept, files)
    }

    /// The names of the functions that carry an attribute ending in `test` (`#[test]`, `#[tokio::test(..)]`).
    pub fn tests(&self) -> Vec<&Token> {
        let tokens = &self.tokens;
        let (mut found, mut armed) = (Vec::new(), false);
        for at in 0..tokens.len() {
            if is(&tokens[at..], &["#", "["]) {
                let path: Vec<&str> = tokens[at + 2..]
                    .iter()
                    .map(|token| token.text.as_str())
                    .take_while(|text| *text != "]" && *text != "(")
                    .collect();
                armed |= path.last() == Some(&"test");
            } else if tokens[at].text == "fn" && armed {
                found.extend(tokens.get(at + 1));
                armed = false;
            }
        }
        found
    }
}

/// Whether the tokens begin with these texts.
pub fn is(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

/// Behind the `;` or the closing brace that ends the item which begins at `at`.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

pub fn lex(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let end = token_end(&chars, at);
        let first = chars[at];
        let comment = first == '/' && matches!(chars.get(at + 1), Some('/' | '*'));
        let text: String = match first {
            _ if comment || first.is_whitespace() => String::new(),
            '"' => "\"\"".to_owned(),
            '\'' => String::new(),
            _ if chars[at..end].contains(&'"') => "\"\"".to_owned(),
            _ => chars[at..end].iter().collect(),
        };
        if !text.is_empty() {
            out.push(Token { text, line });
        }
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    out
}

/// Where the token that begins at `at` ends.
fn token_end(chars: &[char], at: usize) -> usize {
    let word = |from: usize| {
        let length = chars[from..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
        from + length
    };
    match chars[at] {
        '/' if chars.get(at + 1) == Some(&'/') => {
            chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n)
        }
        '/' if chars.get(at + 1) == Some(&'*') => block_comment(chars, at),
        '"' => string(chars, at),
        '\'' => quote(chars, at),
        ':' if chars.get(at + 1) == Some(&':') => at + 2,
        c if c.is_alphanumeric() || c == '_' => {
            let end = word(at);
            let prefix: String = chars[at..end].iter().collect();
            match chars.get(end) {
                Some('"' | '#') if matches!(prefix.as_str(), "r" | "br" | "cr") => raw_string(chars, end),
                Some('"') if matches!(prefix.as_str(), "b" | "c") => string(chars, end),
                Some('\'') if prefix == "b" => quote(chars, end),
                _ => end,
            }
        }
        _ => at + 1,
    }
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut here) = (0, at);
    while here < chars.len() {
        match (chars[here], chars.get(here + 1)) {
            ('/', Some('*')) => (depth, here) = (depth + 1, here + 1),
            ('*', Some('/')) => (depth, here) = (depth - 1, here + 1),
            _ => {}
        }
        here += 1;
        if depth == 0 {
            break;
        }
    }
    here
}

/// From the opening quote to behind the closing one.
fn string(chars: &[char], at: usize) -> usize {
    let mut here = at + 1;
    while here < chars.len() && chars[here] != '"' {
        here += if chars[here] == '\\' { 2 } else { 1 };
    }
    (here + 1).min(chars.len())
}

/// From the first `#` or quote behind the prefix. A raw name (`r#type`) is not a string: its `#` is skipped.
fn raw_string(chars: &[char], at: usize) -> usize {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return at + hashes;
    }
    let mut here = at + hashes + 1;
    while here < chars.len() {
        if chars[here] == '"' && chars[here + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return here + 1 + hashes;
        }
        here += 1;
    }
    here
}

/// A character or a lifetime, from its quote.
fn quote(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => chars[at + 3..].iter().position(|c| *c == '\'').map_or(chars.len(), |n| at + 3 + n + 1),
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

#[test]
fn the_lexer_skips_what_is_no_code() {
    let text = r##"
        use a::b; // c::d
        /* e::f /* g */ h */ let x: &'static str = "i::j \" k"; let y = r#"l " m"#; let z = ['n', '\'', b'"'];
        r#type
    "##;
    let shown: Vec<String> = lex(text).into_iter().map(|token| token.text).collect();
    assert_eq!(
        shown.join(" "),
        "use a :: b ; let x : & static str = \"\" ; let y = \"\" ; let z = [ , , b'\"' ] ; r# type"
            .replace("b'\"'", "\"\"")
    );
}

#[test]
fn test_code_is_told_from_the_rest() {
    let text = "use a; #[cfg(test)] mod tests; #[cfg(test)] mod t { fn f() { g(); } } fn h() {} \
                #[tokio::test] #[x(y)] async fn r1_works() {} #[test] fn second() {} fn no() {}";
    let file = File { path: "src/x/mod.rs".to_owned(), text: String::new(), tokens: lex(text) };
    let (kept, files) = file.without_tests();
    let kept: Vec<&str> = kept.iter().map(|token| token.text.as_str()).collect();
    assert!(kept.join(" ").starts_with("use a ; fn h"));
    assert_eq!(files, ["tests"]);
    let tests: Vec<&str> = file.tests().iter().map(|token| token.text.as_str()).collect();
    assert_eq!(tests, ["r1_works", "second"]);
    assert_eq!(file.module(), ["x"]);
}
