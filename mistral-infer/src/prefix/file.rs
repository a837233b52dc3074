//! Prefixes in files.
//!
//! All numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `MSTRLPFX` |
//! | 4 | version, 1 |
//! | 4 | format of the rows: 0 f32, 1 f16, 2 bf16 |
//! | 16 | fingerprint of the model |
//! | 8 | tokens `n` |
//! | 4 n | token ids |
//! | … | rows, as many bytes as description, format and `n` give |
//! | 8 | XXH64 of the rows, seeded with that of all before |

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use mistral_core::model::ModelSpec;
use mistral_kernels::CacheType;

use super::hash::xxh64;
use super::{Fingerprint, Prefix, PrefixError, shortest_window};
use crate::decoder::{check_ids, rows_bytes};
use crate::error::InferError;
use crate::model::Model;

const MAGIC: &[u8; 8] = b"MSTRLPFX";
const VERSION: u32 = 1;
const HEADER: usize = 40;
const HASH: usize = 8;

/// Numbers of formats; the position in this list is the number.
const FORMATS: [CacheType; 4] = [
    CacheType::F32,
    CacheType::F16,
    CacheType::Bf16,
    CacheType::Q8,
];

impl Prefix {
    /// Writes it to a file, for [`Prefix::load`]. The file is written beside its place and then
    /// renamed, so that an interrupted write leaves what was there.
    ///
    /// # Errors
    /// [`InferError::Write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), InferError> {
        let path = path.as_ref();
        save(path, |out| self.write(out)).map_err(|source| InferError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// Reads a file that [`Prefix::save`] wrote with the same model.
    ///
    /// The file may come from anywhere: it is held against its own length and the model's
    /// description before anything is allocated, and against its hash before it is used. Rows that
    /// a forger made are numbers like others: they can make the model say anything, as a prompt
    /// can, and where they aren't finite, generation ends with an error.
    ///
    /// # Errors
    /// [`InferError::Io`]; [`InferError::PrefixFile`] when the file is of another kind, version,
    /// model or length, has ids outside the vocabulary, more tokens than the model's context, or a
    /// wrong hash, or when there is no memory for it.
    pub fn load(path: impl AsRef<Path>, model: &Model) -> Result<Prefix, InferError> {
        let path = path.as_ref();
        let io = |source| InferError::Io {
            path: path.to_owned(),
            source,
        };
        // Opening a pipe would wait for a writer, and a device may have no end.
        let length = std::fs::metadata(path).and_then(|meta| match meta.is_file() {
            true => Ok(meta.len()),
            false => Err(std::io::Error::other("not a regular file")),
        });
        let length = length.map_err(io)?;
        let mut file = File::open(path).map_err(io)?;
        match Prefix::read(&mut file, length, model) {
            Ok(Ok(prefix)) => Ok(prefix),
            Ok(Err(source)) => Err(InferError::PrefixFile {
                path: path.to_owned(),
                source,
            }),
            Err(source) => Err(io(source)),
        }
    }

    /// The bytes that [`Prefix::save`] writes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes() + HEADER + HASH);
        self.write(&mut bytes)
            .expect("a vector takes what is written");
        bytes
    }

    /// As [`Prefix::load`], from the file's bytes.
    ///
    /// # Errors
    /// [`PrefixError`] as there.
    pub fn from_bytes(bytes: &[u8], model: &Model) -> Result<Prefix, PrefixError> {
        Prefix::read(&mut &bytes[..], bytes.len() as u64, model)
            .expect("what is in memory can be read")
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut head = MAGIC.to_vec();
        head.extend(VERSION.to_le_bytes());
        let format = FORMATS.iter().position(|kind| *kind == self.cache);
        let format = format.expect("each cache type has a number");
        head.extend((format as u32).to_le_bytes());
        head.extend(self.fingerprint.0.map(u64::to_le_bytes).as_flattened());
        head.extend((self.tokens.len() as u64).to_le_bytes());
        head.extend(self.tokens.iter().flat_map(|id| id.to_le_bytes()));
        let hash = xxh64(&self.rows, xxh64(&head, 0));
        out.write_all(&head)?;
        out.write_all(&self.rows)?;
        out.write_all(&hash.to_le_bytes())
    }

