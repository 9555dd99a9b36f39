//! Texts with `{{ }}` outside of mappings (requests of a connector): the same engine, filters and fuel. A template sees
//! what it is given and nothing else; its errors may hold values, so whoever renders secrets must not show them.

use minijinja::{Environment, Error};
use serde_json::{Map, Value};

use super::{filters, limits};

/// Compiled once.
pub struct Template(Box<Environment<'static>>);

const NAME: &str = "template";

impl Template {
    pub fn parse(text: &str) -> Result<Template, String> {
        limits::too_deep(text, true).map_or(Ok(()), Err)?;
        let mut env = filters::environment();
        env.add_template_owned(NAME, text.to_owned()).map_err(told)?;
        Ok(Template(Box::new(env)))
    }

    pub fn render(&self, context: &Map<String, Value>) -> Result<String, String> {
        let context = minijinja::Value::from(minijinja::value::Serde(context));
        self.0.get_template(NAME).and_then(|template| template.render(context)).map_err(told)
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Template")
    }
}

fn told(error: Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(text: &str, context: Value) -> Result<String, String> {
        let Value::Object(context) = context else { panic!("no object") };
        Template::parse(text)?.render(&context)
    }

    #[test]
    fn a_template_renders_what_it_is_given() {
        let text = "id > {{ last or 0 }}{% if since %} AND at >= '{{ since }}'{% endif %}";
        assert_eq!(render(text, json!({"last": "", "since": ""})).as_deref(), Ok("id > 0"));
        assert_eq!(render(text, json!({"last": "7", "since": "x"})).as_deref(), Ok("id > 7 AND at >= 'x'"));
        assert_eq!(render("{{ q | tojson }}", json!({"q": "a\"b"})).as_deref(), Ok("\"a\\\"b\""));
    }

    #[test]
    fn what_is_unknown_or_endless_is_an_error() {
        assert!(render("{{ nothing }}", json!({})).is_err());
        assert!(render("{{ open", json!({})).is_err());
        assert!(render("{% for i in range(1000000000) %}{% endfor %}", json!({})).is_err());
    }
}
