//! Words of a command line, read as the engine would read them, mistakes included.

use super::table::{FlagTable, Name};

/// One flag as it was written, and the words that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    /// The flag as it was written, without `=value`.
    pub(super) written: String,
    /// What the table calls it; `None` for a flag that it doesn't have.
    pub(super) name: Option<Name>,
    pub(super) values: Vec<String>,
    /// Whether the value was joined to the flag by `=`.
    pub(super) joined: bool,
}

/// Words before the first flag and between flags, and the flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Word(String),
    Flag(Argument),
}

impl FlagTable {
    /// The parts of `words`, in their order.
    pub(super) fn parts(&self, words: &[String]) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            if !is_flag(word) {
                parts.push(Part::Word(word.clone()));
                continue;
            }
            let (written, joined) = match word.split_once('=') {
                Some((written, value)) if word.starts_with('-') => {
                    (written.to_owned(), Some(value.to_owned()))
                }
                _ => (word.clone(), None),
            };
            let (written, attached) = self.attached(&written);
            let name = self.find(&written);
            let takes = name.as_ref().map(|name| &self.flags[&name.flag]);
            let mut values: Vec<String> = joined.iter().chain(&attached).cloned().collect();
            let has_value = !values.is_empty();
            let (one, many) = match takes {
                _ if has_value => (false, false),
                Some(takes) => (
                    takes.wants_value() && !name.as_ref().is_some_and(|n| n.negated),
                    takes.wants_many(),
                ),
                // Of an unknown flag nothing is known: what follows it is shown with it.
                None => (true, false),
            };
            while one && (values.is_empty() || many) {
                match words.next_if(|word| !is_flag(word)) {
                    Some(value) => values.push(value.clone()),
                    None => break,
                }
            }
            parts.push(Part::Flag(Argument {
                written,
                name,
                values,
                joined: joined.is_some(),
            }));
        }
        parts
    }

    /// `-O3` as vLLM reads it: the flag and its value in one word.
    fn attached(&self, written: &str) -> (String, Option<String>) {
        match written.strip_prefix("-O") {
            Some(level) if self.style.dotted && !level.is_empty() && !level.starts_with('.') => {
                let flag = if self.flags.contains_key("--optimization-level") {
                    "--optimization-level"
                } else {
                    "-O"
                };
                (flag.to_owned(), Some(level.to_owned()))
            }
            _ => (written.to_owned(), None),
        }
    }
}

/// Whether a word is read as a flag: it begins with `-` and isn't a number.
pub(super) fn is_flag(word: &str) -> bool {
    word.len() > 1
        && word.starts_with('-')
        && word.parse::<f64>().is_err()
        && word[1..].starts_with(|c: char| c == '-' || c.is_ascii_alphabetic())
}

/// A value that a shell or a template would make, of which nothing can be said.
pub(super) fn is_placeholder(value: &str) -> bool {
    ["$", "<", "{{", "...", "…", "`", "YOUR", "%"]
        .iter()
        .any(|mark| value.contains(mark))
        || value.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}
