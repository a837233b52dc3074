//! Writes GGUF files of version 3: a header, then the tensors' bytes as they come.
//!
//! A file is written beside its place and renamed when it is whole, so that an interrupted write
//! leaves what was there. Nothing of the tensors is kept in memory.

mod metadata;
mod plan;
mod quantize;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use mistral_core::precision::Format;

use super::error::GgufError;
use super::limits::{MAX_DIMENSIONS, MAX_NAME_BYTES};
use super::value::ValueType;
use crate::error::InferError;

pub use quantize::{Progress, QuantizeOptions, QuantizeReport, quantize_model};

/// Where tensors start in the files that are written: every multiple of this many bytes.
const ALIGNMENT: usize = 32;

/// A metadata value to write.
#[derive(Debug, Clone, PartialEq)]
pub enum MetadataValue {
    /// A whole number.
    U32(u32),
    /// A number.
    F32(f32),
    /// A flag.
    Bool(bool),
    /// Text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A list of numbers.
    F32s(Vec<f32>),
    /// A list of whole numbers.
    I32s(Vec<i32>),
}

/// Metadata by key; written in the keys' order.
pub type Metadata = BTreeMap<String, MetadataValue>;

impl MetadataValue {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            MetadataValue::U32(n) => {
                kind(out, ValueType::U32);
                out.extend(n.to_le_bytes());
            }
            MetadataValue::F32(x) => {
                kind(out, ValueType::F32);
                out.extend(x.to_le_bytes());
            }
            MetadataValue::Bool(flag) => {
                kind(out, ValueType::Bool);
                out.push(u8::from(*flag));
            }
            MetadataValue::Text(value) => {
                kind(out, ValueType::Text);
                text(out, value);
            }
            MetadataValue::Texts(list) => {
                array(out, ValueType::Text, list.len());
                list.iter().for_each(|value| text(out, value));
            }
            MetadataValue::F32s(list) => {
                array(out, ValueType::F32, list.len());
                out.extend(list.iter().flat_map(|x| x.to_le_bytes()));
            }
            MetadataValue::I32s(list) => {
                array(out, ValueType::I32, list.len());
                out.extend(list.iter().flat_map(|n| n.to_le_bytes()));
            }
        }
    }
}

fn kind(out: &mut Vec<u8>, kind: ValueType) {
    out.extend((kind as u32).to_le_bytes());
}

fn array(out: &mut Vec<u8>, elements: ValueType, len: usize) {
    kind(out, ValueType::Array);
    kind(out, elements);
    out.extend((len as u64).to_le_bytes());
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.extend((value.len() as u64).to_le_bytes());
    out.extend(value.as_bytes());
}

/// A tensor to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorHeader {
    /// Name in the file.
    pub name: String,
    /// Storage format.
    pub format: Format,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl TensorHeader {
    /// Bytes that the tensor takes, and the number that its format has in files.
    fn check(&self) -> Result<(usize, u32), GgufError> {
        let name = || self.name.clone();
        if self.name.len() > MAX_NAME_BYTES {
            return Err(GgufError::TooMany {
                what: "bytes of a tensor's name",
                found: self.name.len(),
                limit: MAX_NAME_BYTES,
            });
        }
        let rank = self.shape.len();
        if rank == 0 || rank > MAX_DIMENSIONS as usize {
            return Err(GgufError::Rank {
                name: name(),
                found: u32::try_from(rank).unwrap_or(u32::MAX),
            });
        }
        let dimensions = || GgufError::Dimensions {
            name: name(),
            found: self.shape.iter().rev().map(|d| *d as u64).collect(),
        };
        let mut factors = self.shape.iter();
        let count = factors.try_fold(1usize, |n, d| n.checked_mul(*d));
        let count = count.filter(|n| *n > 0).ok_or_else(dimensions)?;
        let id = self.format.ggml_id().ok_or_else(|| GgufError::NoType {
            name: name(),
            format: self.format,
        })?;
        let row = self.shape[rank - 1];
        if !row.is_multiple_of(self.format.block().items) {
            return Err(GgufError::RowLength {
                name: name(),
                format: self.format,
                found: row as u64,
            });
        }
        let bytes = self.format.bytes(count).ok_or_else(dimensions)?;
        Ok((bytes, id))
    }
}

