//! Arguments in Ollama's Modelfile.

use super::refuse;
use crate::CodegenError;

/// An argument of a Modelfile's line, in the quotes that Ollama's parser takes off again: none for
/// a plain word, `"` for a text without quotes, `"""` for others.
///
/// # Errors
/// [`CodegenError::Unquotable`] for control characters, which the parser drops, and for characters
/// that it doesn't take for printable; [`CodegenError::EmptyText`] for an empty text;
/// for a text that ends in `"` beside others, which no quotes can hold.
///
/// ```
/// use mistral_codegen::quote::modelfile;
/// assert_eq!(modelfile("hf.co/a/b:Q4_K_M").unwrap(), "hf.co/a/b:Q4_K_M");
/// assert_eq!(modelfile("./a b").unwrap(), r#""./a b""#);
/// assert!(modelfile("a\nFROM b").is_err());
/// ```
pub fn modelfile(text: &str) -> Result<String, CodegenError> {
    const FORMAT: &str = "a Modelfile's argument";
    if text.is_empty() {
        return Err(CodegenError::EmptyText { format: FORMAT });
    }
    refuse(FORMAT, text, |c| !is_printed(c))?;
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&b);
    if text.bytes().all(bare) {
        return Ok(text.to_owned());
    }
    if !text.contains('"') {
        return Ok(format!("\"{text}\""));
    }
    // The parser ends a text in three quotes at the first blank after three others.
    let closed = text.contains("\"\"\"") || text.ends_with('"') || text.starts_with('"');
    if closed {
        refuse(FORMAT, text, |c| c == '"')?;
    }
    Ok(format!("\"\"\"{text}\"\"\""))
}

/// Characters that the parser keeps (Go's `strconv.IsPrint`) and that are sure to be among them:
/// spaces other than U+0020, format characters and private ones aren't.
fn is_printed(c: char) -> bool {
    c == ' '
        || !(c.is_control()
            || c.is_whitespace()
            || matches!(u32::from(c),
                0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2 | 0x180E
                | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0xFEFF | 0xFFF0..=0xFFFB
                | 0x110BD | 0x110CD | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
                | 0xE000..=0xF8FF | 0xE0000..=0x10_FFFF)
            || (u32::from(c) & 0xFFFE) == 0xFFFE
            || matches!(u32::from(c), 0xFDD0..=0xFDEF))
}
