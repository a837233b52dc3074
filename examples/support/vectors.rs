//! Tokenizer vectors: which tokenizer a file of vectors is for, and whether a row holds.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use mistral_infer::chat::{ChatError, ChatRequest, FimRequest, Json, ModelSettingsBuilder};
use mistral_infer::tokenizer::{TekkenParts, Tokenizer, TokenizerError, TokenizerVersion};
use serde::{Deserialize, Serialize};

/// Folder of the whole tekken vocabulary, which is stored once for all its versions.
const TEKKEN_FULL: &str = "tekken_full";
const TEKKEN_META: &str = "tekken_meta.json";
const TEKKEN_RANKS: &str = "tekken_ranks.bin.gz";

/// Most bytes that a file of vectors, of settings, or of unpacked ranks may have.
const MAX_BYTES: u64 = 64 << 20;

/// Why vectors cannot be checked.
#[non_exhaustive]
#[derive(Debug)]
pub enum VectorsError {
    /// A file cannot be read, or is too large.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line or a settings file is no JSON, or no row.
    Json {
        /// The file.
        path: PathBuf,
        /// Line, from 1; 0 for the whole file.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The tokenizer is refused.
    Tokenizer(TokenizerError),
    /// A line has neither a text nor a request.
    NotARow {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// A file's name tells no tokenizer, or none whose files are there.
    NoTokenizer {
        /// The name.
        name: String,
    },
}

impl std::fmt::Display for VectorsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "cannot read {}", path.display()),
            Self::Json { path, line: 0, .. } => write!(f, "{} is not valid", path.display()),
            Self::Json { path, line, .. } => {
                write!(f, "{} line {line}: not a row of vectors", path.display())
            }
            Self::NotARow { path, line } => {
                let path = path.display();
                write!(
                    f,
                    "{path} line {line}: expected one of text, request and fim, with ids or error"
                )
            }
            Self::Tokenizer(_) => f.write_str("the tokenizer is refused"),
            Self::NoTokenizer { name } => {
                write!(
                    f,
                    "no tokenizer is known for {name:?}: expected e.g. v3.text.jsonl"
                )
            }
        }
    }
}

impl std::error::Error for VectorsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Json { source, .. } => Some(source),
            Self::Tokenizer(source) => Some(source),
            Self::NotARow { .. } | Self::NoTokenizer { .. } => None,
        }
    }
}

impl From<TokenizerError> for VectorsError {
    fn from(error: TokenizerError) -> Self {
        Self::Tokenizer(error)
    }
}

/// The tokenizer that a file of vectors is for, from the folder of tokenizer files.
///
/// The file's name says which: `v3.text.jsonl` and `tekken_mini_v7.chat.jsonl` have a folder of
/// their own, `tekken_v11.chat.jsonl` is the whole vocabulary with the control tokens of v11.
///
/// # Errors
/// When there is no such tokenizer, or its file is refused.
pub fn tokenizer_for(vectors: &Path, tokenizer_files: &Path) -> Result<Tokenizer, VectorsError> {
    let name = stem(vectors);
    let own = tokenizer_files.join(name);
    if own.is_dir() {
        return Ok(Tokenizer::from_file(own)?);
    }
    let full = tokenizer_files.join(TEKKEN_FULL);
    if name.starts_with("tekken_v") && full.is_dir() {
        return tekken_full(&full, version_of(vectors).ok_or_else(|| unknown(vectors))?);
    }
    Err(unknown(vectors))
}

/// Opens a tokenizer file, or a folder, for a file of vectors: where the file does not tell the
/// version, the vectors' name does.
///
/// # Errors
/// When the file is refused.
pub fn open_tokenizer(file: &Path, vectors: &Path) -> Result<Tokenizer, VectorsError> {
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    let full = if file.join(TEKKEN_META).is_file() {
        Some(file)
    } else if name == TEKKEN_META || name == TEKKEN_RANKS {
        file.parent()
    } else {
        None
    };
    if let Some(folder) = full {
        return tekken_full(folder, version_of(vectors).ok_or_else(|| unknown(vectors))?);
    }
    let tokenizer = Tokenizer::from_file(file)?;
    Ok(match (tokenizer.version(), version_of(vectors)) {
        (None, Some(version)) => tokenizer.with_version(version),
        _ => tokenizer,
    })
}

/// `v3` of `…/v3.text.jsonl`.
fn stem(vectors: &Path) -> &str {
    let name = vectors
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name.split('.').next().unwrap_or(name)
}

fn version_of(vectors: &Path) -> Option<TokenizerVersion> {
    stem(vectors).rsplit('_').next()?.parse().ok()
}

fn unknown(vectors: &Path) -> VectorsError {
    VectorsError::NoTokenizer {
        name: vectors.display().to_string(),
    }
}

/// Settings of the whole tekken vocabulary, for all its versions.
#[derive(Deserialize)]
struct TekkenMeta {
    pattern: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
    special_tokens: std::collections::BTreeMap<String, Vec<ControlToken>>,
    v15_model_settings_builder: Option<ModelSettingsBuilder>,
}

#[derive(Deserialize)]
struct ControlToken {
    token_str: String,
}

