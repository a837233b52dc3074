//! The header of one file: metadata and tensors, checked against the file's length.
//!
//! Layout: the letters `GGUF`, a version, the counts of tensors and of metadata entries, the
//! entries, the tensors, padding to the alignment, data. Source: `docs/gguf.md` of ggml.

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::GgufError;
use super::limits::{ALIGNMENTS, MAX_ENTRIES, MAX_KEY_BYTES};
use super::reader::{Reader, within};
use super::tensors::{self, TensorInfo};
use super::value::{self, Value, ValueType};

/// Alignment of a file that doesn't name its own.
const DEFAULT_ALIGNMENT: u32 = 32;

/// The smallest entry: a key without letters, a type, a value of one byte.
const LEAST_ENTRY: usize = 8 + 4 + 1;

/// Where a metadata value stands.
#[derive(Debug, Clone)]
struct Entry {
    kind: ValueType,
    range: Range<usize>,
}

/// What a file says of itself.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) version: u32,
    entries: BTreeMap<String, Entry>,
    /// In the order of the file.
    pub(super) tensors: Vec<TensorInfo>,
}

impl Header {
    /// Reads and checks a whole file's header.
    pub(super) fn parse(bytes: &[u8]) -> Result<Header, GgufError> {
        let mut reader = Reader::new(bytes);
        let version = version(&mut reader)?;
        let tensors = reader.count(tensors::LEAST, "tensors")?;
        let count = reader.count(LEAST_ENTRY, "metadata entries")?;
        let entries = entries(&mut reader, within("metadata entries", count, MAX_ENTRIES)?)?;
        let mut header = Header {
            version,
            entries,
            tensors: Vec::new(),
        };
        let alignment = header.alignment(bytes)?;
        let claims = tensors::read(&mut reader, tensors)?;
        // Files without tensors, such as vocabularies, may end without padding.
        let data = reader.position().next_multiple_of(alignment);
        header.tensors = tensors::place(claims, data.min(bytes.len()), bytes.len(), alignment)?;
        Ok(header)
    }

    /// The keys, sorted.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Type of the value of a key.
    pub(super) fn kind(&self, key: &str) -> Option<ValueType> {
        self.entries.get(key).map(|entry| entry.kind)
    }

    /// The value of a key; `None` when there is none, or when the file has changed since.
    pub(super) fn value<'a>(&self, bytes: &'a [u8], key: &str) -> Option<Value<'a>> {
        let entry = self.entries.get(key)?;
        let mut reader = Reader::new(bytes.get(entry.range.clone())?);
        value::read(&mut reader, entry.kind, key).ok()
    }

    fn alignment(&self, bytes: &[u8]) -> Result<usize, GgufError> {
        let key = "general.alignment";
        let Some(found) = self.value(bytes, key) else {
            return Ok(DEFAULT_ALIGNMENT as usize);
        };
        let wrong = || GgufError::Metadata {
            key: key.to_owned(),
            expected: "a power of two from 8 to 65536, stored as u32",
            found: found.describe(),
        };
        let number = match (self.kind(key), found) {
            (Some(ValueType::U32), Value::Unsigned(n)) => u32::try_from(n).map_err(|_| wrong())?,
            _ => return Err(wrong()),
        };
        match ALIGNMENTS.contains(&number) && number.is_power_of_two() {
            true => Ok(number as usize),
            false => Err(wrong()),
        }
    }
}

fn version(reader: &mut Reader<'_>) -> Result<u32, GgufError> {
    let magic = reader.take(4, "the letters GGUF")?;
    if magic != b"GGUF" {
        return Err(GgufError::Magic {
            found: magic.to_vec(),
        });
    }
    let found = reader.u32("the version")?;
    match found {
        2 | 3 => Ok(found),
        // No version comes near 2^16, so one in the upper bytes tells the other order.
        _ if found.swap_bytes() <= 0xffff && found > 0xffff => Err(GgufError::BigEndian {
            version: found.swap_bytes(),
        }),
        _ => Err(GgufError::Version { found }),
    }
}

fn entries(reader: &mut Reader<'_>, count: usize) -> Result<BTreeMap<String, Entry>, GgufError> {
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let key = reader.text("a metadata key")?;
        within("bytes of a metadata key", key.len(), MAX_KEY_BYTES)?;
        let id = reader.u32("the type of a metadata value")?;
        let kind = ValueType::from_id(id).ok_or_else(|| GgufError::ValueType {
            key: key.to_owned(),
            found: id,
        })?;
        let start = reader.position();
        value::read(reader, kind, key)?;
        let range = start..reader.position();
        if entries
            .insert(key.to_owned(), Entry { kind, range })
            .is_some()
        {
            return Err(GgufError::DuplicateKey {
                key: key.to_owned(),
            });
        }
    }
    Ok(entries)
}
