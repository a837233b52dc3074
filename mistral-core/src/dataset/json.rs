//! JSON values out of a stream, one at a time, each of bounded length.

use std::io::{self, BufRead};

use super::profile::FileProblem;

/// What stands around the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Around {
    /// One list: `[`, commas, `]`.
    List,
    /// Nothing but white space.
    Nothing,
}

/// A value that was cut out, not yet parsed.
pub(crate) enum Piece<'b> {
    Whole(&'b [u8]),
    TooLong,
}

/// Why cutting ended early.
pub(crate) enum CutError {
    Io(io::Error),
    Format(FileProblem),
}

impl From<io::Error> for CutError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Cuts values by their brackets and quotes alone, so that a value that isn't JSON costs only itself.
pub(crate) struct Values<R> {
    reader: R,
    around: Around,
    limit: usize,
    buffer: Vec<u8>,
    line: u64,
    started: bool,
}

/// Where in a value the cut is.
#[derive(Default)]
struct Cut {
    depth: u64,
    in_text: bool,
    escaped: bool,
    /// Whether it is a number or a word, which ends before the byte that can't be of it.
    bare: bool,
    begun: bool,
}

/// What a byte means for the value.
enum Step {
    Inside,
    Last,
    Behind,
}

impl Cut {
    fn step(&mut self, byte: u8) -> Step {
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_text = false;
                    return self.closed();
                }
                _ => {}
            }
            return Step::Inside;
        }
        if self.bare {
            let ends = byte.is_ascii_whitespace() || matches!(byte, b',' | b']' | b'}');
            return if ends { Step::Behind } else { Step::Inside };
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.closed();
            }
            _ if !self.begun => self.bare = true,
            _ => {}
        }
        self.begun = true;
        Step::Inside
    }

    fn closed(&self) -> Step {
        if self.depth == 0 {
            Step::Last
        } else {
            Step::Inside
        }
    }
}

impl<R: BufRead> Values<R> {
    pub(crate) fn new(reader: R, around: Around, limit: usize) -> Self {
        Self {
            reader,
            around,
            limit,
            buffer: Vec::new(),
            line: 1,
            started: false,
        }
    }

