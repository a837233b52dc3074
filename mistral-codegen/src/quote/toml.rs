//! TOML strings.

use std::fmt::Write as _;

/// A basic TOML string with its quotes, on one line.
///
/// ```
/// assert_eq!(mistral_codegen::quote::toml_str("C:\\a \"b\"\n"), r#""C:\\a \"b\"\n""#);
/// ```
#[must_use]
pub fn toml_str(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("writing to a String doesn't fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
