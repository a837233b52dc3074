//! CSV records of bounded length.

use std::borrow::Cow;
use std::io::{self, BufRead};

use csv_core::ReadRecordResult;

use super::columns::is_number;
use super::limits::Limits;
use super::node::Node;
use super::profile::{FileProblem, RowProblem};

/// What separates fields, by how often it stands outside of quotes in the first line.
pub(crate) fn delimiter(head: &[u8]) -> u8 {
    const KNOWN: [u8; 4] = [b',', b';', b'\t', b'|'];
    let mut counts = [0_usize; 4];
    let mut quoted = false;
    for &byte in head {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            _ if quoted => {}
            _ => {
                if let Some(i) = KNOWN.iter().position(|k| *k == byte) {
                    counts[i] += 1;
                }
            }
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    let first = counts.iter().position(|c| *c == most).unwrap_or(0);
    KNOWN[first]
}

/// A record that was read.
pub(crate) enum Record<'b> {
    /// All fields together, and where each ends.
    Whole(&'b [u8], &'b [usize]),
    TooLong,
    TooManyFields,
}

/// Reads records and holds one at a time: an open quote costs no memory beyond the limit.
pub(crate) struct Records<R> {
    reader: R,
    core: csv_core::Reader,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    limits: Limits,
}

impl<R: BufRead> Records<R> {
    pub(crate) fn new(reader: R, delimiter: u8, limits: Limits) -> Self {
        Self {
            reader,
            core: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            bytes: vec![0; 4096.min(limits.row_bytes.max(1))],
            ends: vec![0; 64.min(limits.fields.max(1))],
            limits,
        }
    }

    /// The next record and the line that it starts on.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Record<'_>)>> {
        let line = self.core.line();
        let (mut written, mut ended) = (0, 0);
        let (mut too_long, mut too_many) = (false, false);
        loop {
            let input = self.reader.fill_buf()?;
            let (result, used, out, fields) =
                self.core
                    .read_record(input, &mut self.bytes[written..], &mut self.ends[ended..]);
            self.reader.consume(used);
            written += out;
            ended += fields;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    if !grow(&mut self.bytes, self.limits.row_bytes) {
                        too_long = true;
                        written = 0;
                    }
                }
                ReadRecordResult::OutputEndsFull => {
                    if !grow(&mut self.ends, self.limits.fields) {
                        too_many = true;
                        ended = 0;
                    }
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        let record = if too_long {
            Record::TooLong
        } else if too_many {
            Record::TooManyFields
        } else {
            Record::Whole(&self.bytes[..written], &self.ends[..ended])
        };
        Ok(Some((line, record)))
    }
}

/// Doubles a buffer up to a limit; `false` when it is there already.
fn grow<T: Clone + Default>(buffer: &mut Vec<T>, limit: usize) -> bool {
    let now = buffer.len();
    let then = (now * 2).min(limit.max(1));
    buffer.resize(then.max(now), T::default());
    then > now
}

/// The fields of a record as texts.
pub(crate) fn fields<'b>(bytes: &'b [u8], ends: &[usize]) -> Result<Vec<&'b str>, RowProblem> {
    let text = std::str::from_utf8(bytes).map_err(|e| RowProblem::NotUtf8 {
        valid_bytes: e.valid_up_to() as u64,
    })?;
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return Err(RowProblem::Nul { bytes: at as u64 });
    }
    let mut start = 0;
    let mut fields = Vec::with_capacity(ends.len());
    for &end in ends {
        // A character that two fields share is none.
        let field = text.get(start..end).ok_or(RowProblem::NotUtf8 {
            valid_bytes: start as u64,
        })?;
        fields.push(field);
        start = end;
    }
    Ok(fields)
}

/// The names of columns and whether the first record says them.
pub(crate) struct Header {
    pub(crate) names: Vec<String>,
    pub(crate) is_said: bool,
}

impl Header {
    /// A first record names the fields if each has a text of its own that isn't a number.
    pub(crate) fn of(first: &[&str]) -> Self {
        let mut sorted: Vec<&str> = first.iter().map(|f| f.trim()).collect();
        sorted.sort_unstable();
        let different = sorted.windows(2).all(|pair| pair[0] != pair[1]);
        let names = first.iter().map(|f| f.trim());
        let is_said = different
            && names
                .clone()
                .all(|f| !f.is_empty() && f.len() <= 128 && !f.contains('\n') && !is_number(f));
        let names = if is_said {
            names.map(str::to_owned).collect()
        } else {
            (1..=first.len()).map(|i| format!("column {i}")).collect()
        };
        Self { names, is_said }
    }

