//! A second opinion on filters: one Python process with scim2-filter-parser, which tests/run installs, and the small
//! evaluator in `oracle.py`. JSON lines in, JSON lines out; it ends when its input does, so it cannot outlive the tests.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::smtp::python;

pub struct Oracle {
    child: Child,
    /// `None` once it was told to end.
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// Over these resources: `{"Users": [...], "Groups": [...]}`.
    pub fn start(resources: &Value) -> Oracle {
        let mut command = Command::new(python());
        command.args(["-c", include_str!("oracle.py")]).env("PYTHONIOENCODING", "utf-8");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
        let answers = BufReader::new(child.stdout.take().expect("its output"));
        let mut oracle = Oracle { asks: child.stdin.take(), child, answers };
        oracle.tell(resources);
        oracle
    }

    fn tell(&mut self, line: &Value) {
        let asks = self.asks.as_mut().expect("it listens");
        writeln!(asks, "{line}").and_then(|()| asks.flush()).expect("the oracle listens");
    }

    /// The ids that the filter means.
    pub fn ids(&mut self, kind: &str, filter: &str) -> BTreeSet<String> {
        self.tell(&json!({"kind": kind, "filter": filter}));
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the oracle answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the oracle on {filter} ({error}): {line}"))
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.asks.take());
        let _ = self.child.wait();
    }
}
