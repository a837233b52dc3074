//! JSON strings, and the order of keys.

use std::collections::BTreeMap;

use serde_json::Value;

/// A JSON string with its quotes, on one line.
///
/// ```
/// assert_eq!(mistral_codegen::quote::json("a\"b\n"), r#""a\"b\n""#);
/// ```
#[must_use]
pub fn json(text: &str) -> String {
    Value::from(text).to_string()
}

/// The same with sorted keys, whatever the order of maps is in this build.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<&String, Value> =
                fields.iter().map(|(k, v)| (k, sorted(v))).collect();
            Value::Object(fields.into_iter().map(|(k, v)| (k.clone(), v)).collect())
        }
        Value::Array(parts) => parts.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
