//! The files below a folder.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::DatasetError;
use super::limits::Limits;

/// Extensions of files that are taken from a folder, for messages.
const EXTENSIONS: &str =
    ".jsonl, .ndjson, .json, .csv, .tsv, .txt, .md, .parquet (all but the last also with .gz)";

/// Files that are read, in the order of their paths, each once.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) ignored: u64,
    seen: HashSet<PathBuf>,
    entries: usize,
}

/// Looks for files. Links are followed, each folder and file is taken once however many lead to it;
/// names that begin with a dot are left out.
pub(crate) fn walk(root: &Path, limits: &Limits) -> Result<Found, DatasetError> {
    let mut found = Found::default();
    found.folder(root, 0, limits)?;
    if found.files.is_empty() {
        return Err(DatasetError::NoFiles {
            path: root.to_path_buf(),
            expected: EXTENSIONS,
        });
    }
    found.seen = HashSet::new();
    Ok(found)
}

impl Found {
    fn folder(&mut self, path: &Path, depth: usize, limits: &Limits) -> Result<(), DatasetError> {
        let failed = |action| {
            move |source| DatasetError::Io {
                path: path.to_path_buf(),
                action,
                source,
            }
        };
        if depth > limits.depth {
            return Err(DatasetError::TooDeep {
                path: path.to_path_buf(),
                limit: limits.depth,
            });
        }
        let real = fs::canonicalize(path).map_err(failed("be found"))?;
        if !self.seen.insert(real) {
            return Ok(());
        }
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(failed("be listed"))? {
            self.entries += 1;
            if self.entries > limits.entries {
                return Err(DatasetError::TooManyFiles {
                    path: path.to_path_buf(),
                    limit: limits.entries,
                });
            }
            inside.push(entry.map_err(failed("be listed"))?.path());
        }
        inside.sort_unstable();
        for entry in inside {
            self.entry(&entry, depth, limits)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, depth: usize, limits: &Limits) -> Result<(), DatasetError> {
        let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase());
        let name = name.unwrap_or_default();
        // A link that leads nowhere has no metadata.
        let Ok(data) = fs::metadata(path) else {
            self.ignored += 1;
            return Ok(());
        };
        if name.starts_with('.') {
            return Ok(());
        }
        if data.is_dir() {
            return self.folder(path, depth + 1, limits);
        }
        if !data.is_file() || !is_read(&name) {
            self.ignored += 1;
            return Ok(());
        }
        if let Ok(real) = fs::canonicalize(path)
            && self.seen.insert(real)
        {
            self.files.push(path.to_path_buf());
        }
        Ok(())
    }
}

fn is_read(name: &str) -> bool {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let extension = plain.rsplit_once('.').map_or("", |(_, e)| e);
    match extension {
        "jsonl" | "ndjson" | "json" | "csv" | "tsv" | "txt" | "md" => true,
        "parquet" => plain == name,
        _ => false,
    }
}
