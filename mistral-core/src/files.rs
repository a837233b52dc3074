//! Generated files: a set of checked relative paths with their contents, written safely.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest path, in bytes.
const MAX_PATH: usize = 1024;
/// Longest part of a path, in bytes: what common file systems take.
const MAX_PART: usize = 255;

/// What is wrong with a set of files, or with writing it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A path that leaves the output folder or that not every system can hold.
    #[error("{path:?}: expected a relative path of plain parts, found {found}")]
    BadPath {
        /// The path, at most 64 characters of it.
        path: String,
        /// What is wrong.
        found: &'static str,
    },
    /// Two files of one path, or of paths that differ in case only.
    #[error("{path}: expected one file of this name, found two")]
    Duplicate {
        /// The second path.
        path: RelativePath,
    },
    /// A file where a folder is needed, or a folder or link where a file is written.
    #[error("{path}: expected {expected}, found {found}")]
    Obstacle {
        /// Where.
        path: PathBuf,
        /// What is needed there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
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
}

/// A path below an output folder, with `/` between its parts.
///
/// Invariant: not empty, not absolute, no part is empty, `.` or `..`, no `\`, `:` or control
/// character, no part ends with a dot or a space.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativePath(String);

impl RelativePath {
    /// Checks a path.
    ///
    /// # Errors
    /// [`FilesError::BadPath`] when it breaks the invariant.
    pub fn new(path: impl Into<String>) -> Result<Self, FilesError> {
        let path = path.into();
        match flaw(&path) {
            None => Ok(Self(path)),
            Some(found) => Err(FilesError::BadPath {
                path: path.chars().take(64).collect(),
                found,
            }),
        }
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path below `root`.
    #[must_use]
    pub fn below(&self, root: &Path) -> PathBuf {
        self.0
            .split('/')
            .fold(root.to_path_buf(), |p, part| p.join(part))
    }
}

fn flaw(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("an empty path");
    }
    if path.len() > MAX_PATH {
        return Some("more than 1024 bytes");
    }
    if path.starts_with('/') {
        return Some("an absolute path");
    }
    if path.chars().any(|c| c.is_control()) {
        return Some("a control character");
    }
    if path.contains('\\') || path.contains(':') {
        return Some("a backslash or a colon");
    }
    for part in path.split('/') {
        match part {
            "" => return Some("an empty part"),
            "." | ".." => return Some("a part that is . or .."),
            _ if part.len() > MAX_PART => return Some("a part of more than 255 bytes"),
            _ if part.ends_with('.') || part.ends_with(' ') => {
                return Some("a part that ends with a dot or a space");
            }
            _ => {}
        }
    }
    None
}

impl TryFrom<String> for RelativePath {
    type Error = FilesError;
    fn try_from(path: String) -> Result<Self, FilesError> {
        Self::new(path)
    }
}

impl From<RelativePath> for String {
    fn from(path: RelativePath) -> Self {
        path.0
    }
}

impl std::fmt::Display for RelativePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a file can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileMode {
    /// Data.
    #[default]
    Plain,
    /// A script or program.
    Executable,
}

/// One generated file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratedFile {
    /// Where, below the output folder.
    pub path: RelativePath,
    /// The text.
    pub contents: String,
    /// Whether it can be run.
    #[serde(default)]
    pub mode: FileMode,
}

/// Generated files, in the order of their paths.
///
/// Invariant: no two paths are equal when case is ignored, and no file's path is a folder of
/// another's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct FileSet {
    /// By path in lower case.
    files: BTreeMap<String, GeneratedFile>,
}

/// The serialised form of a set.
#[derive(Serialize, Deserialize)]
struct Wire {
    schema: u32,
    files: Vec<GeneratedFile>,
}

impl TryFrom<Wire> for FileSet {
    type Error = FilesError;
    fn try_from(wire: Wire) -> Result<Self, FilesError> {
        let mut set = Self::default();
        for file in wire.files {
            set.insert(file)?;
        }
        Ok(set)
    }
}

impl From<FileSet> for Wire {
    fn from(set: FileSet) -> Self {
        Self {
            schema: FileSet::SCHEMA,
            files: set.files.into_values().collect(),
        }
    }
}

impl FileSet {
    /// Version of the serialised form that this code writes.
    pub const SCHEMA: u32 = 1;

    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a plain text file.
    ///
    /// # Errors
    /// [`FilesError::BadPath`] or [`FilesError::Duplicate`].
    pub fn add(&mut self, path: &str, contents: impl Into<String>) -> Result<(), FilesError> {
        self.insert(GeneratedFile {
            path: RelativePath::new(path)?,
            contents: contents.into(),
            mode: FileMode::Plain,
        })
    }

