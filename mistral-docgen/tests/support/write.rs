//! Folders of files for tests.

use std::fs;
use std::path::Path;

/// Writes each text to its name below `folder`.
pub(crate) fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("within the folder")).expect("folders");
        fs::write(path, text).expect("a file");
    }
}
