//! POSIX shell words.

use super::refuse;
use crate::CodegenError;

/// One word of a POSIX shell command; inside single quotes nothing is expanded.
///
/// Words of letters, digits and `_@%+=:,./-` stay bare.
///
/// # Errors
/// [`CodegenError::Unquotable`] for NUL, which no argument of a process can hold.
///
/// ```
/// use mistral_codegen::quote::shell;
/// assert_eq!(shell("a b").unwrap(), "'a b'");
/// assert_eq!(shell("it's $(date)").unwrap(), r"'it'\''s $(date)'");
/// ```
pub fn shell(text: &str) -> Result<String, CodegenError> {
    refuse("a shell word", text, |c| c == '\0')?;
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&b);
    if !text.is_empty() && text.bytes().all(bare) {
        return Ok(text.to_owned());
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// The words of a command line as [`shell`] writes them, joined lines included; `None` when
/// `line` has anything that a shell would expand or that isn't closed.
///
/// It reads what this crate generates, no more: single quotes, `\'`, bare words, a backslash
/// before a line's end, and double-quoted `"${NAME:-default}"`, which is given back as it stands
/// without its double quotes.
#[must_use]
pub fn shell_words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' | '`' => return None,
                        c => word.push(c),
                    }
                }
            }
            '\\' => match chars.next()? {
                '\'' => word.get_or_insert_default().push('\''),
                '\n' => {}
                _ => return None,
            },
            c if c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c) => {
                word.get_or_insert_default().push(c);
            }
            _ => return None,
        }
    }
    words.extend(word);
    Some(words)
}
