//! Python string literals.

use std::fmt::Write as _;

/// A Python string literal with its quotes, in ASCII on one line, as the formatters of the
/// language write it: in double quotes, or in single ones when the text has more double quotes.
///
/// Characters outside ASCII are written `\x…`, `\u…` or `\U…` (Python's language reference, section
/// 2.4.1.1): a reader sees what the interpreter sees.
///
/// ```
/// use mistral_codegen::quote::python_str;
/// assert_eq!(python_str("it's \\n"), r#""it's \\n""#);
/// assert_eq!(python_str("a \"b\"\n\u{202E}"), r#"'a "b"\n\u202e'"#);
/// ```
#[must_use]
pub fn python_str(text: &str) -> String {
    let count = |quote| text.chars().filter(|&c| c == quote).count();
    let quote = if count('"') > count('\'') { '\'' } else { '"' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match (c, u32::from(c)) {
            ('\\', _) => out.push_str("\\\\"),
            ('\n', _) => out.push_str("\\n"),
            ('\r', _) => out.push_str("\\r"),
            ('\t', _) => out.push_str("\\t"),
            (c, _) if c == quote => {
                out.push('\\');
                out.push(c);
            }
            (' '..='~', _) => out.push(c),
            (_, code @ 0..=0xFF) => push(&mut out, format_args!("\\x{code:02x}")),
            (_, code @ 0x100..=0xFFFF) => push(&mut out, format_args!("\\u{code:04x}")),
            (_, code) => push(&mut out, format_args!("\\U{code:08x}")),
        }
    }
    out.push(quote);
    out
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a String doesn't fail");
}
