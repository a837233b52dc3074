//! Templates that can't write an unquoted text.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

use crate::CodegenError;
use crate::quote;

/// Renders `source` with `context`.
///
/// Undefined values are errors. A text reaches the output only through one of the quoting filters
/// (`sh`, `yaml`, `compose`, `dockerfile`, `toml`, `rust`, `python`, `ts`, `json`, `md`), of which
/// there are no others: anything else is an error, so that a template without a filter is found by
/// its first test and not by its first attacker. Numbers need none.
///
/// # Errors
/// [`CodegenError::Unquotable`] or [`CodegenError::EmptyText`] for a text that a format can't hold,
/// [`CodegenError::Template`] with the template's name for a defect of the template.
pub(crate) fn render(
    name: &'static str,
    source: &'static str,
    context: &Value,
) -> Result<String, CodegenError> {
    let told = |source| {
        refused_text(&source).unwrap_or_else(|| CodegenError::Template {
            name: name.to_owned(),
            source,
        })
    };
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_keep_trailing_newline(true);
    env.set_trim_blocks(true);
    env.set_lstrip_blocks(true);
    env.set_formatter(|out, _, value| {
        if !value.is_safe() && value.kind() != ValueKind::Number {
            let what = format!("a {} without a quoting filter", value.kind());
            return Err(Error::new(ErrorKind::BadEscape, what));
        }
        out.write_str(&value.to_string()).map_err(Error::from)
    });
    env.add_filter("sh", |text: &str| safe(quote::shell(text)));
    env.add_filter("yaml", |text: &str| safe(Ok(quote::yaml(text))));
    env.add_filter("compose", |text: &str| safe(quote::compose(text)));
    env.add_filter("dockerfile", |text: &str| {
        safe(quote::dockerfile_value(text))
    });
    env.add_filter("toml", |text: &str| safe(Ok(quote::toml_str(text))));
    env.add_filter("rust", |text: &str| safe(Ok(quote::rust_str(text))));
    env.add_filter("python", |text: &str| safe(Ok(quote::python_str(text))));
    env.add_filter("ts", |text: &str| safe(Ok(quote::typescript_str(text))));
    env.add_filter("json", |text: &str| safe(Ok(quote::json(text))));
    env.add_filter("md", |text: &str| safe(quote::markdown_code(text)));
    env.add_template(name, source).map_err(told)?;
    env.get_template(name)
        .map_err(told)?
        .render(context)
        .map_err(told)
}

/// The quoting function's own error, when that is what stopped the rendering.
fn refused_text(error: &Error) -> Option<CodegenError> {
    let mut source = std::error::Error::source(error);
    while let Some(e) = source {
        match e.downcast_ref() {
            Some(CodegenError::Unquotable {
                format,
                character,
                at,
                text,
            }) => {
                return Some(CodegenError::Unquotable {
                    format,
                    character: *character,
                    at: *at,
                    text: text.clone(),
                });
            }
            Some(CodegenError::EmptyText { format }) => {
                return Some(CodegenError::EmptyText { format });
            }
            _ => source = e.source(),
        }
    }
    None
}

/// A text that a quoting function has made, marked as such.
fn safe(quoted: Result<String, CodegenError>) -> Result<Value, Error> {
    quoted.map(Value::from_safe_string).map_err(|e| {
        Error::new(ErrorKind::BadEscape, "a text that the format can't hold").with_source(e)
    })
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    #[test]
    fn texts_need_a_filter() {
        let cases: &[(&'static str, Option<&str>)] = &[
            ("{{ n }}", Some("3")),
            ("{{ b }}", None),
            ("{{ [text|sh] }}", None),
            ("{{ text|sh }}", Some("'a b'")),
            ("{{ quoted }}", Some("<b>")),
            ("{{ text }}", None),
            ("{{ text|upper }}", None),
            ("{{ text|sh|upper }}", None),
            ("{{ text ~ 'x' }}", None),
            ("{{ missing }}", None),
            ("{{ none }}", None),
            ("{{ zero|sh }}", None),
        ];
        let context = context! {
            n => 3, b => true, text => "a b", none => Value::from(()),
            zero => "\0",
            quoted => Value::from_safe_string("<b>".to_owned()),
        };
        let refused = render("test", "{{ zero|sh }}", &context).expect_err("NUL fits no word");
        assert!(
            matches!(refused, CodegenError::Unquotable { .. }),
            "{refused}"
        );
        for (source, expected) in cases {
            let found = render("test", source, &context).ok();
            assert_eq!(found.as_deref(), *expected, "{source}");
        }
    }
}