/// A GGUF file that is being written.
#[derive(Debug)]
pub struct GgufWriter {
    path: PathBuf,
    /// Beside `path`; removed unless the file is finished.
    partial: PathBuf,
    out: BufWriter<File>,
    /// Name and bytes of each tensor.
    tensors: Vec<(String, usize)>,
    /// Bytes written of each tensor that was begun, in order.
    begun: usize,
    written: usize,
    total: u64,
    finished: bool,
}

impl GgufWriter {
    /// Begins a file: checks the tensors and writes the header.
    ///
    /// # Errors
    /// [`InferError::Gguf`] for tensors that the format can't hold, [`InferError::Write`].
    pub fn create(
        path: &Path,
        metadata: &Metadata,
        tensors: &[TensorHeader],
    ) -> Result<GgufWriter, InferError> {
        let (header, tensors) = header(metadata, tensors).map_err(|source| InferError::Gguf {
            path: path.to_owned(),
            source,
        })?;
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".partial");
        let partial = path.with_file_name(name);
        let failed = |source| InferError::Write {
            path: path.to_owned(),
            source,
        };
        let out = BufWriter::with_capacity(1 << 20, File::create(&partial).map_err(failed)?);
        let mut writer = GgufWriter {
            path: path.to_owned(),
            partial,
            out,
            tensors,
            begun: 0,
            written: 0,
            total: 0,
            finished: false,
        };
        writer.put(&header)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), InferError> {
        self.total += bytes.len() as u64;
        self.out
            .write_all(bytes)
            .map_err(|source| InferError::Write {
                path: self.path.clone(),
                source,
            })
    }

    /// Writes the next bytes of the tensor at which the file stands; the next tensor follows when
    /// all of it has come.
    ///
    /// # Errors
    /// [`InferError::Gguf`] for more bytes than the tensor has left, [`InferError::Write`].
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), InferError> {
        let (name, expected) = match self.tensors.get(self.begun) {
            Some((name, bytes)) => (name.as_str(), *bytes),
            None => ("", 0),
        };
        let found = self.written + bytes.len();
        if found > expected {
            let name = name.to_owned();
            return Err(self.wrong(name, expected, found));
        }
        self.put(bytes)?;
        self.written = found;
        if found == expected {
            let padding = [0; ALIGNMENT];
            self.put(&padding[..expected.next_multiple_of(ALIGNMENT) - expected])?;
            self.begun += 1;
            self.written = 0;
        }
        Ok(())
    }

    fn wrong(&self, name: String, expected: usize, found: usize) -> InferError {
        InferError::Gguf {
            path: self.path.clone(),
            source: GgufError::DataLength {
                name,
                expected,
                found,
            },
        }
    }

    /// Ends the file, gives it its name and returns its size in bytes.
    ///
    /// # Errors
    /// [`InferError::Gguf`] when a tensor lacks bytes, [`InferError::Write`].
    pub fn finish(mut self) -> Result<u64, InferError> {
        if let Some((name, expected)) = self.tensors.get(self.begun) {
            return Err(self.wrong(name.clone(), *expected, self.written));
        }
        let renamed = (self.out.flush())
            .and_then(|()| self.out.get_ref().sync_all())
            .and_then(|()| std::fs::rename(&self.partial, &self.path));
        renamed.map_err(|source| InferError::Write {
            path: self.path.clone(),
            source,
        })?;
        self.finished = true;
        Ok(self.total)
    }
}

impl Drop for GgufWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing depends on it: the next attempt writes over it.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

/// The header with its padding, and each tensor's name and size.
#[expect(clippy::type_complexity, reason = "used once, two lines above")]
fn header(
    metadata: &Metadata,
    tensors: &[TensorHeader],
) -> Result<(Vec<u8>, Vec<(String, usize)>), GgufError> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut out, key);
        value.write(&mut out);
    }
    let mut names = BTreeSet::new();
    let mut sizes = Vec::with_capacity(tensors.len());
    let mut offset = 0usize;
    for tensor in tensors {
        let (bytes, id) = tensor.check()?;
        if !names.insert(&tensor.name) {
            return Err(GgufError::DuplicateTensor {
                name: tensor.name.clone(),
            });
        }
        text(&mut out, &tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        for dimension in tensor.shape.iter().rev() {
            out.extend((*dimension as u64).to_le_bytes());
        }
        out.extend(id.to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset = offset.saturating_add(bytes.next_multiple_of(ALIGNMENT));
        sizes.push((tensor.name.clone(), bytes));
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    Ok((out, sizes))
}
