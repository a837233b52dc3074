//! Rust string literals.

/// A Rust string literal with its quotes, in ASCII on one line.
///
/// Characters outside ASCII are written `\u{…}`: a reader sees what the compiler sees (no
/// right-to-left override, no look-alike), and the formatter's idea of their width doesn't matter.
///
/// ```
/// assert_eq!(mistral_codegen::quote::rust_str("a\"\n\u{202E}"), r#""a\"\n\u{202e}""#);
/// ```
#[must_use]
pub fn rust_str(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            // `escape_default` would escape it, and the compiler's linter would not.
            '\'' => out.push(c),
            c => out.extend(c.escape_default()),
        }
    }
    out.push('"');
    out
}
