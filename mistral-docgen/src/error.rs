//! What can go wrong.

use std::path::PathBuf;

/// Why documentation can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocgenError {
    /// A file or folder that can't be read.
    #[error("cannot read {path}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A folder without a page.
    #[error("{path}: expected pages (.md, .mdx), found none")]
    NoPages {
        /// Which folder.
        path: PathBuf,
    },
    /// More pages than are read.
    #[error("expected at most {limit} pages, found more")]
    TooManyPages {
        /// Pages that are read.
        limit: usize,
    },
    /// Facts that another version wrote.
    #[error("expected facts of schema {expected}, found {found}")]
    FactSchema {
        /// The one that is read.
        expected: u32,
        /// The one that is there.
        found: u32,
    },
    /// A folder without the root file of a crate.
    #[error("{path}: expected src/lib.rs, src/main.rs or a path in Cargo.toml, found none")]
    NoCrate {
        /// Which folder.
        path: PathBuf,
    },
    /// A folder without a module of Python.
    #[error("{path}: expected modules of Python (.py), found none")]
    NoPackage {
        /// Which folder.
        path: PathBuf,
    },
    /// A parser that failed by a defect of its own.
    #[error("{path}: a parser failed on what is in this folder")]
    Reader {
        /// Which folder.
        path: PathBuf,
    },
    /// An index that could not be built.
    #[cfg(feature = "answers")]
    #[error("cannot build the index of pages")]
    Index(#[from] tantivy::TantivyError),
}
