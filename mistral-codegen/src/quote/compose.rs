//! Scalars of a Compose file.

use super::{refuse, yaml};
use crate::CodegenError;

/// A YAML scalar for a Compose file, where `$` would start an interpolation and is doubled.
///
/// # Errors
/// [`CodegenError::Unquotable`] for NUL, which neither an argument nor a variable can hold.
///
/// ```
/// assert_eq!(mistral_codegen::quote::compose("${HOME}").unwrap(), "\"$${HOME}\"");
/// ```
pub fn compose(text: &str) -> Result<String, CodegenError> {
    refuse("a Compose scalar", text, |c| c == '\0')?;
    Ok(yaml(&text.replace('$', "$$")))
}
