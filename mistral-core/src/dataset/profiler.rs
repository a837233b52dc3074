//! The way in: paths and streams.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::count::CountTokens;
use super::error::DatasetError;
use super::limits::Limits;
use super::profile::{DatasetProfile, FileFormat, FileProblem};
use super::source;
use super::tally::Tally;
use super::walk::walk;

/// Bytes read from a file at once.
const READ: usize = 256 << 10;

/// How far reading is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'p> {
    /// The file that is read.
    pub file: &'p str,
    /// Stored bytes that were read, of all files.
    pub bytes: u64,
    /// Stored bytes of all files; 0 for streams.
    pub bytes_total: u64,
    /// Rows that were read.
    pub rows: u64,
}

/// Reads files and streams into one profile.
///
/// The same data in the same order gives the same profile. Tokens are estimated unless there is a
/// tokenizer.
pub struct Profiler<'a> {
    tally: Tally<'a>,
}

impl Default for Profiler<'_> {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl<'a> Profiler<'a> {
    /// A profile of nothing yet, within limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            tally: Tally::new(limits),
        }
    }

    /// Counts tokens by a tokenizer.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: &'a dyn CountTokens) -> Self {
        self.tally.tokenizer = Some(tokenizer);
        self
    }

    /// Tells how far reading is, every 16 MB or so.
    #[must_use]
    pub fn on_progress(mut self, tell: impl FnMut(&Progress<'_>) + 'a) -> Self {
        self.tally.on_progress = Some(Box::new(tell));
        self
    }

    /// Reads a file, or all files below a folder whose extensions are known (`.jsonl`, `.ndjson`,
    /// `.json`, `.csv`, `.tsv`, `.txt`, `.md`, each also with `.gz`, and `.parquet`). A file that is
    /// named by itself is told by its content if its extension isn't known.
    ///
    /// # Errors
    /// [`DatasetError`] when the path can't be read at all or has too much below it. What is wrong
    /// inside a file is in the profile.
    pub fn read_path(&mut self, path: &Path) -> Result<(), DatasetError> {
        let data = fs::metadata(path).map_err(|source| DatasetError::Io {
            path: path.to_path_buf(),
            action: "be found",
            source,
        })?;
        if data.is_file() {
            let name = path.file_name().unwrap_or(path.as_os_str());
            self.tally.bytes_total += data.len();
            self.read_file(path, &name.to_string_lossy());
            return Ok(());
        }
        if !data.is_dir() {
            return Err(DatasetError::NotAFile {
                path: path.to_path_buf(),
            });
        }
        let found = walk(path, &self.tally.limits)?;
        self.tally.files_ignored += found.ignored;
        let sizes = found.files.iter().filter_map(|f| f.metadata().ok());
        self.tally.bytes_total += sizes.map(|m| m.len()).sum::<u64>();
        for file in &found.files {
            let name = file.strip_prefix(path).unwrap_or(file);
            let parts: Vec<_> = name.iter().map(|p| p.to_string_lossy()).collect();
            self.read_file(file, &parts.join("/"));
        }
        Ok(())
    }

    /// Reads a stream of text; `name` stands for it in the profile, and its extension tells the
    /// format where it has one. Parquet can't be streamed.
    pub fn read(&mut self, name: &str, mut reader: impl BufRead) {
        self.tally.begin(name);
        let problem = source::read(name, &mut reader, &mut self.tally);
        let bytes = self.tally.read.get();
        self.tally.end(bytes, problem);
    }

    fn read_file(&mut self, path: &Path, name: &str) {
        self.tally.begin(name);
        let (bytes, problem) = match open(path) {
            Err(e) => {
                let message = e.to_string();
                (0, Some(FileProblem::Io { message }))
            }
            Ok((file, bytes, true)) => {
                self.tally.is(FileFormat::Parquet);
                (bytes, self.parquet(file))
            }
            Ok((file, bytes, false)) => {
                let mut reader = BufReader::with_capacity(READ, file);
                (bytes, source::read(name, &mut reader, &mut self.tally))
            }
        };
        self.tally.end(bytes, problem);
    }

    #[cfg(feature = "parquet")]
    fn parquet(&mut self, file: File) -> Option<FileProblem> {
        super::parquet::read(file, &mut self.tally)
    }

    #[cfg(not(feature = "parquet"))]
    fn parquet(&mut self, _: File) -> Option<FileProblem> {
        Some(FileProblem::NotCompiled {
            feature: "parquet".to_owned(),
        })
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> DatasetProfile {
        self.tally.finish()
    }
}

/// A file, its bytes, and whether it begins as Parquet does.
fn open(path: &Path) -> std::io::Result<(File, u64, bool)> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic)?;
    std::io::Seek::rewind(&mut file)?;
    Ok((file, bytes, magic == b"PAR1"))
}

/// Profiles a file or a folder with the usual limits.
///
/// # Errors
/// As [`Profiler::read_path`].
pub fn profile(
    path: &Path,
    tokenizer: Option<&dyn CountTokens>,
) -> Result<DatasetProfile, DatasetError> {
    let mut profiler = Profiler::default();
    profiler.tally.tokenizer = tokenizer;
    profiler.read_path(path)?;
    Ok(profiler.finish())
}
