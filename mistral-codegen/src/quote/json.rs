//! JSON strings.

/// A JSON string with its quotes, on one line.
///
/// ```
/// assert_eq!(mistral_codegen::quote::json("a\"b\n"), r#""a\"b\n""#);
/// ```
#[must_use]
pub fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
