//! From a stream of bytes to rows: compression, format, rows.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::json::{Around, CutError, Piece, Values};
use super::lines::{Line, Lines};
use super::node::{self, Node};
use super::profile::{FileFormat, FileProblem, RowProblem};
use super::table::{Header, Records, delimiter};
use super::tally::Tally;

/// Bytes that a format is told from.
const HEAD: usize = 64 << 10;
/// Bytes that a compressed file may unpack to whatever its size.
const UNPACKED_FREELY: u64 = 64 << 20;

/// Counts the bytes that pass.
struct Counted<R> {
    inner: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + n as u64);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }
    fn consume(&mut self, n: usize) {
        self.bytes.set(self.bytes.get() + n as u64);
        self.inner.consume(n);
    }
}

/// Stops a stream that unpacks to far more than was read.
struct Unpacked<R> {
    inner: R,
    packed: Rc<Cell<u64>>,
    bytes: u64,
    expansion: u64,
}

/// What [`Unpacked`] stops with.
#[derive(Debug, thiserror::Error)]
#[error("unpacks to more than {0} times its bytes")]
struct Expanded(u64);

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes += n as u64;
        if is_too_much(self.bytes, self.packed.get(), self.expansion) {
            return Err(io::Error::other(Expanded(self.expansion)));
        }
        Ok(n)
    }
}

/// Whether so many bytes are more than so many packed ones become.
pub(crate) fn is_too_much(unpacked: u64, packed: u64, expansion: u64) -> bool {
    unpacked > UNPACKED_FREELY.saturating_add(packed.saturating_mul(expansion))
}

/// A stream whose first bytes are known.
struct Headed<R>(Chain<Cursor<Vec<u8>>, R>);

impl<R: BufRead> Headed<R> {
    fn new(mut reader: R) -> io::Result<Self> {
        let mut head = Vec::new();
        reader.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        Ok(Self(Cursor::new(head).chain(reader)))
    }

    fn head(&self) -> &[u8] {
        self.0.get_ref().0.get_ref()
    }

    fn skip(&mut self, bytes: u64) {
        self.0.get_mut().0.set_position(bytes);
    }
}

/// Reads a stream into the tally, between its begin and its end.
pub(crate) fn read(
    name: &str,
    reader: &mut dyn BufRead,
    tally: &mut Tally<'_>,
) -> Option<FileProblem> {
    let counted = Counted {
        inner: reader,
        bytes: Rc::clone(&tally.read),
    };
    let packed = match Headed::new(counted) {
        Ok(stream) => stream,
        Err(e) => return Some(io_problem(&e)),
    };
    if !packed.head().starts_with(&[0x1f, 0x8b]) {
        return plain(name, packed, tally).err();
    }
    tally.is_gzip();
    let inner = name.strip_suffix(".gz").unwrap_or(name);
    let unpacked = BufReader::with_capacity(
        HEAD,
        Unpacked {
            inner: MultiGzDecoder::new(packed.0),
            packed: Rc::clone(&tally.read),
            bytes: 0,
            expansion: tally.limits.expansion,
        },
    );
    let read = Headed::new(unpacked).map_err(|e| io_problem(&e));
    let problem = read.and_then(|stream| plain(inner, stream, tally)).err()?;
    Some(match problem {
        FileProblem::Io { message } => FileProblem::Gzip { message },
        other => other,
    })
}

fn io_problem(error: &io::Error) -> FileProblem {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Expanded>());
    match inner {
        Some(Expanded(limit)) => FileProblem::Expansion { limit: *limit },
        None => FileProblem::Io {
            message: error.to_string(),
        },
    }
}

/// Reads a stream that isn't compressed.
fn plain<R: BufRead>(
    name: &str,
    mut stream: Headed<R>,
    tally: &mut Tally<'_>,
) -> Result<(), FileProblem> {
    let head = stream.head();
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return Err(FileProblem::Utf16);
    }
    if head.starts_with(b"PAR1") {
        tally.is(FileFormat::Parquet);
        return Err(FileProblem::Parquet {
            message: "it has to be a file, not compressed and not a stream".to_owned(),
        });
    }
    let mark = if head.starts_with(&[0xef, 0xbb, 0xbf]) {
        3
    } else {
        0
    };
    let format = format(name, &head[mark..], &tally.limits);
    stream.skip(mark as u64);
    tally.is(format);
    match format {
        FileFormat::JsonList => values(stream.0, Around::List, tally),
        FileFormat::JsonValues => values(stream.0, Around::Nothing, tally),
        FileFormat::Csv { delimiter, .. } => records(stream.0, delimiter, tally),
        FileFormat::Text => lines(stream.0, tally, |text, _| Ok(Node::Text(text.into()))),
        _ => lines(stream.0, tally, |text, limits| {
            node::parse(text, limits.row_values)
        }),
    }
}

