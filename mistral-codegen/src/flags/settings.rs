//! Flags whose value is a kind with settings, as GuideLLM has them: `--profile kind=constant,rate=2`,
//! or the same as an object of JSON. A table has each setting as `FLAG.KIND.SETTING`.

use serde_json::{Map, Value};

use super::command::{Explained, Why};
use super::table::FlagTable;
use crate::CodegenError;

/// One such flag, built through a table.
#[derive(Debug, Clone)]
pub struct Settings<'t> {
    table: &'t FlagTable,
    flag: &'static str,
    kind: &'static str,
    object: Map<String, Value>,
    explained: Vec<Explained>,
}

impl<'t> Settings<'t> {
    /// `flag` with a kind.
    ///
    /// # Errors
    /// [`CodegenError::UnknownFlag`], or [`CodegenError::FlagValue`] for a kind that it doesn't have.
    pub fn new(
        table: &'t FlagTable,
        flag: &'static str,
        kind: &'static str,
        why: Why,
    ) -> Result<Self, CodegenError> {
        let name = format!("{flag}.kind");
        table.check(&name, Some(kind))?;
        let value = Some(kind.to_owned());
        Ok(Self {
            table,
            flag,
            kind,
            object: Map::from_iter([("kind".to_owned(), kind.into())]),
            explained: vec![Explained {
                flag: name,
                value,
                why,
            }],
        })
    }

    /// With a setting; a dot in its name leads into an object.
    ///
    /// # Errors
    /// [`CodegenError::UnknownFlag`] for one that the kind doesn't have, [`CodegenError::FlagValue`].
    pub fn with(
        mut self,
        name: &'static str,
        value: impl Into<Value>,
        why: Why,
    ) -> Result<Self, CodegenError> {
        let value = value.into();
        let flag = format!("{}.{}.{name}", self.flag, self.kind);
        self.table.check_setting(&flag, &value)?;
        self.explained.push(Explained {
            flag,
            value: Some(plain(&value)),
            why,
        });
        let mut object = &mut self.object;
        let mut names = name.split('.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                object.insert(name.to_owned(), value);
                break;
            }
            let inner = object.entry(name).or_insert_with(|| Map::new().into());
            match inner {
                Value::Object(inner) => object = inner,
                // A setting was given both a value and parts: the parts are what was said last.
                other => {
                    *other = Map::new().into();
                    object = other.as_object_mut().expect("it was made one");
                }
            }
        }
        Ok(self)
    }

    /// The flag.
    #[must_use]
    pub fn flag(&self) -> &'static str {
        self.flag
    }

    /// The value, and each setting with the reason for it.
    #[must_use]
    pub fn done(self) -> (Value, Vec<Explained>) {
        (self.object.into(), self.explained)
    }
}

impl FlagTable {
    /// Checks a value with a kind and its settings, as `flag` takes it.
    ///
    /// # Errors
    /// [`CodegenError::UnknownFlag`] naming the setting, or [`CodegenError::FlagValue`].
    pub fn check_settings(&self, flag: &str, value: &Value) -> Result<(), CodegenError> {
        let kind = value.get("kind").and_then(Value::as_str);
        self.check(&format!("{flag}.kind"), kind)?;
        let kind = kind.unwrap_or_default();
        for (name, value) in value.as_object().into_iter().flatten() {
            if name != "kind" {
                self.check_setting(&format!("{flag}.{kind}.{name}"), value)?;
            }
        }
        Ok(())
    }

    /// Checks one setting by its whole name.
    fn check_setting(&self, flag: &str, value: &Value) -> Result<(), CodegenError> {
        let parts = format!("{flag}.");
        match value {
            Value::Null if self.flags.contains_key(flag) => Ok(()),
            Value::Array(items) if !items.is_empty() => {
                items.iter().try_for_each(|v| self.check_setting(flag, v))
            }
            Value::Object(fields) if self.flags.keys().any(|f| f.starts_with(&parts)) => fields
                .iter()
                .try_for_each(|(name, v)| self.check_setting(&format!("{parts}{name}"), v)),
            value => self.check(flag, Some(&plain(value))),
        }
    }
}

