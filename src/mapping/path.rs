//! Dotted source paths: `mail`, `customer.0.name`, `customFields[name=Phone].values`, or an RFC 6901 pointer
//! (`/odata.id`) where names hold dots. A name asked of a list is asked of each of its elements, a number of something
//! that is no list gives the thing itself for 0 (directories do not say whether a lone value is a list).
//! Walking a path never fails: what is not there is absent. Start at `Path::parse`.

use serde_json::Value;

/// Deeper paths are typing errors.
const MAX_STEPS: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
    /// The elements whose `name` has this text.
    Where {
        name: String,
        text: String,
    },
}

/// At least one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

impl Path {
    pub(super) fn parse(text: &str) -> Result<Path, String> {
        let steps = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(pointer_step).collect(),
            None => dotted(text)?,
        };
        if steps.len() > MAX_STEPS {
            return Err(format!("a path has at most {MAX_STEPS} steps"));
        }
        Ok(Path(steps))
    }

    /// The name it begins with: the attribute that has to be requested.
    pub(super) fn head(&self) -> Option<&str> {
        match self.0.first()? {
            Step::Name(name) | Step::Where { name, .. } => Some(name),
            Step::Index(_) => None,
        }
    }

    /// For sources whose names are case-insensitive: their records come with lower-case names.
    pub(super) fn fold_head(&mut self) {
        if let Some(Step::Name(name)) = self.0.first_mut() {
            *name = name.to_ascii_lowercase();
        }
    }

    /// Everything the path leads to, in order; `null` is nothing.
    pub(super) fn walk<'a>(&self, from: &'a Value) -> Vec<&'a Value> {
        if let [only] = self.0.as_slice() {
            // Nearly every path is one name, and this runs for every attribute of every record.
            return only.of(from).into_iter().flat_map(flat).filter(|value| !value.is_null()).collect();
        }
        let mut found = vec![from];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.of(value)).collect();
        }
        found.into_iter().flat_map(flat).filter(|value| !value.is_null()).collect()
    }
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Step::Name(name), Value::Object(map)) => map.get(name).into_iter().collect(),
            (Step::Index(at), Value::Array(list)) => list.get(*at).into_iter().collect(),
            (Step::Index(0), value) => vec![value],
            (Step::Index(at), Value::Object(map)) => map.get(&at.to_string()).into_iter().collect(),
            (Step::Name(_), Value::Array(list)) => list.iter().flat_map(|value| self.of(value)).collect(),
            (Step::Where { name, text }, Value::Array(list)) => {
                list.iter().filter(|value| value.get(name).is_some_and(|found| same(found, text))).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn same(found: &Value, text: &str) -> bool {
    match found {
        Value::String(found) => found == text,
        Value::Number(found) => found.to_string() == text,
        Value::Bool(found) => (if *found { "true" } else { "false" }) == text,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A list that the path ends at stands for its elements.
fn flat(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        value => vec![value],
    }
}

fn pointer_step(text: &str) -> Step {
    let name = text.replace("~1", "/").replace("~0", "~");
    name.parse().map_or(Step::Name(name), Step::Index)
}

fn dotted(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for part in split_outside_brackets(text) {
        let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        if name.is_empty() && rest.is_empty() {
            return Err("an empty step; a path looks like `customer.0.name`".to_owned());
        }
        if !name.is_empty() {
            steps.push(name.parse().map_or_else(|_| Step::Name(name.to_owned()), Step::Index));
        }
        while let Some(inner) = rest.strip_prefix('[') {
            let (inside, after) = inner.split_once(']').ok_or("`[` without `]`")?;
            let (name, text) = inside.split_once('=').ok_or("in `[ ]` stands `name=text`")?;
            steps.push(Step::Where { name: name.trim().to_owned(), text: text.trim().to_owned() });
            rest = after;
        }
        if !rest.is_empty() {
            return Err(format!("`{rest}` after `]`"));
        }
    }
    Ok(steps)
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ => {}
        }
        c == '.' && !inside
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn walk(path: &str, from: &Value) -> Vec<Value> {
        Path::parse(path).unwrap().walk(from).into_iter().cloned().collect()
    }

    #[test]
    fn paths_lead_through_objects_lists_and_conditions() {
        let record = json!({
            "mail": "a@x", "many": ["p", "q", null], "customer": [{"name": "A"}, {"name": "B"}], "odata.id": 7,
            "fields": [{"name": "Phone 2.0", "values": ["1"]}, {"name": "Fax", "values": ["2"]}], "none": null,
        });
        assert_eq!(walk("mail", &record), [json!("a@x")]);
        assert_eq!(walk("mail.0", &record), [json!("a@x")]);
        assert_eq!(walk("many", &record), [json!("p"), json!("q")]);
        assert_eq!(walk("many.1", &record), [json!("q")]);
        assert_eq!(walk("customer.name", &record), [json!("A"), json!("B")]);
        assert_eq!(walk("customer.1.name", &record), [json!("B")]);
        assert_eq!(walk("fields[name=Phone 2.0].values", &record), [json!("1")]);
        assert_eq!(walk("/odata.id", &record), [json!(7)]);
        for absent in ["none", "mail.1", "mail.x", "customer.7", "fields[name=x].values"] {
            assert_eq!(walk(absent, &record), Vec::<Value>::new(), "{absent}");
        }
    }

    #[test]
    fn typing_errors_are_told() {
        for wrong in ["", "a..b", "a[b", "a[b]", "a[b=c]d", &"a.".repeat(40)] {
            assert!(Path::parse(wrong).is_err(), "{wrong}");
        }
    }
}
