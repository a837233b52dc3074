//! Text of a file by places in it.

use crate::facts::Span;
use ruff_text_size::{Ranged, TextRange};

/// Longest value that a signature shows, in bytes.
const MAX_VALUE: usize = 80;

/// A file that was read.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl Source {
    pub(super) fn new(name: String, text: String) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0)
            .chain(ends.map(|(at, _)| at + 1))
            .collect();
        Self { name, text, starts }
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    pub(super) fn last_line(&self) -> usize {
        self.text.lines().count().max(1)
    }

    pub(super) fn span_of_lines(&self, first: usize, last: usize) -> Span {
        Span::of(&self.name, &self.text, first, last)
    }

    pub(super) fn span(&self, range: TextRange) -> Span {
        let first = self.line(range.start().into());
        let last = self.line(usize::from(range.end()).saturating_sub(1));
        self.span_of_lines(first, last)
    }

    /// The code of a node on one line.
    pub(super) fn code(&self, node: &impl Ranged) -> String {
        let range = node.range();
        let (from, to) = (usize::from(range.start()), usize::from(range.end()));
        let code = self.text.get(from..to).unwrap_or_default();
        if !code.contains('\n') {
            return code.to_owned();
        }
        // Strings over several lines stay as they are; their line ends have a meaning.
        if code.contains("\"\"\"") || code.contains("'''") {
            return code.to_owned();
        }
        let lines = code.lines().map(|line| without_comment(line).trim());
        let mut joined = lines
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        for (broken, whole) in [
            ("( ", "("),
            ("[ ", "["),
            ("{ ", "{"),
            (", )", ")"),
            (", ]", "]"),
        ] {
            joined = joined.replace(broken, whole);
        }
        for (broken, whole) in [(" )", ")"), (" ]", "]"), (", }", "}"), (" }", "}")] {
            joined = joined.replace(broken, whole);
        }
        joined
    }

    /// The code of a value that is short enough to be shown.
    pub(super) fn short(&self, node: &impl Ranged) -> Option<String> {
        let code = self.code(node);
        (code.len() <= MAX_VALUE && !code.contains('\n')).then_some(code)
    }
}

/// The line before a `#` that stands in no string.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match quote {
            _ if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '#' => return &line[..at],
            None if c == '"' || c == '\'' => quote = Some(c),
            None => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruff_text_size::TextSize;

    #[test]
    fn code_is_put_on_one_line() {
        let text = "f(\n    a,  # one\n    \"#\",\n)\nx";
        let source = Source::new("a.py".to_owned(), text.to_owned());
        let end = TextSize::try_from(text.len() - 2).expect("short");
        let range = TextRange::new(TextSize::from(0), end);
        assert_eq!(source.code(&range), "f(a, \"#\")");
        assert_eq!(
            (source.line(0), source.line(3), source.line(text.len())),
            (1, 2, 5)
        );
    }
}
