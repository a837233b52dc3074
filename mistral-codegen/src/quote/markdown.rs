//! Code in Markdown.

use super::refuse;
use crate::CodegenError;

/// Inline code (CommonMark 0.31 section 6.1), which no reader interprets as markup.
///
/// # Errors
/// [`CodegenError::Unquotable`] for control characters (inline code can't hold a line's end, and
/// pages must not hide others), [`CodegenError::EmptyText`] for an empty text.
///
/// ```
/// use mistral_codegen::quote::markdown_code;
/// assert_eq!(markdown_code("a").unwrap(), "`a`");
/// assert_eq!(markdown_code("a`b").unwrap(), "``a`b``");
/// ```
pub fn markdown_code(text: &str) -> Result<String, CodegenError> {
    if text.is_empty() {
        return Err(CodegenError::EmptyText {
            format: "inline code",
        });
    }
    refuse("inline code", text, |c| c.is_control())?;
    let fence = "`".repeat(longest_run(text) + 1);
    // A space at both ends is stripped by the reader: it keeps a backtick at an end off the
    // fence, and a text's own spaces from being the ones that are stripped.
    let blank = text.bytes().all(|b| b == b' ');
    let pad = text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']);
    let pad = if pad && !blank { " " } else { "" };
    Ok(format!("{fence}{pad}{text}{pad}{fence}"))
}

/// A fenced code block whose fence is longer than any run of backticks inside.
///
/// `text` may have several lines; a missing last line end is added.
///
/// # Errors
/// [`CodegenError::Unquotable`] for control characters other than the line's end and the tab.
pub fn markdown_block(language: &str, text: &str) -> Result<String, CodegenError> {
    refuse("a code block", text, |c| {
        c.is_control() && c != '\n' && c != '\t'
    })?;
    refuse("a code block's language", language, |c| {
        !c.is_ascii_alphanumeric()
    })?;
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    let end = if text.ends_with('\n') || text.is_empty() {
        ""
    } else {
        "\n"
    };
    Ok(format!("{fence}{language}\n{text}{end}{fence}"))
}

/// Length of the longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}