    /// Reads `length` bytes. The outer error is the reader's.
    fn read(
        from: &mut dyn Read,
        length: u64,
        model: &Model,
    ) -> std::io::Result<Result<Prefix, PrefixError>> {
        if length < (HEADER + HASH) as u64 {
            return Ok(Err(PrefixError::NotAPrefix));
        }
        let mut head = vec![0; HEADER];
        from.read_exact(&mut head)?;
        let header = match Header::parse(&head, length, model) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        // Both lengths together are the file's, so that no more is taken than it holds.
        let (ids, rows) = match (reserve(header.tokens * 4), reserve(header.rows)) {
            (Ok(ids), Ok(rows)) => (ids, rows),
            (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
        };
        let ids = exactly(from, header.tokens * 4, ids)?;
        let rows = exactly(from, header.rows, rows)?;
        let mut hash = [0; HASH];
        from.read_exact(&mut hash)?;
        head.extend_from_slice(&ids);
        let (expected, found) = (u64::from_le_bytes(hash), xxh64(&rows, xxh64(&head, 0)));
        if found != expected {
            return Ok(Err(PrefixError::Corrupt { expected, found }));
        }
        let (ids, _) = ids.as_chunks();
        let tokens: Vec<u32> = ids.iter().map(|id| u32::from_le_bytes(*id)).collect();
        let spec = model.spec();
        if let Err(InferError::TokenOutOfRange {
            id,
            position,
            vocab_size,
        }) = check_ids(&tokens, spec.vocab_size)
        {
            return Ok(Err(PrefixError::Token {
                id,
                position,
                vocab_size,
            }));
        }
        Ok(Ok(Prefix {
            fingerprint: model.fingerprint(),
            cache: header.cache,
            tokens,
            rows,
            window: shortest_window(spec),
        }))
    }
}

/// What a header says, held against the file's length.
struct Header {
    cache: CacheType,
    tokens: usize,
    /// Bytes of the rows.
    rows: usize,
}

impl Header {
    fn parse(head: &[u8], length: u64, model: &Model) -> Result<Header, PrefixError> {
        let (magic, rest) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(PrefixError::NotAPrefix);
        }
        let (words, _) = rest.as_chunks();
        let word = |i: usize| u32::from_le_bytes(words[i]);
        let long = |i: usize| u64::from(word(i)) | u64::from(word(i + 1)) << 32;
        if word(0) != VERSION {
            return Err(PrefixError::Version {
                expected: VERSION,
                found: word(0),
            });
        }
        let cache = FORMATS.get(word(1) as usize).copied();
        let cache = cache.ok_or(PrefixError::UnknownCache { found: word(1) })?;
        let (expected, found) = (model.fingerprint(), Fingerprint([long(2), long(4)]));
        if found != expected {
            return Err(PrefixError::OtherModel { expected, found });
        }
        let (spec, tokens) = (model.spec(), long(6));
        let max_seq_len = spec.max_seq_len.unwrap_or(usize::MAX);
        if tokens > max_seq_len as u64 {
            return Err(PrefixError::Context {
                tokens,
                max_seq_len,
            });
        }
        if tokens == 0 {
            return Err(PrefixError::NotCached {
                tokens: 0,
                cached: 0,
            });
        }
        let sizes = sizes(spec, cache, tokens);
        let expected = sizes.map_or(u64::MAX, |(_, _, file)| file);
        match sizes {
            Some((tokens, rows, file)) if file == length => Ok(Header {
                cache,
                tokens,
                rows,
            }),
            _ => Err(PrefixError::Length {
                tokens,
                expected,
                found: length,
            }),
        }
    }
}

/// Tokens, bytes of their rows, and bytes of the whole file, when that can be told.
fn sizes(spec: &ModelSpec, cache: CacheType, tokens: u64) -> Option<(usize, usize, u64)> {
    let tokens = usize::try_from(tokens).ok()?;
    let rows = rows_bytes(spec, cache, tokens)?;
    let ids = tokens.checked_mul(4)?;
    let file = ids.checked_add(rows)?.checked_add(HEADER + HASH)?;
    Some((tokens, rows, file as u64))
}

fn reserve(bytes: usize) -> Result<Vec<u8>, PrefixError> {
    let mut room = Vec::new();
    (room.try_reserve_exact(bytes)).map_err(|_| PrefixError::OutOfMemory { bytes })?;
    Ok(room)
}

/// Fills `room` with the next `count` bytes.
fn exactly(from: &mut dyn Read, count: usize, mut room: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let read = from.take(count as u64).read_to_end(&mut room)?;
    match read == count {
        true => Ok(room),
        // The file shrank since its length was asked for.
        false => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Writes a file beside its place and gives it its name when all of it is on the disk.
fn save(path: &Path, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?);
    name.push(format!(".{}.partial", std::process::id()));
    let beside = path.with_file_name(name);
    let written = File::create(&beside)
        .and_then(|mut out| write(&mut out).and_then(|()| out.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // Nothing more can be done about a file that can't be removed either.
        let _ = std::fs::remove_file(&beside);
    }
    written
}
