//! Lines of a file, and what they held.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

/// Lines of a file, with a hash that tells whether they are still the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// Relative to the folder that was read, parts joined by `/`.
    pub file: String,
    /// From 1.
    pub first_line: usize,
    /// The last one within, at least `first_line`.
    pub last_line: usize,
    /// [`hash_lines`] of these lines.
    pub hash: String,
}

impl Span {
    /// The span of lines `first` to `last` of `text`, which `file` holds.
    pub fn of(file: &str, text: &str, first: usize, last: usize) -> Self {
        let first_line = first.max(1);
        let last_line = last.max(first_line);
        Self {
            file: file.to_owned(),
            first_line,
            last_line,
            hash: hash_lines(text, first_line, last_line),
        }
    }

    /// Whether `text` still has the same lines in the same place.
    pub fn matches(&self, text: &str) -> bool {
        hash_lines(text, self.first_line, self.last_line) == self.hash
    }
}

/// XXH3 with 64 bits, in hexadecimal, of lines `first` to `last` (from 1, both within). Ends of
/// lines count as `\n`, so that a checkout on Windows has the same hash.
pub fn hash_lines(text: &str, first: usize, last: usize) -> String {
    let mut hasher = XxHash3_64::new();
    let count = last.saturating_add(1).saturating_sub(first);
    for line in text.lines().skip(first.saturating_sub(1)).take(count) {
        std::hash::Hasher::write(&mut hasher, line.as_bytes());
        std::hash::Hasher::write(&mut hasher, b"\n");
    }
    format!("{:016x}", std::hash::Hasher::finish(&hasher))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_notices_a_change_within_and_none_outside() {
        let span = Span::of("a.rs", "one\ntwo\nthree\nfour", 2, 3);
        assert!(span.matches("1\ntwo\r\nthree\r\n4"));
        assert!(!span.matches("one\ntwo \nthree\nfour"));
        assert!(!span.matches("zero\none\ntwo\nthree"));
    }

    #[test]
    fn lines_behind_the_end_are_none() {
        let span = Span::of("a.rs", "", 7, 3);
        assert_eq!((span.first_line, span.last_line), (7, 7));
        assert!(span.matches(""));
        assert_eq!(hash_lines("a\nb", 2, usize::MAX), hash_lines("a\nb", 2, 2));
    }
}