    /// The first record's names, if it can be one at all.
    pub(crate) fn read(record: &Record<'_>, limits: &Limits) -> Result<Self, FileProblem> {
        match record {
            Record::Whole(bytes, ends) => Ok(
                fields(bytes, ends).map_or_else(|_| Self::unnamed(ends.len()), |f| Self::of(&f))
            ),
            Record::TooLong => Ok(Self::unnamed(1)),
            Record::TooManyFields => Err(FileProblem::TooManyFields {
                limit: limits.fields as u64,
            }),
        }
    }

    fn unnamed(fields: usize) -> Self {
        Self {
            names: (1..=fields).map(|i| format!("column {i}")).collect(),
            is_said: false,
        }
    }

    /// A record as a row.
    pub(crate) fn row<'r>(
        &'r self,
        record: &Record<'r>,
        limits: &Limits,
    ) -> Result<Node<'r>, RowProblem> {
        let (bytes, ends) = match record {
            Record::Whole(bytes, ends) => (bytes, ends),
            Record::TooLong => {
                return Err(RowProblem::TooLong {
                    limit: limits.row_bytes as u64,
                });
            }
            Record::TooManyFields => {
                return Err(RowProblem::TooManyValues {
                    limit: limits.fields as u64,
                });
            }
        };
        if ends.len() != self.names.len() {
            return Err(RowProblem::Fields {
                expected: self.names.len() as u64,
                found: ends.len() as u64,
            });
        }
        let fields = fields(bytes, ends)?;
        let named = self.names.iter().zip(fields);
        Ok(Node::Object(
            named
                .map(|(name, field)| {
                    (
                        Cow::Borrowed(name.as_str()),
                        Node::Text(Cow::Borrowed(field)),
                    )
                })
                .collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_are_told_from_the_first_line() {
        for (head, expected) in [
            ("a,b;c,d\n;;;;", b','),
            ("a;b;c", b';'),
            ("a\tb", b'\t'),
            ("\"a;b;c;d\",x\n", b','),
            ("a|b|c\n", b'|'),
            ("alone\n", b','),
            ("", b','),
        ] {
            assert_eq!(delimiter(head.as_bytes()), expected, "{head:?}");
        }
    }

    #[test]
    fn a_header_has_names_only() {
        for (first, said) in [
            (&["id", "text"][..], true),
            (&["1", "text"], false),
            (&["a", "a"], false),
            (&["a", ""], false),
            (&["nan"], true),
            (&["3.5"], false),
        ] {
            assert_eq!(Header::of(first).is_said, said, "{first:?}");
        }
        assert_eq!(Header::of(&["1", "x"]).names, ["column 1", "column 2"]);
    }

    #[test]
    fn records_are_bounded() {
        let limits = Limits {
            row_bytes: 8,
            fields: 3,
            ..Limits::default()
        };
        let text = "a,b\n\"line\nbreak\",x\n\"ab\"\"c\",d\n1,2,3\n1,2,3,4\n\"open\nopen\nopen";
        let mut records = Records::new(text.as_bytes(), b',', limits);
        let mut found = Vec::new();
        while let Some((line, record)) = records.next().expect("memory does not fail") {
            found.push(match record {
                Record::Whole(b, e) => {
                    format!("{line}:{}", fields(b, e).expect("UTF-8").join("|"))
                }
                Record::TooLong => format!("{line}:#"),
                Record::TooManyFields => format!("{line}:!"),
            });
        }
        let expected = ["1:a|b", "2:#", "4:ab\"c|d", "5:1|2|3", "6:!", "7:#"];
        assert_eq!(found, expected);
        assert!(records.bytes.len() <= 8 && records.ends.len() <= 3);
    }

    #[test]
    fn fields_are_whole_characters() {
        assert!(fields(b"ab", &[1, 2]).is_ok());
        // Two bytes that are a character only together.
        assert!(fields("é".as_bytes(), &[1, 2]).is_err());
        assert!(fields(&[0xff], &[1]).is_err());
        assert!(fields(b"a\0", &[2]).is_err());
    }
}
