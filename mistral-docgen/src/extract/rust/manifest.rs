//! Name and root file of a crate.

use super::super::SkipReason;
use super::super::files::Folder;
use std::path::PathBuf;

/// What `Cargo.toml` says of the crate, or what cargo assumes where it says nothing.
pub(super) struct Manifest {
    /// The name in paths: `candle_core`.
    pub(super) name: String,
    /// `src/lib.rs`, `src/main.rs` or the path of the library.
    pub(super) entry: PathBuf,
}

/// Nothing where no root file is there.
pub(super) fn read(folder: &mut Folder) -> Option<Manifest> {
    let root = folder.root().to_owned();
    let path = root.join("Cargo.toml");
    let mut table = toml::Table::new();
    if path.exists()
        && let Some(text) = folder.text(&path)
    {
        match text.parse::<toml::Table>() {
            Ok(parsed) => table = parsed,
            Err(error) => {
                let message = error.message().to_owned();
                folder.skip("Cargo.toml", None, SkipReason::Syntax { message });
            }
        }
    }
    let text = |section: &str, key: &str| {
        let value = table.get(section)?.get(key)?.as_str()?;
        Some(value.to_owned())
    };
    let given = text("lib", "path").map(|path| root.join(path));
    let usual = ["src/lib.rs", "src/main.rs"].map(|path| root.join(path));
    let entry = given.into_iter().chain(usual).find(|path| path.is_file())?;
    let folder_name = || {
        let name = root
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_else(|| "crate".to_owned())
    };
    let name = text("lib", "name")
        .or_else(|| text("package", "name"))
        .unwrap_or_else(folder_name)
        .replace('-', "_");
    Some(Manifest { name, entry })
}
