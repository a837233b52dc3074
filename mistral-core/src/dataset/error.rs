//! What can go wrong before a row is read.

use std::path::PathBuf;

/// Why a path can't be profiled. What is wrong inside a file stands in the profile instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The file system refused.
    #[error("{path}: could not {action}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Its error.
        #[source]
        source: std::io::Error,
    },
    /// A socket, a pipe or a device.
    #[error("{path}: expected a file or a folder, found neither")]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// A folder without a file that is read.
    #[error("{path}: expected files that end in {expected}, found none")]
    NoFiles {
        /// The folder.
        path: PathBuf,
        /// The extensions that are read.
        expected: &'static str,
    },
    /// A folder with more entries than are looked at.
    #[error("{path}: expected at most {limit} files and folders, found more")]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Folders inside folders.
    #[error("{path}: expected at most {limit} folders inside one another, found more")]
    TooDeep {
        /// The folder that is one too many.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
}
