//! Reading of files within one folder and within limits.

use super::{Extraction, Limits, SkipReason, Skipped};
use crate::DocgenError;
use crate::facts::FactParts;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A folder whose files are read. Counts what was read, and refuses what leads out of it.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    limits: Limits,
    bytes: u64,
    pub(super) read: BTreeSet<String>,
    pub(super) skipped: BTreeSet<Skipped>,
}

impl Folder {
    pub(super) fn open(root: &Path, limits: Limits) -> Result<Self, DocgenError> {
        let io = |source| DocgenError::Io {
            path: root.to_owned(),
            source,
        };
        let canonical = root.canonicalize().map_err(io)?;
        if !canonical.is_dir() {
            return Err(io(std::io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self {
            root: canonical,
            limits,
            bytes: 0,
            read: BTreeSet::new(),
            skipped: BTreeSet::new(),
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// `path` relative to the folder, parts joined by `/`.
    pub(super) fn name(&self, path: &Path) -> String {
        let inner = path.strip_prefix(&self.root).unwrap_or(path);
        let parts: Vec<_> = inner
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect();
        parts.join("/")
    }

    pub(super) fn skip(&mut self, file: &str, line: Option<usize>, reason: SkipReason) {
        self.skipped.insert(Skipped {
            file: file.to_owned(),
            line,
            reason,
        });
    }

    /// The text of a file without a byte order mark, or `None` once the reason is listed.
    pub(super) fn text(&mut self, path: &Path) -> Option<String> {
        let name = self.name(path);
        match self.try_text(path) {
            Ok(text) => {
                self.read.insert(name);
                Some(text)
            }
            Err(reason) => {
                self.skip(&name, None, reason);
                None
            }
        }
    }

    fn try_text(&mut self, path: &Path) -> Result<String, SkipReason> {
        let unreadable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => SkipReason::NotAFile,
            kind => SkipReason::Unreadable {
                kind: kind.to_string(),
            },
        };
        let full = path.canonicalize().map_err(unreadable)?;
        if !full.starts_with(&self.root) {
            return Err(SkipReason::Outside);
        }
        let metadata = std::fs::metadata(&full).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(SkipReason::NotAFile);
        }
        if self.read.len() >= self.limits.files {
            return Err(SkipReason::TooManyFiles {
                limit: self.limits.files,
            });
        }
        let limit = self
            .limits
            .file_bytes
            .min(self.limits.total_bytes.saturating_sub(self.bytes));
        let mut bytes = Vec::new();
        if metadata.len() <= limit {
            let file = std::fs::File::open(&full).map_err(unreadable)?;
            // A file may grow while it is read.
            file.take(limit + 1)
                .read_to_end(&mut bytes)
                .map_err(unreadable)?;
        }
        let found = metadata.len().max(bytes.len() as u64);
        if found > limit {
            return Err(SkipReason::TooLarge {
                bytes: found,
                limit,
            });
        }
        self.bytes += found;
        let mut text = String::from_utf8(bytes).map_err(|_| SkipReason::NotUtf8)?;
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        Ok(text)
    }

    /// What was read, with `facts`.
    pub(super) fn finish(self, facts: FactParts) -> Extraction {
        Extraction {
            facts,
            skipped: self.skipped.into_iter().collect(),
            files: self.read.into_iter().collect(),
        }
    }

    /// Entries of a folder within, sorted; links that lead out or back are listed as skipped.
    pub(super) fn entries(&mut self, folder: &Path) -> Vec<PathBuf> {
        let listed = match std::fs::read_dir(folder) {
            Ok(listed) => listed,
            Err(error) => {
                let name = self.name(folder);
                let kind = error.kind().to_string();
                self.skip(&name, None, SkipReason::Unreadable { kind });
                return Vec::new();
            }
        };
        let limit = self.limits.files;
        let mut paths: Vec<PathBuf> = listed
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .take(limit + 1)
            .collect();
        if paths.len() > limit {
            let name = self.name(folder);
            self.skip(&name, None, SkipReason::TooManyFiles { limit });
            return Vec::new();
        }
        paths.sort();
        paths.retain(|path| self.stays_inside(path));
        paths
    }

    fn stays_inside(&mut self, path: &Path) -> bool {
        if !path.is_symlink() {
            return true;
        }
        let reason = match path.canonicalize() {
            Ok(full) if !full.starts_with(&self.root) => SkipReason::Outside,
            // A linked folder that holds the link is met again within itself.
            Ok(full) if path.starts_with(&full) => SkipReason::Cycle,
            // A folder is read where it is, not where a link points at it.
            Ok(full) if full.is_dir() => SkipReason::Cycle,
            Ok(_) => return true,
            Err(_) => SkipReason::NotAFile,
        };
        let name = self.name(path);
        self.skip(&name, None, reason);
        false
    }
}
