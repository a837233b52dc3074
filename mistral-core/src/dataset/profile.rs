//! What is known about a data set, as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A profile of files: what they hold, how long it is, what is wrong with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetProfile {
    /// Version of this type's serialised form.
    pub schema: u32,
    /// Each file that was read, in the order of reading; the first thousand of them.
    pub files: Vec<FileProfile>,
    /// Files that were read.
    pub files_total: u64,
    /// Files of a folder that have another extension than those that are read.
    pub files_ignored: u64,
    /// Bytes as they are stored (compressed where the file is).
    pub bytes: u64,
    /// Rows that were read; everything below is about them.
    pub rows: u64,
    /// Lines without any character but white space; they are no rows.
    pub blank_lines: u64,
    /// Rows without any text or value.
    pub empty_rows: u64,
    /// Rows that can't be read; they are in no other count.
    pub unreadable_rows: u64,
    /// The first ten of them.
    pub faults: Vec<RowFault>,
    /// Rows of each form.
    pub shapes: BTreeMap<Shape, u64>,
    /// Fields of the rows that are tables, by name; at most 256.
    pub columns: Vec<ColumnProfile>,
    /// Messages of each speaker in chats.
    pub speakers: BTreeMap<Speaker, u64>,
    /// Messages of a chat.
    pub turns: Option<Lengths>,
    /// Lengths in tokens.
    pub tokens: TokenProfile,
    /// Languages.
    pub languages: LanguageProfile,
    /// Rows that repeat an earlier one.
    pub duplicates: Duplicates,
    /// The ten longest rows, longest first.
    pub longest: Vec<LongRow>,
}

impl DatasetProfile {
    /// Version of the serialised form that this code writes.
    pub const SCHEMA: u32 = 1;
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProfile {
    /// Its path below the folder that was read, or its name.
    pub file: String,
    /// Bytes as stored.
    pub bytes: u64,
    /// How its rows are written.
    pub format: FileFormat,
    /// Whether it is compressed with gzip.
    pub gzip: bool,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that can't be read.
    pub unreadable_rows: u64,
    /// Rows of each form.
    pub shapes: BTreeMap<Shape, u64>,
    /// Why reading ended before the file's end, if it did; the rows before it are counted.
    pub problem: Option<FileProblem>,
}

/// How rows are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum FileFormat {
    /// One JSON value a line.
    JsonLines,
    /// One JSON list of values.
    JsonList,
    /// JSON values one after another, each over any number of lines.
    JsonValues,
    /// Records of fields.
    Csv {
        /// What stands between fields.
        delimiter: char,
        /// Whether the first record names the fields.
        header: bool,
    },
    /// Lines of text.
    Text,
    /// Parquet.
    Parquet,
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Shape {
    /// Messages with speakers: `messages` or `conversations`.
    Chat,
    /// A prompt and its answer: `instruction`, `input` and `output`; `prompt` and `completion`;
    /// `question` and `answer` and their like.
    Instruction,
    /// A better and a worse answer: `chosen` and `rejected`.
    Preference,
    /// One text.
    Text,
    /// Other fields.
    Table,
}

/// Who speaks a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// Instructions: `system`, `developer`.
    System,
    /// The human: `user`, `human`.
    User,
    /// The model: `assistant`, `gpt`, `model`, `bot`.
    Assistant,
    /// A tool's result: `tool`, `function`, `observation`.
    Tool,
    /// A role that isn't one of these.
    Other,
}

/// A field of tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnProfile {
    /// Its name, at most 128 characters of it.
    pub name: String,
    /// Rows in which it has a value.
    pub filled: u64,
    /// Values of each kind.
    pub kinds: BTreeMap<ValueKind, u64>,
    /// Mean length of its texts in bytes; zero without texts.
    pub mean_bytes: f64,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// True or false.
    Bool,
    /// A number.
    Number,
    /// A text; in CSV one that isn't a number.
    Text,
    /// Values in order.
    List,
    /// Named values.
    Object,
}

/// Lengths in tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenProfile {
    /// How tokens were counted. Texts alone are counted: the control tokens that a chat template
    /// adds (about three a message) are not.
    pub counting: Counting,
    /// Tokens of all texts.
    pub total: u64,
    /// The longest sequence of each row: a whole conversation, a prompt and its (longer) answer, a
    /// text, or all texts of a table's row.
    pub rows: Lengths,
    /// What a model would be given: all that stands before an answer. In a conversation each
    /// answer of the assistant counts.
    pub prompts: Option<Lengths>,
    /// What it should answer.
    pub answers: Option<Lengths>,
}

/// How tokens were counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Counting {
    /// By a tokenizer.
    Exact {
        /// Its name.
        tokenizer: String,
    },
    /// From characters and words, without a tokenizer.
    Estimated {
        /// The tokenizer that the estimate imitates.
        like: String,
        /// Largest relative error of a text's total over the kinds of text that the estimate was
        /// held against; other languages and code may be farther off.
        relative_error: f64,
    },
}

