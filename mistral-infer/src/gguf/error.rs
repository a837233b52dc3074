//! What can be wrong with a GGUF file.

use std::path::PathBuf;

use mistral_core::precision::Format;

/// A GGUF file that is refused. Offsets count bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file doesn't begin with the format's four letters.
    #[error("expected the letters GGUF at the start, found {found:02x?}")]
    Magic {
        /// The first bytes, at most four.
        found: Vec<u8>,
    },
    /// The numbers are stored with their highest byte first.
    #[error("big-endian file of version {version}: expected little-endian")]
    BigEndian {
        /// Version, read in the file's order.
        version: u32,
    },
    /// Another version of the format.
    #[error("expected GGUF version 2 or 3, found {found}")]
    Version {
        /// The version.
        found: u32,
    },
    /// The file ends inside something.
    #[error("{what} at byte {offset} needs {needed} bytes, {left} are left")]
    Truncated {
        /// What was read.
        what: &'static str,
        /// Where it starts.
        offset: usize,
        /// Bytes it takes.
        needed: u64,
        /// Bytes up to the end.
        left: usize,
    },
    /// A count or length that the rest of the file can't hold.
    #[error("{what}: a count of {found} at byte {offset}, with {left} bytes left")]
    Count {
        /// What is counted.
        what: &'static str,
        /// Where the count stands.
        offset: usize,
        /// The count.
        found: u64,
        /// Bytes that follow it.
        left: usize,
    },
    /// More of something than a limit in [`limits`](super::limits) allows.
    #[error("{what}: {found}, above the limit of {limit}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The count.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Text that isn't UTF-8.
    #[error("{what} isn't UTF-8 at byte {offset}")]
    Utf8 {
        /// What was read.
        what: &'static str,
        /// The first byte that isn't.
        offset: usize,
    },
    /// A type number that the format doesn't have.
    #[error("metadata `{key}`: expected a value type from 0 to 12, found {found}")]
    ValueType {
        /// The key.
        key: String,
        /// The number.
        found: u32,
    },
    /// A list of lists, which no model has.
    #[error("metadata `{key}`: an array of arrays is not supported")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// A flag that is neither 0 nor 1.
    #[error("metadata `{key}`: expected a flag 0 or 1, found {found}")]
    Flag {
        /// The key.
        key: String,
        /// The byte.
        found: u8,
    },
    /// A key that stands there twice.
    #[error("metadata `{key}` stands there twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A value that is absent, of another type, or out of its range.
    #[error("metadata `{key}`: expected {expected}, found {found}")]
    Metadata {
        /// The key.
        key: String,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A setting that changes results and that nothing here implements.
    #[error("metadata `{key}` = {found} is not supported")]
    Unsupported {
        /// The key.
        key: String,
        /// Its value.
        found: String,
    },
    /// Two tensors of one name.
    #[error("tensor `{name}` stands there twice")]
    DuplicateTensor {
        /// The name.
        name: String,
    },
    /// No dimensions, or more than ggml has.
    #[error("tensor `{name}`: expected 1 to 4 dimensions, found {found}")]
    Rank {
        /// The tensor.
        name: String,
        /// Number of dimensions.
        found: u32,
    },
    /// Dimensions that are zero or whose product overflows.
    #[error("tensor `{name}`: dimensions {found:?} are zero or overflow")]
    Dimensions {
        /// The tensor.
        name: String,
        /// Its dimensions as stored, row length first.
        found: Vec<u64>,
    },
    /// A type number that is no storage format.
    #[error("tensor `{name}`: storage type {found} is not known")]
    TensorType {
        /// The tensor.
        name: String,
        /// The number.
        found: u32,
    },
    /// Rows that aren't whole blocks.
    #[error("tensor `{name}`: rows of {found} values aren't whole blocks of {}", format.name())]
    RowLength {
        /// The tensor.
        name: String,
        /// Its format.
        format: Format,
        /// Values of a row.
        found: u64,
    },
    /// Data that doesn't start at a multiple of the alignment.
    #[error("tensor `{name}`: offset {offset} is not a multiple of the alignment {alignment}")]
    Misaligned {
        /// The tensor.
        name: String,
        /// Offset from the start of the data.
        offset: u64,
        /// The file's alignment.
        alignment: usize,
    },
    /// Data that runs past the end of the file.
    #[error("tensor `{name}`: {bytes} bytes at offset {offset} of {available} bytes of data")]
    OutOfBounds {
        /// The tensor.
        name: String,
        /// Offset from the start of the data.
        offset: u64,
        /// Bytes it takes.
        bytes: u64,
        /// Bytes of data in the file.
        available: usize,
    },
    /// A format that GGUF files don't have.
    #[error("tensor `{name}`: GGUF has no type for {}", format.name())]
    NoType {
        /// The tensor.
        name: String,
        /// Its format.
        format: Format,
    },
    /// More or fewer bytes written than a tensor has.
    #[error("tensor `{name}`: expected {expected} bytes of data, found {found}")]
    DataLength {
        /// The tensor; empty behind the last one.
        name: String,
        /// Bytes that its shape and format ask for.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// Two tensors that share bytes.
    #[error("tensors `{first}` and `{second}` overlap")]
    Overlap {
        /// The one that starts first.
        first: String,
        /// The other.
        second: String,
    },
    /// A file of a split model that isn't there.
    #[error("file {number} of {count} is missing: {}", path.display())]
    MissingShard {
        /// Counted from 1, as file names do.
        number: usize,
        /// How many there are.
        count: usize,
        /// Where it should be.
        path: PathBuf,
    },
    /// A file of a split model that belongs to another one, or to another place in it.
    #[error("{}: not file {number} of {count} of this model: `{key}` is {found}", path.display())]
    ForeignShard {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
        /// How many there are.
        count: usize,
        /// The key that disagrees.
        key: &'static str,
        /// Its value in the file.
        found: String,
    },
    /// A part of a split model whose name doesn't say which one it is.
    #[error("{}: expected a name ending in -00001-of-{count:05}.gguf", path.display())]
    ShardName {
        /// The file.
        path: PathBuf,
        /// How many files its metadata counts.
        count: usize,
    },
    /// The files of a split model hold another number of tensors than they say.
    #[error("expected {expected} tensors in all files, found {found}")]
    TensorCount {
        /// `split.tensors.count`.
        expected: u64,
        /// Tensors in the files.
        found: usize,
    },
}
