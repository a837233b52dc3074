//! Rows of Parquet files, through the crate `parquet` without arrow.
//!
//! Compressions that are read: none, snappy, gzip and lz4. Zstandard and brotli are refused by name.

mod thrift;

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};

use super::node::Node;
use super::profile::{FileProblem, RowProblem};
use super::source::is_too_much;
use super::tally::Tally;

/// Largest footer that is read. A file of ten thousand row groups has about 10 MB.
const FOOTER: usize = 64 << 20;
/// Largest page, packed and unpacked. Writers make pages of about 1 MB; some put a row group in one.
const PAGE: u64 = 256 << 20;
/// Bytes of a page header that are looked at first, and at most.
const HEADER: [u64; 2] = [4 << 10, 1 << 20];

/// Reads a file into the tally.
pub(super) fn read(file: File, tally: &mut Tally<'_>) -> Option<FileProblem> {
    // The decoder is not ours: a broken file must not end the program through it.
    let caught = catch_unwind(AssertUnwindSafe(|| rows(file, tally)));
    let problem = match caught {
        Ok(outcome) => outcome.err()?,
        Err(_) => return Some(problem("its reader gave up")),
    };
    Some(match problem {
        Stop::Parquet(e) => problem_of(&e),
        Stop::Problem(p) => p,
    })
}

enum Stop {
    Parquet(ParquetError),
    Problem(FileProblem),
}

impl From<ParquetError> for Stop {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error)
    }
}

fn problem(message: &str) -> FileProblem {
    FileProblem::Parquet {
        message: message.chars().take(200).collect(),
    }
}

fn problem_of(error: &ParquetError) -> FileProblem {
    problem(&error.to_string())
}

fn rows(file: File, tally: &mut Tally<'_>) -> Result<(), Stop> {
    let limits = tally.limits;
    let in_pages = Arc::new(AtomicBool::new(false));
    let input = Input {
        length: file.len(),
        in_pages: Arc::clone(&in_pages),
        file,
    };
    let length = input.length;
    input.check_footer()?;
    let reader = SerializedFileReader::new(input)?;
    in_pages.store(true, Ordering::Relaxed);
    if reader
        .metadata()
        .file_metadata()
        .schema_descr()
        .num_columns()
        == 0
    {
        return Err(Stop::Problem(problem("a table without columns")));
    }
    let (mut line, mut unpacked, mut packed) = (0_u64, 0_u64, 0_u64);
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group)?;
        for row in RowIter::from_row_group(None, &*group)? {
            let row = row?;
            line += 1;
            let mut size = Size {
                values: 1,
                bytes: 8,
            };
            let node = object(&row, &mut size);
            unpacked += size.bytes;
            if is_too_much(unpacked, length, limits.expansion) {
                let limit = limits.expansion;
                return Err(Stop::Problem(FileProblem::Expansion { limit }));
            }
            if size.bytes > limits.row_bytes as u64 {
                let limit = limits.row_bytes as u64;
                tally.fault(line, RowProblem::TooLong { limit });
            } else if size.values > limits.row_values as u64 {
                let limit = limits.row_values as u64;
                tally.fault(line, RowProblem::TooManyValues { limit });
            } else {
                tally.row(line, &node);
            }
        }
        packed = packed.saturating_add(group.metadata().compressed_size().max(0).cast_unsigned());
        tally.read.set(packed.min(length));
    }
    Ok(())
}

/// How large a row is.
struct Size {
    values: u64,
    bytes: u64,
}

fn object<'r>(row: &'r Row, size: &mut Size) -> Node<'r> {
    let fields = row.get_column_iter();
    Node::Object(
        fields
            .map(|(name, field)| (Cow::Borrowed(name.as_str()), node(field, size)))
            .collect(),
    )
}

fn node<'r>(field: &'r Field, size: &mut Size) -> Node<'r> {
    size.values += 1;
    size.bytes += 8;
    match field {
        Field::Null => Node::Null,
        Field::Bool(b) => Node::Bool(*b),
        Field::Str(text) => {
            size.bytes += text.len() as u64;
            Node::Text(Cow::Borrowed(text))
        }
        Field::Bytes(bytes) => {
            size.bytes += bytes.data().len() as u64;
            match std::str::from_utf8(bytes.data()) {
                // Older writers don't mark texts.
                Ok(text) => Node::Text(Cow::Borrowed(text)),
                Err(_) => Node::Number(twox_hash::XxHash3_64::oneshot(bytes.data())),
            }
        }
        Field::Group(row) => object(row, size),
        Field::ListInternal(list) => {
            Node::List(list.elements().iter().map(|f| node(f, size)).collect())
        }
        Field::MapInternal(map) => {
            let entries = map.entries().iter();
            Node::Object(
                entries
                    .map(|(name, value)| (Cow::Owned(name.to_string()), node(value, size)))
                    .collect(),
            )
        }
        number => Node::Number(twox_hash::XxHash3_64::oneshot(
            number.to_string().as_bytes(),
        )),
    }
}

/// A file whose headers are looked at before they are believed.
struct Input {
    file: File,
    length: u64,
    in_pages: Arc<AtomicBool>,
}

fn refused(found: impl std::fmt::Display) -> ParquetError {
    ParquetError::General(format!("expected a Parquet file, found {found}"))
}

impl Input {
    /// The file's last bytes: its footer, the footer's length, and four letters.
    fn check_footer(&self) -> Result<(), ParquetError> {
        let end = self
            .length
            .checked_sub(8)
            .ok_or_else(|| refused("fewer than 12 bytes"))?;
        let mut tail = [0; 8];
        self.at(end)?.read_exact(&mut tail)?;
        let [a, b, c, d, magic @ ..] = tail;
        if &magic != b"PAR1" {
            return Err(refused("another end"));
        }
        let size = u64::from(u32::from_le_bytes([a, b, c, d]));
        if size > FOOTER as u64 || size > end {
            return Err(refused(format_args!("a footer of {size} bytes")));
        }
        let mut bytes = Vec::new();
        self.at(end - size)?.take(size).read_to_end(&mut bytes)?;
        thrift::footer(&bytes).map_err(refused)
    }

    fn at(&self, start: u64) -> std::io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    }

    fn check_page(&self, start: u64) -> Result<(), ParquetError> {
        let mut found = Err(thrift::HeaderError::Cut);
        for most in HEADER {
            let mut bytes = Vec::new();
            self.at(start)?.take(most).read_to_end(&mut bytes)?;
            found = thrift::page(&bytes);
            if found != Err(thrift::HeaderError::Cut) || (bytes.len() as u64) < most {
                break;
            }
        }
        match found {
            Ok(unpacked) if unpacked <= PAGE => Ok(()),
            Ok(unpacked) => Err(refused(format_args!("a page of {unpacked} bytes"))),
            Err(e) => Err(refused(e)),
        }
    }
}

impl Length for Input {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Input {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        if self.in_pages.load(Ordering::Relaxed) {
            self.check_page(start)?;
        }
        Ok(BufReader::new(self.at(start)?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let left = self.length.saturating_sub(start);
        if length as u64 > left.min(PAGE) {
            return Err(refused(format_args!("{length} bytes at {start}")));
        }
        let mut bytes = Vec::with_capacity(length);
        self.at(start)?
            .take(length as u64)
            .read_to_end(&mut bytes)?;
        match bytes.len() == length {
            true => Ok(bytes.into()),
            false => Err(refused("an early end")),
        }
    }
}
