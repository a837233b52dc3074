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
            WeightStorage::Copied => Bytes::Copied(read(path).map_err(io)?),
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

/// Bytes that are worth a thread of their own.
const PART: usize = 64 << 20;
/// Most threads that read a file.
const READERS: usize = 8;

/// Reads a whole file, a large one by several threads.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len());
    let len = len.map_err(|_| std::io::Error::from(std::io::ErrorKind::FileTooLarge))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let readers = len.div_ceil(PART).clamp(1, threads.min(READERS));
    read_by(&file, len, readers)
}

/// The first `len` bytes of a file, read by some threads.
fn read_by(file: &File, len: usize, readers: usize) -> std::io::Result<Vec<u8>> {
    // What can't be had is an error here, below it would end the process.
    (Vec::<u8>::new().try_reserve_exact(len))
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::OutOfMemory))?;
    let mut bytes = vec![0; len];
    let part = len.div_ceil(readers).max(1);
    std::thread::scope(|scope| {
        let parts = bytes.chunks_mut(part).enumerate();
        let readers: Vec<_> = parts
            .map(|(i, bytes)| scope.spawn(move || read_at(file, bytes, (i * part) as u64)))
            .collect();
        readers.into_iter().try_for_each(|reader| {
            let died = |_| Err(std::io::Error::other("a thread that read ended early"));
            reader.join().unwrap_or_else(died)
        })
    })?;
    Ok(bytes)
}

/// Fills `bytes` from `offset` of a file.
#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Fills `bytes` from `offset` of a file.
#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => (bytes, offset) = (&mut bytes[n..], offset + n as u64),
        }
    }
    Ok(())
}

#[expect(unsafe_code, reason = "memory-mapping a weight file")]
fn map(path: &Path) -> std::io::Result<memmap2::Mmap> {
    let file = File::open(path)?;
    // SAFETY: the map is read-only and only ever read as bytes of plain numbers. That no other
    // program truncates the file while it is mapped is the caller's part, documented at
    // `WeightStorage::Mapped`; `WeightStorage::Copied` doesn't depend on it.
    unsafe { memmap2::Mmap::map(&file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_file_again() {
        let dir = tempfile::tempdir().expect("a folder for a moment");
        let path = dir.path().join("bytes");
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * i % 251) as u8).collect();
        std::fs::write(&path, &bytes).expect("the folder is writable");
        let file = File::open(&path).expect("it was written");
        for readers in [1, 2, 7, 999] {
            assert_eq!(read_by(&file, 1000, readers).expect("it is there"), bytes);
        }
        assert!(read_by(&file, 0, 3).expect("nothing to read").is_empty());
        // Somebody cut it meanwhile.
        let error = read_by(&file, 1001, 3).expect_err("a byte too many");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        let error = read_by(&file, usize::MAX, 2).expect_err("more than there is");
        assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
    }
}
