//! YAML scalars.

use std::fmt::Write as _;

/// A double-quoted YAML 1.2 scalar on one line: never read as a number, a boolean, a date, an
/// anchor or a comment, whatever the text is.
///
/// Printable ASCII stays; everything else is escaped (`\xHH`, `\uHHHH`, `\UHHHHHHHH`, YAML 1.2.2
/// section 5.7), so that no reader's idea of printable characters matters.
///
/// ```
/// use mistral_codegen::quote::yaml;
/// assert_eq!(yaml("no"), "\"no\"");
/// assert_eq!(yaml("a\n- b: \"c\""), r#""a\n- b: \"c\"""#);
/// assert_eq!(yaml("é"), r#""\xE9""#);
/// ```
#[must_use]
pub fn yaml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match (c, u32::from(c)) {
            ('"', _) => out.push_str("\\\""),
            ('\\', _) => out.push_str("\\\\"),
            ('\n', _) => out.push_str("\\n"),
            ('\t', _) => out.push_str("\\t"),
            (' '..='~', _) => out.push(c),
            (_, code @ 0..=0xFF) => push(&mut out, format_args!("\\x{code:02X}")),
            (_, code @ 0x100..=0xFFFF) => push(&mut out, format_args!("\\u{code:04X}")),
            (_, code) => push(&mut out, format_args!("\\U{code:08X}")),
        }
    }
    out.push('"');
    out
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a String doesn't fail");
}
