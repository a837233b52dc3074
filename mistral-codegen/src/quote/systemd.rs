//! Words of systemd units.

use super::refuse;
use crate::CodegenError;

/// One argument of `ExecStart=` (systemd.service(5), "Command lines"): double-quoted, with
/// specifiers, variables and escapes made plain.
///
/// # Errors
/// [`CodegenError::Unquotable`] for control characters.
///
/// ```
/// use mistral_codegen::quote::systemd_argument;
/// assert_eq!(systemd_argument("a $B %h \"c\"").unwrap(), r#""a $$B %%h \"c\"""#);
/// ```
pub fn systemd_argument(text: &str) -> Result<String, CodegenError> {
    Ok(systemd_assignment(text)?.replace('$', "$$"))
}

/// One assignment of `Environment=` (systemd.exec(5)): as [`systemd_argument`], but `$` has no
/// meaning there.
///
/// # Errors
/// [`CodegenError::Unquotable`] for control characters.
pub fn systemd_assignment(text: &str) -> Result<String, CodegenError> {
    refuse("a word of a unit", text, |c| c.is_control())?;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '%' => out.push_str("%%"),
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(out)
}