/// The whole tekken vocabulary with the control tokens of a version.
fn tekken_full(folder: &Path, version: TokenizerVersion) -> Result<Tokenizer, VectorsError> {
    let path = folder.join(TEKKEN_META);
    let meta = read(&path, File::open(&path))?;
    let mut meta: TekkenMeta =
        serde_json::from_slice(&meta).map_err(|source| VectorsError::Json {
            path,
            line: 0,
            source,
        })?;
    let control_tokens =
        meta.special_tokens
            .remove(version.name())
            .ok_or_else(|| VectorsError::NoTokenizer {
                name: format!("{TEKKEN_FULL} {version}"),
            })?;
    let parts = TekkenParts {
        pattern: meta.pattern,
        version,
        vocab_size: meta.default_vocab_size,
        num_control_tokens: meta.default_num_special_tokens,
        control_tokens: control_tokens
            .into_iter()
            .map(|token| token.token_str)
            .collect(),
        model_settings: meta
            .v15_model_settings_builder
            .filter(|_| version >= TokenizerVersion::V15),
    };
    let path = folder.join(TEKKEN_RANKS);
    let ranks = read(&path, File::open(&path).map(GzDecoder::new))?;
    Ok(Tokenizer::from_tekken_parts(parts, &ranks)?)
}

/// Reads at most [`MAX_BYTES`].
fn read(path: &Path, source: std::io::Result<impl Read>) -> Result<Vec<u8>, VectorsError> {
    let error = |source| VectorsError::Read {
        path: path.to_owned(),
        source,
    };
    let mut data = Vec::new();
    source
        .map_err(error)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut data)
        .map_err(error)?;
    if data.len() as u64 > MAX_BYTES {
        let what = format!("larger than {MAX_BYTES} bytes");
        return Err(error(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            what,
        )));
    }
    Ok(data)
}

/// One row of a file of vectors, of either kind.
///
/// A request stays JSON until it is checked: it may be one that has to be refused, and the order of
/// its keys counts.
#[derive(Debug, Deserialize)]
pub struct Row {
    id: Option<Json>,
    name: Option<Json>,
    text: Option<String>,
    ids: Option<Vec<u32>>,
    decoded: Option<String>,
    request: Option<Json>,
    fim: Option<FimRequest>,
    error: Option<String>,
}

/// What came of a row.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// The row's `id` or `name`, or else its index.
    pub id: Json,
    /// The ids that were found; none when the row was refused.
    pub ids: Vec<u32>,
    /// Whether ids and text, or the class of the error, are those of the row.
    pub ok: bool,
    /// What differs, for people.
    #[serde(skip)]
    pub note: String,
}

/// Reads a file of vectors, one row a line.
///
/// # Errors
/// When the file cannot be read or a line is no row.
pub fn read_rows(path: &Path) -> Result<Vec<Row>, VectorsError> {
    let data = read(path, File::open(path))?;
    let mut rows = Vec::new();
    for (i, line) in data.split(|&b| b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let (path, line_number) = (path.to_owned(), i + 1);
        let row: Row = match serde_json::from_slice(line) {
            Ok(row) => row,
            Err(source) => {
                return Err(VectorsError::Json {
                    path,
                    line: line_number,
                    source,
                });
            }
        };
        let asks = row.text.is_some() || row.request.is_some() || row.fim.is_some();
        if !asks || row.ids.is_some() == row.error.is_some() {
            return Err(VectorsError::NotARow {
                path,
                line: line_number,
            });
        }
        rows.push(row);
    }
    Ok(rows)
}

impl Row {
    /// The text of a row of plain text, or how a chat's ids read.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Encodes the row and compares; `index` names a row without id.
    #[must_use]
    pub fn check(&self, index: usize, tokenizer: &Tokenizer) -> Checked {
        let id = self.id.as_ref().or(self.name.as_ref()).cloned();
        let id = id.unwrap_or_else(|| Json::Int(index.to_string()));
        let (ids, note) = match (self.encode(tokenizer), &self.error) {
            (Ok(ids), None) => {
                let note = self.difference(tokenizer, &ids);
                (ids, note)
            }
            (Ok(ids), Some(class)) => (ids, format!("accepted, expected {class}")),
            (Err(error), Some(class)) if error.class() == class => (Vec::new(), String::new()),
            (Err(error), expected) => (
                Vec::new(),
                format!("{} ({error}), expected {expected:?}", error.class()),
            ),
        };
        Checked {
            id,
            ids,
            ok: note.is_empty(),
            note,
        }
    }

    fn encode(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, ChatError> {
        match (&self.request, &self.fim, &self.text) {
            (Some(request), _, _) => {
                let request: ChatRequest = serde_json::from_str(&request.dumps())?;
                tokenizer.encode_chat(&request)
            }
            (None, Some(fim), _) => tokenizer.encode_fim_request(fim),
            (None, None, text) => Ok(tokenizer.encode(text.as_deref().unwrap_or_default())?),
        }
    }

    /// What differs, or nothing.
    fn difference(&self, tokenizer: &Tokenizer, ids: &[u32]) -> String {
        let expected = self.ids.as_deref().unwrap_or_default();
        if ids != expected {
            let at = ids.iter().zip(expected).take_while(|(a, b)| a == b).count();
            let (found, expected) = (ids.get(at), expected.get(at));
            return format!(
                "ids differ from place {at} on: found {found:?}, expected {expected:?}"
            );
        }
        let Some(expected) = &self.decoded else {
            return String::new();
        };
        match tokenizer.decode(ids) {
            Ok(decoded) if decoded == *expected => String::new(),
            Ok(decoded) => format!("decoded {decoded:?}, expected {expected:?}"),
            Err(error) => error.to_string(),
        }
    }
}