    /// Adds a file.
    ///
    /// # Errors
    /// [`FilesError::Duplicate`] when a file has that path already, or when one path would be a
    /// folder of the other.
    pub fn insert(&mut self, file: GeneratedFile) -> Result<(), FilesError> {
        let key = file.path.as_str().to_lowercase();
        let folder = format!("{key}/");
        let below_a_file = key
            .match_indices('/')
            .any(|(i, _)| self.files.contains_key(&key[..i]));
        let above_a_file = self
            .files
            .range(folder.clone()..)
            .next()
            .is_some_and(|(k, _)| k.starts_with(&folder));
        if below_a_file || above_a_file || self.files.contains_key(&key) {
            return Err(FilesError::Duplicate { path: file.path });
        }
        self.files.insert(key, file);
        Ok(())
    }

    /// The file of this path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&GeneratedFile> {
        self.files
            .get(&path.to_lowercase())
            .filter(|f| f.path.as_str() == path)
    }

    /// The files, in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = &GeneratedFile> {
        self.files.values()
    }

    /// The files that `keep` holds for, in a set of their own.
    #[must_use]
    pub fn retained(&self, keep: impl Fn(&GeneratedFile) -> bool) -> Self {
        let kept = self.files.iter().filter(|(_, file)| keep(file));
        Self {
            files: kept.map(|(k, file)| (k.clone(), file.clone())).collect(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Writes every file below `root`, which is made when absent; returns the paths written.
    ///
    /// All files are first written beside their places and then renamed, so that an interrupted
    /// write leaves each old file or each new one, never a part of one.
    ///
    /// # Errors
    /// [`FilesError::Obstacle`] when something of another kind, or a link, is in the way below
    /// `root`; [`FilesError::Io`] when the file system refuses. Files written beside their places
    /// are then removed.
    pub fn write(&self, root: &Path) -> Result<Vec<PathBuf>, FilesError> {
        make_folder(root, Links::Follow)?;
        let mut staged = Staged(Vec::with_capacity(self.len()));
        for file in self.iter() {
            staged.stage(root, file)?;
        }
        staged.commit()
    }
}

/// Files written beside their places; what wasn't renamed is removed on drop.
struct Staged(Vec<(PathBuf, PathBuf)>);

impl Staged {
    fn stage(&mut self, root: &Path, file: &GeneratedFile) -> Result<(), FilesError> {
        let mut folder = root.to_path_buf();
        let mut parts: Vec<&str> = file.path.as_str().split('/').collect();
        let name = parts.pop().expect("a path has a part");
        for part in parts {
            folder.push(part);
            make_folder(&folder, Links::Refuse)?;
        }
        let place = folder.join(name);
        if let Ok(meta) = fs::symlink_metadata(&place)
            && !meta.is_file()
        {
            let found = if meta.is_dir() {
                "a folder"
            } else {
                "a link or device"
            };
            return Err(FilesError::Obstacle {
                path: place,
                expected: "a file",
                found,
            });
        }
        // Short, so that a name at the limit still has one; unique in this process and its set.
        let beside = folder.join(format!(".new-{}-{}", std::process::id(), self.0.len()));
        let io = |action: &'static str| {
            let path = place.clone();
            move |source| FilesError::Io {
                path,
                action,
                source,
            }
        };
        let mut out = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&beside)
            .map_err(io("write beside"))?;
        self.0.push((beside, place.clone()));
        out.write_all(file.contents.as_bytes())
            .map_err(io("write"))?;
        if file.mode == FileMode::Executable {
            make_executable(&out).map_err(io("make executable"))?;
        }
        out.sync_all().map_err(io("write to the disk"))
    }

    fn commit(mut self) -> Result<Vec<PathBuf>, FilesError> {
        let mut written = Vec::with_capacity(self.0.len());
        while let Some((beside, place)) = self.0.first().cloned() {
            fs::rename(&beside, &place).map_err(|source| FilesError::Io {
                path: place.clone(),
                action: "rename into place",
                source,
            })?;
            self.0.remove(0);
            written.push(place);
        }
        Ok(written)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for (beside, _) in &self.0 {
            // Nothing more can be done about a file that can't be removed either.
            let _ = fs::remove_file(beside);
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Links {
    Follow,
    Refuse,
}

fn make_folder(path: &Path, links: Links) -> Result<(), FilesError> {
    let meta = match links {
        Links::Follow => fs::metadata(path),
        Links::Refuse => fs::symlink_metadata(path),
    };
    match meta {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(FilesError::Obstacle {
            path: path.to_path_buf(),
            expected: "a folder",
            found: "a file or link",
        }),
        Err(_) => fs::create_dir_all(path).map_err(|source| FilesError::Io {
            path: path.to_path_buf(),
            action: "make the folder",
            source,
        }),
    }
}

#[cfg(unix)]
fn make_executable(file: &fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut permissions = file.metadata()?.permissions();
    permissions.set_mode(0o755);
    file.set_permissions(permissions)
}

#[cfg(not(unix))]
fn make_executable(_: &fs::File) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);
    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("mistral-files-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }
    }
    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn paths_that_escape_are_refused() {
        for bad in [
            "",
            "/etc/passwd",
            "..",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            "C:\\x",
            "c:x",
            "a\\b",
            "a\0b",
            "a\nb",
            "dot.",
            "space ",
            "a/b./c",
        ] {
            let err = RelativePath::new(bad).expect_err(bad);
            assert!(matches!(err, FilesError::BadPath { .. }), "{bad:?}");
        }
        assert!(RelativePath::new("x".repeat(256)).is_err());
        assert!(RelativePath::new("ab/".repeat(400) + "c").is_err());
        for good in ["a", "src/main.rs", ".env.example", "a..b/c", "Dockerfile"] {
            assert_eq!(RelativePath::new(good).expect(good).as_str(), good);
        }
        let json = r#"{"schema":1,"files":[{"path":"../x","contents":""}]}"#;
        assert!(serde_json::from_str::<FileSet>(json).is_err());
    }

    #[test]
    fn colliding_paths_are_refused() {
        let mut set = FileSet::new();
        set.add("src/main.rs", "a").expect("the first");
        for bad in ["src/main.rs", "SRC/Main.rs", "src", "src/main.rs/x"] {
            let err = set.add(bad, "b").expect_err(bad);
            assert!(matches!(err, FilesError::Duplicate { .. }), "{bad}");
        }
        set.add("src-other", "c").expect("another name");
        assert_eq!(set.len(), 2);
        let json = serde_json::to_string(&set).expect("serialises");
        assert_eq!(serde_json::from_str::<FileSet>(&json).expect("parses"), set);
    }

    #[test]
    fn writes_all_and_replaces_old_files() {
        let dir = Folder::new("write");
        let mut set = FileSet::new();
        set.add("a/b/c.txt", "one").expect("good");
        set.insert(GeneratedFile {
            path: RelativePath::new("run.sh").expect("good"),
            contents: "#!/bin/sh\n".to_owned(),
            mode: FileMode::Executable,
        })
        .expect("good");
        assert_eq!(set.write(&dir.0).expect("written").len(), 2);
        assert_eq!(
            fs::read_to_string(dir.0.join("a/b/c.txt")).expect("read"),
            "one"
        );
        let mut newer = FileSet::new();
        newer.add("a/b/c.txt", "two").expect("good");
        newer.write(&dir.0).expect("written");
        assert_eq!(
            fs::read_to_string(dir.0.join("a/b/c.txt")).expect("read"),
            "two"
        );
        let left: Vec<_> = fs::read_dir(dir.0.join("a/b")).expect("read").collect();
        assert_eq!(left.len(), 1, "nothing is left beside");
    }

    #[test]
    fn an_obstacle_leaves_the_old_files() {
        let dir = Folder::new("obstacle");
        fs::create_dir_all(dir.0.join("z")).expect("made");
        fs::write(dir.0.join("a"), "old").expect("written");
        let mut set = FileSet::new();
        set.add("a", "new").expect("good");
        set.add("z", "a folder is there").expect("good");
        assert!(matches!(
            set.write(&dir.0),
            Err(FilesError::Obstacle { .. })
        ));
        assert_eq!(fs::read_to_string(dir.0.join("a")).expect("read"), "old");
        assert_eq!(
            fs::read_dir(&dir.0).expect("read").count(),
            2,
            "nothing is left beside"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_below_the_folder_are_not_followed() {
        let dir = Folder::new("link");
        let outside = Folder::new("outside");
        fs::create_dir_all(&dir.0).expect("made");
        fs::create_dir_all(&outside.0).expect("made");
        std::os::unix::fs::symlink(&outside.0, dir.0.join("sub")).expect("linked");
        let mut set = FileSet::new();
        set.add("sub/x", "text").expect("good");
        assert!(matches!(
            set.write(&dir.0),
            Err(FilesError::Obstacle { .. })
        ));
        assert_eq!(fs::read_dir(&outside.0).expect("read").count(), 0);
    }
}
