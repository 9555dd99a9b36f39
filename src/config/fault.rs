//! What is wrong with a configuration: every fault at once, each with the key, the value and what is allowed.
//! A fault never shows a secret. Start at `Fault`; `Faults` is the shared list that `read::Section` writes into.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::model::plain::cut;

/// Characters of a value that are shown.
const LONGEST: usize = 300;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Dotted path, e.g. `sources.hq.page_size`.
    pub key: String,
    /// What was found; `None` for a missing key, an unknown key and every secret.
    pub value: Option<String>,
    /// What would be right, as the end of the sentence "must be …", or a whole remark.
    pub allowed: String,
    /// The file, or "the environment".
    pub origin: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {}", cut(value, LONGEST))?;
        }
        write!(f, ": {}", self.allowed)?;
        match &self.origin {
            Some(origin) => write!(f, " ({origin})"),
            None => Ok(()),
        }
    }
}

/// All faults of one reading, in the order they were found. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct Faults(Rc<RefCell<Vec<Fault>>>);

impl Faults {
    /// The same fault twice is one.
    pub fn push(&self, fault: Fault) {
        let mut all = self.0.borrow_mut();
        if !all.contains(&fault) {
            all.push(fault);
        }
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub fn take(&self) -> Vec<Fault> {
        self.0.take()
    }
}

/// The configuration cannot be used. Shown one fault a line; the process ends with exit code 78.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub Vec<Fault>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.len();
        write!(f, "the configuration has {number} {}", if number == 1 { "fault" } else { "faults" })?;
        for fault in &self.0 {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}