/// A value with a kind, as a command line has it: an object of JSON, or `kind=a,b=1`.
pub(super) fn parsed(text: &str) -> Option<Value> {
    if let Ok(value @ Value::Object(_)) = serde_json::from_str(text) {
        return Some(value);
    }
    let mut object = Map::new();
    for pair in text.split(',') {
        let (name, value) = pair.split_once('=')?;
        let name = name.trim();
        if name.is_empty() {
            return None;
        }
        // `list[0]` is an item of `list`.
        let name = name.split('[').next().unwrap_or(name);
        object.insert(name.to_owned(), value.trim().into());
    }
    object.contains_key("kind").then(|| object.into())
}

/// A value as a flag has it: a text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{GUIDELLM, why};
    use super::*;

    #[test]
    fn settings_are_checked_by_name() {
        let table = &*GUIDELLM;
        let rows = [
            ("--profile", json!({"kind": "poisson", "rate": [2.5]}), ""),
            (
                "--profile",
                json!({"kind": "poisson", "rate": ["fast"]}),
                "a finite number",
            ),
            (
                "--profile",
                json!({"kind": "poisson", "rates": [2.5]}),
                "no flag --profile.poisson.rates",
            ),
            ("--profile", json!({"kind": "steady"}), "async, concurrent"),
            ("--profile", json!({"rate": [1]}), "--profile.kind expects"),
            ("--profile", json!([]), "--profile.kind expects"),
            (
                "--metrics",
                json!({"kind": "generative", "slo": {"ttft_ms": 3.0}}),
                "",
            ),
            (
                "--metrics",
                json!({"kind": "generative", "slo": {"ttft": 3.0}}),
                "no flag --metrics.generative.slo.ttft",
            ),
            (
                "--backend",
                json!({"kind": "openai_http", "api_routes": {"/health": "x"}}),
                "",
            ),
            ("--nope", json!({"kind": "x"}), "no flag --nope.kind"),
        ];
        for (flag, value, part) in rows {
            let found = table.check_settings(flag, &value).err();
            let found = found.map(|e| e.to_string()).unwrap_or_default();
            assert!(
                found.contains(part) && found.is_empty() == part.is_empty(),
                "{flag} {value}: {found:?}"
            );
        }
    }

    #[test]
    fn commands_with_settings() {
        let rows = [
            ("kind=max_duration,seconds=60", ""),
            (r#"{"kind": "max_duration", "seconds": 60}"#, ""),
            ("kind=max_duration,second=60", "max_duration.second"),
            ("kind=max_duration,seconds=soon", "a finite number"),
            ("max_duration", "kind=NAME"),
            ("", "kind=NAME"),
        ];
        for (value, part) in rows {
            let found = GUIDELLM.check("--constraint", Some(value)).err();
            let found = found.map(|e| e.to_string()).unwrap_or_default();
            assert!(
                found.contains(part) && found.is_empty() == part.is_empty(),
                "{value}: {found:?}"
            );
        }
        let page = "guidellm run --profile kind=steady --output kind=json,path=a.json --rate 5";
        let report = super::super::lint(page, &[&*GUIDELLM]);
        let found: Vec<&str> = report.findings.iter().map(|f| f.flag.as_str()).collect();
        assert_eq!(found, ["--profile", "--rate"], "{report:?}");
    }

    #[test]
    fn parts_of_an_object_stand_together() {
        let why = why("expected", "x");
        let made = Settings::new(&GUIDELLM, "--metrics", "generative", why)
            .and_then(|s| s.with("slo.ttft_ms", 4.5, why))
            .and_then(|s| s.with("slo.tpot_ms", 1.0, why));
        let (value, explained) = made.expect("known").done();
        let expected = json!({"kind": "generative", "slo": {"ttft_ms": 4.5, "tpot_ms": 1.0}});
        assert_eq!(value, expected);
        assert_eq!(explained[1].flag, "--metrics.generative.slo.ttft_ms");
        assert_eq!(explained[1].value.as_deref(), Some("4.5"));
    }
}