/// Tells a format by the name, and by the first bytes where the name leaves it open.
fn format(name: &str, head: &[u8], limits: &super::Limits) -> FileFormat {
    let extension = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
    let csv = |delimiter: u8| FileFormat::Csv {
        delimiter: char::from(delimiter),
        header: false,
    };
    match extension.as_deref() {
        Some("jsonl" | "ndjson") => return FileFormat::JsonLines,
        Some("csv") => return csv(delimiter(head)),
        Some("tsv") => return csv(b'\t'),
        Some("txt" | "md" | "text") => return FileFormat::Text,
        _ => {}
    }
    match head.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'[') => FileFormat::JsonList,
        Some(b'{') if is_a_line(head, limits) => FileFormat::JsonLines,
        Some(b'{') => FileFormat::JsonValues,
        // What claims to be JSON is read as it, and its rows say what is wrong.
        Some(_) if extension.as_deref() == Some("json") => FileFormat::JsonValues,
        _ => FileFormat::Text,
    }
}

/// Whether the first line is a value by itself, or longer than the head.
fn is_a_line(head: &[u8], limits: &super::Limits) -> bool {
    let mut lines = head.split_inclusive(|b| *b == b'\n');
    let Some(line) = lines.find(|l| !l.trim_ascii().is_empty()) else {
        return false;
    };
    let whole = line.ends_with(b"\n") || head.len() < HEAD;
    let text = std::str::from_utf8(line);
    !whole || text.is_ok_and(|t| node::parse(t, limits.row_values).is_ok())
}

/// Text of a row without NUL.
fn text(bytes: &[u8]) -> Result<&str, RowProblem> {
    let text = std::str::from_utf8(bytes).map_err(|e| RowProblem::NotUtf8 {
        valid_bytes: e.valid_up_to() as u64,
    })?;
    match text.find('\0') {
        Some(at) => Err(RowProblem::Nul { bytes: at as u64 }),
        None => Ok(text),
    }
}

fn lines<R: BufRead>(
    reader: R,
    tally: &mut Tally<'_>,
    parse: impl for<'t> Fn(&'t str, &super::Limits) -> Result<Node<'t>, RowProblem>,
) -> Result<(), FileProblem> {
    let limits = tally.limits;
    let mut lines = Lines::new(reader, limits.row_bytes);
    while let Some((number, line)) = lines.next().map_err(|e| io_problem(&e))? {
        let Line::Whole(bytes) = line else {
            tally.fault(number, too_long(&limits));
            continue;
        };
        if bytes.trim_ascii().is_empty() {
            tally.blank();
            continue;
        }
        match text(bytes).and_then(|t| parse(t, &limits)) {
            Ok(row) => tally.row(number, &row),
            Err(problem) => tally.fault(number, problem),
        }
    }
    Ok(())
}

fn too_long(limits: &super::Limits) -> RowProblem {
    RowProblem::TooLong {
        limit: limits.row_bytes as u64,
    }
}

fn values<R: BufRead>(reader: R, around: Around, tally: &mut Tally<'_>) -> Result<(), FileProblem> {
    let limits = tally.limits;
    let mut values = Values::new(reader, around, limits.row_bytes);
    loop {
        let (line, piece) = match values.next() {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(()),
            Err(CutError::Io(e)) => return Err(io_problem(&e)),
            Err(CutError::Format(problem)) => return Err(problem),
        };
        let Piece::Whole(bytes) = piece else {
            tally.fault(line, too_long(&limits));
            continue;
        };
        match text(bytes).and_then(|t| node::parse(t, limits.row_values)) {
            Ok(row) => tally.row(line, &row),
            Err(problem) => tally.fault(line, problem),
        }
    }
}

fn records<R: BufRead>(
    reader: R,
    delimiter: char,
    tally: &mut Tally<'_>,
) -> Result<(), FileProblem> {
    let limits = tally.limits;
    let mut records = Records::new(reader, delimiter as u8, limits);
    let mut header: Option<Header> = None;
    while let Some((line, record)) = records.next().map_err(|e| io_problem(&e))? {
        let header = match &mut header {
            Some(header) => header,
            none => {
                let header = none.insert(Header::read(&record, &limits)?);
                let is_said = header.is_said;
                tally.is(FileFormat::Csv {
                    delimiter,
                    header: is_said,
                });
                if is_said {
                    continue;
                }
                header
            }
        };
        match header.row(&record, &limits) {
            Ok(row) => tally.row(line, &row),
            Err(problem) => tally.fault(line, problem),
        }
    }
    Ok(())
}
