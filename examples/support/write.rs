//! Writing what a user asked for.

use std::path::Path;

use crate::UsageError;

/// Writes a file beside its place and renames it, so that an interrupted write leaves the old one.
pub fn write_beside(file: &Path, text: &str) -> Result<(), UsageError> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".part");
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, file))
        .map_err(|e| UsageError(format!("{}: {e}", file.display())))
}
