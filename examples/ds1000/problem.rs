//! Problems from the benchmark's file, plain or gzipped.

use super::Ds1000Error;
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

/// How much of a file is read; the benchmark has 1000 problems in 3.4 MB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// Bytes of one line.
    pub line_bytes: u64,
    /// Bytes of all lines, unpacked.
    pub total_bytes: u64,
    /// Lines that aren't empty.
    pub rows: usize,
}

impl Default for FileLimits {
    /// 4 MiB a line, 512 MiB, 100,000 rows.
    fn default() -> Self {
        Self {
            line_bytes: 4 << 20,
            total_bytes: 512 << 20,
            rows: 100_000,
        }
    }
}

/// A task with its tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `metadata.problem_id`, a number in the benchmark.
    pub id: String,
    /// `metadata.library`, e.g. `Pandas`.
    pub library: String,
    /// `metadata.perturbation_type`, e.g. `Origin`; empty when there is none.
    pub perturbation: String,
    /// What the model is asked.
    pub prompt: String,
    /// A solution that passes.
    pub reference_code: String,
    /// Python that defines `test_execution(solution)` and may define `test_string(solution)`.
    pub code_context: String,
}

#[derive(Deserialize)]
struct Row {
    prompt: String,
    reference_code: String,
    code_context: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    problem_id: Id,
    library: String,
    #[serde(default)]
    perturbation_type: Option<String>,
}

/// Numbers in the benchmark, names elsewhere.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Id {
    Number(u64),
    Name(String),
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        match id {
            Id::Number(number) => number.to_string(),
            Id::Name(name) => name,
        }
    }
}

/// The problems of a file, in its order.
///
/// # Errors
/// [`Ds1000Error`] with the line for what is no problem, comes twice or exceeds `limits`.
pub fn load(path: &Path, limits: &FileLimits) -> Result<Vec<Problem>, Ds1000Error> {
    parse(open(path)?, path, limits)
}

/// The same from any reader; `path` is for errors.
///
/// # Errors
/// As [`load`].
pub fn parse(
    reader: impl BufRead,
    path: &Path,
    limits: &FileLimits,
) -> Result<Vec<Problem>, Ds1000Error> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for_each_row(reader, path, limits, |line, text| {
        let problem = problem_of(path, line, text)?;
        if !seen.insert(problem.id.clone()) {
            return Err(field(
                path,
                line,
                "metadata.problem_id",
                "one of its own",
                &problem.id,
            ));
        }
        problems.push(problem);
        Ok(())
    })?;
    if problems.is_empty() {
        return Err(Ds1000Error::NoProblems {
            because: Some(format!("{} has no rows", path.display())),
        });
    }
    Ok(problems)
}

fn problem_of(path: &Path, line: usize, text: &str) -> Result<Problem, Ds1000Error> {
    let row: Row = serde_json::from_str(text).map_err(|source| Ds1000Error::Row {
        path: path.to_owned(),
        line,
        expected: "an object with prompt, reference_code, code_context, \
                   metadata.problem_id and metadata.library",
        source,
    })?;
    if !row.code_context.contains("def test_execution(") {
        let found: String = row.code_context.chars().take(40).collect();
        return Err(field(
            path,
            line,
            "code_context",
            "a definition of test_execution",
            &found,
        ));
    }
    Ok(Problem {
        id: row.metadata.problem_id.into(),
        library: row.metadata.library,
        perturbation: row.metadata.perturbation_type.unwrap_or_default(),
        prompt: row.prompt,
        reference_code: row.reference_code,
        code_context: row.code_context,
    })
}

pub(super) fn field(
    path: &Path,
    line: usize,
    field: &'static str,
    expected: &'static str,
    found: &str,
) -> Ds1000Error {
    Ds1000Error::Field {
        path: path.to_owned(),
        line,
        field,
        expected,
        found: format!("{found:?}"),
    }
}

/// A file's bytes, unpacked when it begins as gzip does (RFC 1952, 2.3.1).
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, Ds1000Error> {
    let io = |source| Ds1000Error::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    Ok(if file.fill_buf().map_err(io)?.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::new(MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    })
}

/// Hands each line that isn't blank to `each`, with its number.
pub(super) fn for_each_row(
    mut reader: impl BufRead,
    path: &Path,
    limits: &FileLimits,
    mut each: impl FnMut(usize, &str) -> Result<(), Ds1000Error>,
) -> Result<(), Ds1000Error> {
    let too_large = |line, limit, unit| Ds1000Error::TooLarge {
        path: path.to_owned(),
        line,
        limit,
        unit,
    };
    let (mut total, mut rows) = (0, 0);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let io = |source| Ds1000Error::Io {
            path: path.to_owned(),
            source,
        };
        let read = (&mut reader)
            .take(limits.line_bytes + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(io)?;
        if read == 0 {
            break;
        }
        total += read as u64;
        if read as u64 > limits.line_bytes {
            return Err(too_large(line, limits.line_bytes, "bytes in a line"));
        }
        if total > limits.total_bytes {
            return Err(too_large(line, limits.total_bytes, "bytes in all"));
        }
        let text = std::str::from_utf8(&bytes)
            .map_err(|e| field(path, line, "the line", "UTF-8", &e.to_string()))?;
        if text.trim().is_empty() {
            continue;
        }
        rows += 1;
        if rows > limits.rows {
            return Err(too_large(line, limits.rows as u64, "rows"));
        }
        each(line, text)?;
    }
    Ok(())
}
