//! Lines of bounded length.

use std::io::{self, BufRead, Read};

/// A line that was read.
pub(crate) enum Line<'b> {
    /// Its bytes, without the line's end.
    Whole(&'b [u8]),
    /// It has more bytes than the limit; none is held.
    TooLong,
}

/// Reads lines of at most `limit` bytes and holds one at a time.
pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    limit: usize,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R, limit: usize) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            limit,
            number: 0,
        }
    }

    /// The next line and its number, from 1.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        self.buffer.clear();
        // Room for the line's end, too.
        let most = self.limit as u64 + 2;
        let mut bounded = self.reader.by_ref().take(most);
        if bounded.read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let ended = self.buffer.ends_with(b"\n");
        let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        let length = line.strip_suffix(b"\r").unwrap_or(line).len();
        if length <= self.limit && (ended || (self.buffer.len() as u64) < most) {
            return Ok(Some((self.number, Line::Whole(&self.buffer[..length]))));
        }
        self.buffer.clear();
        if !ended {
            self.reader.skip_until(b'\n')?;
        }
        Ok(Some((self.number, Line::TooLong)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_their_ends_and_long_ones_are_skipped() {
        for (text, limit, expected) in [
            ("", 3, ""),
            ("a\nb", 3, "a|b"),
            ("a\r\n\r\nb\n", 3, "a||b"),
            ("abc\nabcd\nab\n", 3, "abc|#|ab"),
            ("abc\r\nabcd\r\n", 3, "abc|#"),
            ("abcdefghi", 3, "#"),
            ("abc", 3, "abc"),
            ("abcde", 3, "#"),
            ("abcdefg\nx", 3, "#|x"),
        ] {
            let mut lines = Lines::new(text.as_bytes(), limit);
            let mut found = Vec::new();
            while let Some((number, line)) = lines.next().expect("memory does not fail") {
                found.push(match line {
                    Line::Whole(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Line::TooLong => "#".to_owned(),
                });
                assert_eq!(number, found.len() as u64);
            }
            assert_eq!(found.join("|"), expected, "{text:?}");
        }
    }
}