    /// The next value and the line that it starts on.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Piece<'_>)>, CutError> {
        if !self.at_value()? {
            return Ok(None);
        }
        let line = self.line;
        let piece = self.cut()?;
        let piece = match piece {
            true => Piece::Whole(&self.buffer),
            false => Piece::TooLong,
        };
        Ok(Some((line, piece)))
    }

    /// Goes to the next value; `false` at the end.
    fn at_value(&mut self) -> Result<bool, CutError> {
        let first = !std::mem::replace(&mut self.started, true);
        if self.around == Around::Nothing {
            return Ok(self.peek()?.is_some());
        }
        let wrong = |line, expected: &str| {
            CutError::Format(FileProblem::JsonList {
                line,
                expected: expected.to_owned(),
            })
        };
        if first {
            match self.peek()? {
                Some(b'[') => self.reader.consume(1),
                _ => return Err(wrong(self.line, "`[`")),
            }
            if self.peek()? != Some(b']') {
                return self.there();
            }
        }
        match self.peek()? {
            Some(b',') if !first => {
                self.reader.consume(1);
                self.there()
            }
            Some(b']') => {
                self.reader.consume(1);
                match self.peek()? {
                    None => Ok(false),
                    Some(_) => Err(wrong(self.line, "the end of the file")),
                }
            }
            Some(_) => Err(wrong(self.line, "`,` or `]`")),
            None => Err(CutError::Format(FileProblem::Unterminated)),
        }
    }

    /// A value must follow.
    fn there(&mut self) -> Result<bool, CutError> {
        match self.peek()? {
            Some(b',' | b']' | b'}') => Err(CutError::Format(FileProblem::JsonList {
                line: self.line,
                expected: "a value".to_owned(),
            })),
            Some(_) => Ok(true),
            None => Err(CutError::Format(FileProblem::Unterminated)),
        }
    }

    /// The next byte that isn't white space.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let blank = chunk.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let found = chunk.get(blank).copied();
            self.line += newlines(&chunk[..blank]);
            self.reader.consume(blank);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Takes one value into the buffer; `false` when it was too long.
    fn cut(&mut self) -> Result<bool, CutError> {
        self.buffer.clear();
        let mut cut = Cut::default();
        let mut fits = true;
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                return match cut.bare {
                    true => Ok(fits),
                    false => Err(CutError::Format(FileProblem::Unterminated)),
                };
            }
            let mut end = None;
            for (i, &byte) in chunk.iter().enumerate() {
                match cut.step(byte) {
                    Step::Inside => continue,
                    Step::Last => end = Some(i + 1),
                    Step::Behind => end = Some(i),
                }
                break;
            }
            let used = end.unwrap_or(chunk.len());
            fits &= self.buffer.len() + used <= self.limit;
            if fits {
                self.buffer.extend_from_slice(&chunk[..used]);
            } else {
                self.buffer.clear();
            }
            self.line += newlines(&chunk[..used]);
            self.reader.consume(used);
            if end.is_some() {
                return Ok(fits);
            }
        }
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn spelled(text: &str, around: Around, limit: usize, chunk: usize) -> String {
        let mut values = Values::new(
            BufReader::with_capacity(chunk, text.as_bytes()),
            around,
            limit,
        );
        let mut out = String::new();
        loop {
            match values.next() {
                Ok(Some((line, Piece::Whole(b)))) => {
                    out += &format!("{line}:{} ", String::from_utf8_lossy(b));
                }
                Ok(Some((line, Piece::TooLong))) => out += &format!("{line}:# "),
                Ok(None) => return out.trim_end().to_owned(),
                Err(CutError::Io(e)) => return out + &e.to_string(),
                Err(CutError::Format(p)) => return out + "! " + &p.to_string(),
            }
        }
    }

    #[test]
    fn values_are_cut_whatever_the_chunks() {
        let mut wrong = Vec::new();
        for (text, around, expected) in [
            ("[]", Around::List, ""),
            (" [ ] \n", Around::List, ""),
            (
                "[1,\n\"a,]\\\"\",{\"b\":[2]}]",
                Around::List,
                "1:1 2:\"a,]\\\"\" 2:{\"b\":[2]}",
            ),
            ("[{}\n,{}]", Around::List, "1:{} 2:{}"),
            (
                "[{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\":1},2]",
                Around::List,
                "1:# 1:2",
            ),
            (
                "[{}",
                Around::List,
                "1:{} ! expected the end of a JSON value, found the end of the file",
            ),
            (
                "[{",
                Around::List,
                "! expected the end of a JSON value, found the end of the file",
            ),
            (
                "[{}{}]",
                Around::List,
                "1:{} ! line 1: expected `,` or `]`, found another byte",
            ),
            (
                "[1,]",
                Around::List,
                "1:1 ! line 1: expected a value, found another byte",
            ),
            (
                "[1] x",
                Around::List,
                "1:1 ! line 1: expected the end of the file, found another byte",
            ),
            (
                "{}",
                Around::List,
                "! line 1: expected `[`, found another byte",
            ),
            ("{\n}\n{ }", Around::Nothing, "1:{\n} 3:{ }"),
            ("{}{}", Around::Nothing, "1:{} 1:{}"),
            ("junk {}", Around::Nothing, "1:junk 1:{}"),
            ("} {}", Around::Nothing, "1:} 1:{}"),
            ("", Around::Nothing, ""),
        ] {
            for chunk in [1, 3, 100] {
                let found = spelled(text, around, 20, chunk);
                if found != expected {
                    wrong.push(format!("{text:?} by {chunk}: {found:?}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
