//! A folder of pages.

use crate::DocgenError;
use crate::markdown::{self, Page};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file that is read, in bytes; a longer one is skipped and named.
pub const MAX_FILE_BYTES: u64 = 16 << 20;
/// Most pages of a corpus.
pub const MAX_PAGES: usize = 200_000;
/// How deep folders may lie within each other; those below are not read.
const MAX_DEPTH: usize = 64;

/// Languages whose pages may stand beside each other, in folders of these names.
const LANGUAGES: &[&str] = &["en", "fr"];

/// Pages by path, and what could not be read.
#[derive(Debug, Clone, Default)]
pub struct Corpus {
    /// By language, then by path. A page's path has no language folder: twins share it.
    pub pages: Vec<CorpusPage>,
    /// Files that were left out, with why.
    pub skipped: Vec<(PathBuf, Skipped)>,
}

/// A page and its language.
#[derive(Debug, Clone)]
pub struct CorpusPage {
    /// What it holds.
    pub page: Page,
    /// The folder's name, `en` where there are no folders of languages.
    pub language: String,
}

impl Corpus {
    /// Pages of texts that are already in memory, by path, all in one language.
    pub fn from_texts<'a>(
        language: &str,
        texts: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let pages = texts.into_iter().map(|(path, text)| CorpusPage {
            page: markdown::read(path, text),
            language: language.to_owned(),
        });
        Self {
            pages: pages.collect(),
            skipped: Vec::new(),
        }
    }
}

/// Why a file was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skipped {
    /// Longer than [`MAX_FILE_BYTES`].
    TooLong,
    /// Not text in UTF-8.
    NotUtf8,
}

/// Reads all `.md` and `.mdx` files up to 64 folders below `root`, symbolic links there not followed.
///
/// Where `root` has folders named after languages (`en`, `fr`), only those are read, and pages of the same
/// path are taken for translations of each other.
///
/// # Errors
/// A folder or file that can't be read, no page at all, or more than [`MAX_PAGES`].
pub fn read(root: &Path) -> Result<Corpus, DocgenError> {
    let mut corpus = Corpus::default();
    let folders: Vec<&str> = LANGUAGES
        .iter()
        .copied()
        .filter(|language| {
            let found = fs::symlink_metadata(root.join(language));
            found.is_ok_and(|found| found.is_dir())
        })
        .collect();
    if folders.is_empty() {
        read_folder(root, "en", &mut corpus)?;
    }
    for language in folders {
        read_folder(&root.join(language), language, &mut corpus)?;
    }
    if corpus.pages.is_empty() {
        return Err(DocgenError::NoPages {
            path: root.to_owned(),
        });
    }
    Ok(corpus)
}

fn read_folder(root: &Path, language: &str, corpus: &mut Corpus) -> Result<(), DocgenError> {
    let mut files = BTreeSet::new();
    walk(root, root, 0, &mut files)?;
    for (name, file) in files {
        let io = |source| DocgenError::Io {
            path: file.clone(),
            source,
        };
        if fs::metadata(&file).map_err(io)?.len() > MAX_FILE_BYTES {
            corpus.skipped.push((file, Skipped::TooLong));
            continue;
        }
        let bytes = fs::read(&file).map_err(io)?;
        let Ok(text) = String::from_utf8(bytes) else {
            corpus.skipped.push((file, Skipped::NotUtf8));
            continue;
        };
        if corpus.pages.len() == MAX_PAGES {
            return Err(DocgenError::TooManyPages { limit: MAX_PAGES });
        }
        corpus.pages.push(CorpusPage {
            page: markdown::read(&name, &text),
            language: language.to_owned(),
        });
    }
    Ok(())
}

/// Names relative to `root` with `/`, and files.
fn walk(
    root: &Path,
    folder: &Path,
    depth: usize,
    files: &mut BTreeSet<(String, PathBuf)>,
) -> Result<(), DocgenError> {
    let io = |source| DocgenError::Io {
        path: folder.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let kind = entry.file_type().map_err(io)?;
        let path = entry.path();
        if kind.is_dir() && depth < MAX_DEPTH {
            walk(root, &path, depth + 1, files)?;
        }
        let page = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("md") || e.eq_ignore_ascii_case("mdx"));
        if kind.is_file() && page {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let parts: Vec<_> = relative
                .components()
                .map(|part| part.as_os_str().to_string_lossy().into_owned())
                .collect();
            files.insert((parts.join("/"), path));
        }
    }
    Ok(())
}