/// How long things are. Count, total, least, most and mean are exact sums of the lengths;
/// quantiles (nearest rank) are within `relative_error` of the length at their rank.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    /// How many.
    pub count: u64,
    /// All together.
    pub total: u64,
    /// The shortest.
    pub min: u64,
    /// The longest.
    pub max: u64,
    /// Total by count.
    pub mean: f64,
    /// Half are at most this long.
    pub p50: u64,
    /// Nine in ten are at most this long.
    pub p90: u64,
    /// 95 in 100 are at most this long.
    pub p95: u64,
    /// 99 in 100 are at most this long.
    pub p99: u64,
    /// Bound on the relative error of the quantiles.
    pub relative_error: f64,
}

/// Languages, told on a sample of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LanguageProfile {
    /// Rows in the sample: all rows with text, or so many drawn evenly from all of them.
    pub sampled_rows: u64,
    /// Bytes that were looked at in each row, from the start of its longest text.
    pub sampled_bytes_per_row: u64,
    /// Shares, largest first. They sum to 1 together with `unknown`.
    pub shares: Vec<LanguageShare>,
    /// Share of the sample whose language can't be told: too short, mixed, or not a language.
    pub unknown: f64,
}

/// One language's share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LanguageShare {
    /// ISO 639-1 code, or ISO 639-3 where there is none.
    pub language: String,
    /// Share of the sampled rows, 0 to 1.
    pub share: f64,
}

/// Rows that repeat the texts of an earlier row. Of tables all values count, of other forms speakers
/// and texts: an identifier beside them doesn't make a row another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Duplicates {
    /// Rows that repeat an earlier one.
    pub rows: u64,
    /// Different rows.
    pub distinct: u64,
    /// Whether both are counted. Otherwise one in `sampled_one_in` hashes was followed.
    pub exact: bool,
    /// 1 when exact.
    pub sampled_one_in: u64,
    /// Standard error of `distinct` relative to it: 0 when exact.
    pub relative_error: f64,
    /// The first ten repetitions that were seen.
    pub first: Vec<Place>,
}

/// Where a row is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// As in [`FileProfile::file`].
    pub file: String,
    /// The line that the row starts on, from 1; in Parquet the row, from 1.
    pub line: u64,
}

/// A long row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongRow {
    /// Tokens of its longest sequence.
    pub tokens: u64,
    /// Where it is.
    pub place: Place,
}

/// A row that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowFault {
    /// Where it is.
    pub place: Place,
    /// What is wrong.
    pub problem: RowProblem,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum RowProblem {
    /// It is longer than a row may be; none of it was kept.
    #[error("expected at most {limit} bytes, found more")]
    TooLong {
        /// The limit.
        limit: u64,
    },
    /// It isn't UTF-8.
    #[error("expected UTF-8, found another byte after {valid_bytes} bytes")]
    NotUtf8 {
        /// Bytes that are.
        valid_bytes: u64,
    },
    /// It holds a NUL, which no text has.
    #[error("expected text, found a NUL after {bytes} bytes")]
    Nul {
        /// Bytes before it.
        bytes: u64,
    },
    /// It isn't JSON.
    #[error("not valid JSON: {message}")]
    Json {
        /// The parser's finding.
        message: String,
    },
    /// It has more values than are read of one row.
    #[error("expected at most {limit} values, found more")]
    TooManyValues {
        /// The limit.
        limit: u64,
    },
    /// It is JSON, but neither an object, a text nor a list of messages.
    #[error("expected an object, a text or messages, found {found}")]
    NotARow {
        /// What it is.
        found: String,
    },
    /// A record has another number of fields than the first one.
    #[error("expected {expected} fields, found {found}")]
    Fields {
        /// Fields of the first record.
        expected: u64,
        /// Fields of this one.
        found: u64,
    },
    /// The tokenizer refused a text.
    #[error("not counted: {message}")]
    Tokenizer {
        /// Its error.
        message: String,
    },
}

/// Why a file was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum FileProblem {
    /// The system refused to read.
    #[error("could not read: {message}")]
    Io {
        /// Its error.
        message: String,
    },
    /// A compressed file ends too early or holds something else.
    #[error("expected gzip data, found {message}")]
    Gzip {
        /// The decoder's finding.
        message: String,
    },
    /// A compressed file grows by more than data does.
    #[error("expected at most {limit} times the bytes when unpacked, found more")]
    Expansion {
        /// The limit.
        limit: u64,
    },
    /// A file in UTF-16.
    #[error("expected UTF-8, found UTF-16")]
    Utf16,
    /// A JSON list or value without its end.
    #[error("expected the end of a JSON value, found the end of the file")]
    Unterminated,
    /// A JSON list with something else between or behind its values.
    #[error("line {line}: expected {expected}, found another byte")]
    JsonList {
        /// The line, from 1.
        line: u64,
        /// What should have stood there.
        expected: String,
    },
    /// A first record that has more fields than are read.
    #[error("expected at most {limit} fields, found more")]
    TooManyFields {
        /// The limit.
        limit: u64,
    },
    /// The reader of this format isn't compiled in.
    #[error("the feature `{feature}` is not compiled in")]
    NotCompiled {
        /// The feature of `mistral-core`.
        feature: String,
    },
    /// A Parquet file that is broken or uses something that isn't supported.
    #[error("not readable as Parquet: {message}")]
    Parquet {
        /// The reader's finding.
        message: String,
    },
}
