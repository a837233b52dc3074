//! From a model's reply to the program that is run, and answers that were written before.

use super::Ds1000Error;
use super::problem::{self, FileLimits, Id, field};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// Which part of a reply is the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extraction {
    /// What the benchmark's own script takes: all up to the first end mark, without opening marks. Prose
    /// before the code stays, and breaks the program.
    #[default]
    Benchmark,
    /// The first block between marks, wherever it stands; the same as `Benchmark` for a reply without marks.
    Block,
}

impl FromStr for Extraction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "benchmark" => Ok(Self::Benchmark),
            "block" => Ok(Self::Block),
            other => Err(format!("expected benchmark or block, found {other:?}")),
        }
    }
}

/// Texts at which a model's reply is over.
pub const STOPS: [&str; 3] = ["</code>", "# SOLUTION END", "\nEND SOLUTION"];

/// The program in a reply.
///
/// The rules of [`Extraction::Benchmark`] are those of `postprocess` in the benchmark's `test_ds1000.py`
/// (github xlang-ai/DS-1000, as copied in guhan-tofu/Qwen-DS-1000 at 7c28e8c, read 2026-11-23), and the
/// stop text `# SOLUTION END` that its inference uses.
#[must_use]
pub fn program(reply: &str, extraction: Extraction) -> String {
    let from = match extraction {
        Extraction::Benchmark => 0,
        Extraction::Block => block_start(reply).unwrap_or(0),
    };
    let before = |text: &str, mark: &str| -> String {
        text.split_once(mark)
            .map_or(text, |(head, _)| head)
            .to_owned()
    };
    let mut code = before(&reply[from..], "</code>");
    code = code.replace("```python", "");
    for mark in ["```", "\nEND SOLUTION", "# SOLUTION END"] {
        code = before(&code, mark);
    }
    code.replace("<code>", "")
}

/// Where the first block's code begins.
fn block_start(reply: &str) -> Option<usize> {
    let tag = reply.find("<code>").map(|at| at + "<code>".len());
    let fence = reply.find("```").map(|at| {
        let rest = &reply[at..];
        at + rest.find('\n').map_or(rest.len(), |line| line + 1)
    });
    match (tag, fence) {
        (Some(tag), Some(fence)) => Some(tag.min(fence)),
        (one, other) => one.or(other),
    }
}

#[derive(Deserialize)]
struct Row {
    id: Option<Id>,
    metadata: Option<Metadata>,
    code: Code,
}

#[derive(Deserialize)]
struct Metadata {
    problem_id: Option<Id>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Code {
    One(String),
    Several(Vec<String>),
}

/// Replies by problem, from lines `{"id", "code"}` as the benchmark keeps them: `code` is a text or a list
/// of samples, lines with the same id add up, and a line without `id` and `metadata.problem_id` answers the
/// problem that has its index.
///
/// # Errors
/// As [`load`](super::load).
pub fn read(
    path: &Path,
    limits: &FileLimits,
) -> Result<BTreeMap<String, Vec<String>>, Ds1000Error> {
    let mut replies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    problem::for_each_row(problem::open(path)?, path, limits, |line, text| {
        let row: Row = serde_json::from_str(text).map_err(|source| Ds1000Error::Row {
            path: path.to_owned(),
            line,
            expected: "an object with id and code",
            source,
        })?;
        let id = row.metadata.and_then(|m| m.problem_id).or(row.id);
        let id = id.map_or_else(|| (line - 1).to_string(), String::from);
        let codes = match row.code {
            Code::One(code) => vec![code],
            Code::Several(codes) => codes,
        };
        if codes.is_empty() {
            return Err(field(path, line, "code", "at least one text", "[]"));
        }
        replies.entry(id).or_default().extend(codes);
        Ok(())
    })?;
    Ok(replies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_become_programs() {
        // Reply, by the benchmark's rule, by the first block.
        let rows = [
            ("x = 1", "x = 1", "x = 1"),
            ("x = 1\n</code>\nEND SOLUTION", "x = 1\n", "x = 1\n"),
            (" <code>\nx = 1\n</code>", " \nx = 1\n", "\nx = 1\n"),
            ("```python\nx = 1\n```\nIt is one.", "\nx = 1\n", "x = 1\n"),
            ("x = 1\nEND SOLUTION\nmore", "x = 1", "x = 1"),
            ("x = 1\n# SOLUTION END\nmore", "x = 1\n", "x = 1\n"),
            ("Well:\n```\nx = 1\n```", "Well:\n", "x = 1\n"),
            ("Well:\n```py\nx = 1\n```", "Well:\n", "x = 1\n"),
            (
                "Well: <code>x = 1</code> and <code>y</code>",
                "Well: x = 1",
                "x = 1",
            ),
            ("```", "", ""),
            ("", "", ""),
        ];
        for (reply, benchmark, block) in rows {
            assert_eq!(
                program(reply, Extraction::Benchmark),
                benchmark,
                "{reply:?}"
            );
            assert_eq!(program(reply, Extraction::Block), block, "{reply:?}");
        }
    }
}
