//! GGUF files: metadata, tensors, tokenizer and chat template of a model in one file, or in several
//! numbered ones.
//!
//! A [`Gguf`] is a checked view of the files: nothing is allocated from what a header claims, texts
//! and token lists stay where they lie, and whatever breaks the format is a [`GgufError`] that
//! names it. Versions 2 and 3, little-endian. [`quantize_model`] writes any model that this crate
//! reads into such a file, and [`GgufWriter`] any tensors.
//!
//! ```
//! use mistral_infer::gguf::Gguf;
//!
//! // A header without tensors: version 3, no tensor, one entry.
//! let mut bytes = b"GGUF\x03\0\0\0".to_vec();
//! bytes.extend([0u64.to_le_bytes(), 1u64.to_le_bytes()].concat());
//! bytes.extend([&12u64.to_le_bytes()[..], b"general.name", &8u32.to_le_bytes()].concat());
//! bytes.extend([&4u64.to_le_bytes()[..], b"tiny"].concat());
//!
//! let file = Gguf::from_bytes(bytes)?;
//! assert_eq!(file.value("general.name").and_then(|v| v.text()), Some("tiny"));
//! # Ok::<(), mistral_infer::gguf::GgufError>(())
//! ```

mod error;
mod find;
mod header;
pub mod limits;
mod reader;
mod spec;
mod tensors;
mod value;
mod write;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::InferError;
use crate::weights::{Bytes, WeightStorage};
use header::Header;

pub use error::GgufError;
pub(crate) use find::model_file;
pub use tensors::TensorInfo;
pub use value::{Array, Value, ValueType};
pub use write::{
    GgufWriter, Metadata, MetadataValue, Progress, QuantizeOptions, QuantizeReport, TensorHeader,
    quantize_model,
};

/// One file, checked.
#[derive(Debug)]
struct File {
    path: PathBuf,
    bytes: Arc<Bytes>,
    header: Header,
}

impl File {
    fn parse(bytes: Bytes, path: &Path) -> Result<File, GgufError> {
        let header = Header::parse(bytes.as_slice())?;
        Ok(File {
            path: path.to_owned(),
            bytes: Arc::new(bytes),
            header,
        })
    }

    fn open(path: &Path, storage: WeightStorage) -> Result<File, InferError> {
        File::parse(Bytes::open(path, storage)?, path).map_err(|source| InferError::Gguf {
            path: path.to_owned(),
            source,
        })
    }

    fn value(&self, key: &str) -> Option<Value<'_>> {
        self.header.value(self.bytes.as_slice(), key)
    }
}

/// The GGUF files of one model.
#[derive(Debug)]
pub struct Gguf {
    /// Invariant: at least one, in order; the first has the metadata. Tensor names differ.
    files: Vec<File>,
}

impl Gguf {
    /// Opens a file and, when it is part of a split model, the others beside it.
    ///
    /// # Errors
    /// [`InferError::Io`] for a file that can't be read, [`InferError::Gguf`] for one that breaks
    /// its format, belongs to another model, or is missing.
    pub fn open(path: impl AsRef<Path>, storage: WeightStorage) -> Result<Gguf, InferError> {
        let path = path.as_ref();
        let file = File::open(path, storage)?;
        let at = |source| InferError::Gguf {
            path: path.to_owned(),
            source,
        };
        let Some(shards) = find::shards(&file, path).map_err(at)? else {
            return Ok(Gguf { files: vec![file] });
        };
        let mut opened = Some(file);
        let mut files = Vec::new();
        for shard in &shards {
            let file = match opened.take_if(|_| shard.path == path) {
                Some(file) => file,
                None => File::open(&shard.path, storage)?,
            };
            shard.check(&file).map_err(at)?;
            files.push(file);
        }
        let whole = Gguf { files };
        whole.check_parts().map_err(at)?;
        Ok(whole)
    }

    /// Checks a file that is in memory. Parts of split models are taken as they are.
    ///
    /// # Errors
    /// [`GgufError`] for what breaks the format.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Gguf, GgufError> {
        let file = File::parse(Bytes::Copied(bytes), Path::new("memory"))?;
        Ok(Gguf { files: vec![file] })
    }

    /// The first file; `memory` for bytes that were handed in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.files[0].path
    }

    /// Version of the format, 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.files[0].header.version
    }

    /// The metadata's keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.files[0].header.keys()
    }

    /// The metadata value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Value<'_>> {
        self.files[0].value(key)
    }

    /// The type that a key's value is stored with.
    #[must_use]
    pub fn value_type(&self, key: &str) -> Option<ValueType> {
        self.files[0].header.kind(key)
    }

    /// Every tensor, in the order of the files.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.files.iter().flat_map(|file| &file.header.tensors)
    }

    /// The tensor of a name and its bytes.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<(&TensorInfo, &[u8])> {
        self.files.iter().find_map(|file| {
            let tensor = file.header.tensors.iter().find(|t| t.name == name)?;
            Some((tensor, file.bytes.as_slice().get(tensor.range.clone())?))
        })
    }

    /// The chat template, as text: nothing here runs it.
    ///
    /// # Errors
    /// [`GgufError::Metadata`] when it isn't text or is longer than [`limits::MAX_TEMPLATE_BYTES`].
    pub fn chat_template(&self) -> Result<Option<&str>, GgufError> {
        let key = "tokenizer.chat_template";
        match self.value(key) {
            None => Ok(None),
            Some(Value::Text(text)) if text.len() <= limits::MAX_TEMPLATE_BYTES => Ok(Some(text)),
            Some(other) => Err(GgufError::Metadata {
                key: key.to_owned(),
                expected: "a text of at most 2^20 bytes",
                found: other.describe(),
            }),
        }
    }

    /// Each file's bytes and tensors.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Arc<Bytes>, &[TensorInfo])> {
        self.files
            .iter()
            .map(|file| (&file.bytes, file.header.tensors.as_slice()))
    }

    /// What holds between the files of a split model.
    fn check_parts(&self) -> Result<(), GgufError> {
        let mut names = HashSet::new();
        for tensor in self.tensors() {
            if !names.insert(tensor.name.as_str()) {
                return Err(GgufError::DuplicateTensor {
                    name: tensor.name.clone(),
                });
            }
        }
        let claimed = self.value("split.tensors.count").and_then(Value::integer);
        match claimed {
            Some(expected) if expected != names.len() as u64 => Err(GgufError::TensorCount {
                expected,
                found: names.len(),
            }),
            _ => Ok(()),
        }
    }
}
