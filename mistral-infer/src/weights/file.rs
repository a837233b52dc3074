//! One weight file: mapped or copied, header checked.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mistral_core::precision::Format;
use safetensors::{Dtype, SafeTensors};

use super::WeightStorage;
use crate::error::InferError;
use crate::gguf::{Gguf, TensorInfo};

/// The bytes of a file.
#[derive(Debug)]
pub(crate) enum Bytes {
    Mapped(memmap2::Mmap),
    Copied(Vec<u8>),
}

impl Bytes {
    /// Maps or copies a file.
    pub(crate) fn open(path: &Path, storage: WeightStorage) -> Result<Bytes, InferError> {
        let io = |source| InferError::Io {
            path: path.to_owned(),
            source,
        };
        // Opening a pipe would wait for a writer, and a device may have no end.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(std::io::Error::other("not a regular file")));
        }
        Ok(match storage {
            WeightStorage::Mapped => Bytes::Mapped(map(path).map_err(io)?),
            WeightStorage::Copied => Bytes::Copied(std::fs::read(path).map_err(io)?),
        })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Copied(bytes) => bytes,
        }
    }
}

/// Where a tensor stands in its file.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// `Err` with the name of a type that is no format of weights.
    pub(super) format: Result<Format, String>,
    pub(super) shape: Vec<usize>,
    pub(super) range: Range<usize>,
}

/// A checked file.
#[derive(Debug)]
pub(super) struct WeightFile {
    pub(super) bytes: Arc<Bytes>,
    pub(super) entries: HashMap<String, Entry>,
}

impl WeightFile {
    /// Maps or copies the safetensors file `path` and checks its header against its length.
    pub(super) fn open(path: &Path, storage: WeightStorage) -> Result<WeightFile, InferError> {
        WeightFile::parse(Bytes::open(path, storage)?, path)
    }

    /// The files of a GGUF model, whose headers were checked when it was opened.
    pub(super) fn of_gguf(gguf: &Gguf) -> Vec<WeightFile> {
        let entry = |tensor: &TensorInfo| Entry {
            format: Ok(tensor.format),
            shape: tensor.shape.clone(),
            range: tensor.range.clone(),
        };
        gguf.files()
            .map(|(bytes, tensors)| WeightFile {
                bytes: Arc::clone(bytes),
                entries: tensors
                    .iter()
                    .map(|tensor| (tensor.name.clone(), entry(tensor)))
                    .collect(),
            })
            .collect()
    }

    fn parse(bytes: Bytes, path: &Path) -> Result<WeightFile, InferError> {
        let bad = |source| InferError::Safetensors {
            path: PathBuf::from(path),
            source,
        };
        let (header, metadata) = SafeTensors::read_metadata(bytes.as_slice()).map_err(bad)?;
        let data = header + size_of::<u64>();
        let entries = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let range = data + info.data_offsets.0..data + info.data_offsets.1;
                (
                    name,
                    Entry {
                        format: format_of(info.dtype),
                        shape: info.shape.clone(),
                        range,
                    },
                )
            })
            .collect();
        Ok(WeightFile {
            bytes: Arc::new(bytes),
            entries,
        })
    }
}

fn format_of(dtype: Dtype) -> Result<Format, String> {
    match dtype {
        Dtype::F32 => Ok(Format::F32),
        Dtype::F16 => Ok(Format::F16),
        Dtype::BF16 => Ok(Format::Bf16),
        other => Err(format!("{other:?}")),
    }
}

#[expect(unsafe_code, reason = "memory-mapping a weight file")]
fn map(path: &Path) -> std::io::Result<memmap2::Mmap> {
    let file = File::open(path)?;
    // SAFETY: the map is read-only and only ever read as bytes of plain numbers. That no other
    // program truncates the file while it is mapped is the caller's part, documented at
    // `WeightStorage::Mapped`; `WeightStorage::Copied` doesn't depend on it.
    unsafe { memmap2::Mmap::map(&file) }
}
