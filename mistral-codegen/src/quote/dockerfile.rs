//! Dockerfile instructions.

use super::{json, refuse};
use crate::CodegenError;

/// The exec form of `CMD` and `ENTRYPOINT`: a JSON array on one line, of which neither the
/// builder nor a shell expands anything.
///
/// # Errors
/// [`CodegenError::Unquotable`] for NUL, which no argument of a process can hold.
///
/// ```
/// use mistral_codegen::quote::dockerfile_exec;
/// assert_eq!(dockerfile_exec(["serve", "a \"b\" $C"]).unwrap(), r#"["serve", "a \"b\" $C"]"#);
/// ```
pub fn dockerfile_exec<'a>(
    words: impl IntoIterator<Item = &'a str>,
) -> Result<String, CodegenError> {
    let mut quoted = Vec::new();
    for word in words {
        refuse("a Dockerfile's exec form", word, |c| c == '\0')?;
        quoted.push(json(word));
    }
    Ok(format!("[{}]", quoted.join(", ")))
}

/// The value of an `ENV`, `LABEL` or `ARG`: double-quoted, with `$`, `"` and `\` escaped.
///
/// # Errors
/// [`CodegenError::Unquotable`] for control characters: an instruction ends with its line, and
/// the format has no escape for them.
///
/// ```
/// use mistral_codegen::quote::dockerfile_value;
/// assert_eq!(dockerfile_value("a \"$b\"").unwrap(), r#""a \"\$b\"""#);
/// assert!(dockerfile_value("a\nRUN b").is_err());
/// ```
pub fn dockerfile_value(text: &str) -> Result<String, CodegenError> {
    refuse("a Dockerfile value", text, |c| c.is_control())?;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    Ok(out)
}
