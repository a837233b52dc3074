//! TypeScript string literals.

use std::fmt::Write as _;

/// A TypeScript (and JavaScript) string literal with its quotes, in ASCII on one line.
///
/// Characters outside ASCII are written `\\u{…}` (ECMAScript 2015 and later): a reader sees what
/// the compiler sees.
///
/// ```
/// use mistral_codegen::quote::typescript_str;
/// assert_eq!(typescript_str("a\"\n\u{202E}"), r#""a\"\u{a}\u{202e}""#);
/// ```
#[must_use]
pub fn typescript_str(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            c => {
                write!(out, "\\u{{{:x}}}", u32::from(c)).expect("writing to a String doesn't fail")
            }
        }
    }
    out.push('"');
    out
}
