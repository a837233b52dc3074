//! Which version of each checker spoke.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::child::Job;
use super::{Checkers, Verdict};
use crate::CodegenError;

/// Time for a program that is asked for its version: a slow start of Python.
const TIME: Duration = Duration::from_secs(20);

/// The version of each tool in `verdict`: what its program says, this crate's own for a built-in
/// check, nothing for a program that doesn't tell.
pub(super) fn of(
    verdict: &Verdict,
    checkers: &Checkers,
) -> Result<BTreeMap<&'static str, String>, CodegenError> {
    let tools: BTreeSet<&'static str> = verdict.files.values().flatten().map(|c| c.tool).collect();
    let mut versions = BTreeMap::new();
    for tool in tools {
        let program = tool.split(' ').next().unwrap_or(tool);
        let job = Job {
            tool,
            program,
            arguments: &["--version"],
            variables: &[],
            folder: &checkers.scratch,
            time: TIME,
        };
        let version = match job.end(checkers)? {
            None => Some(format!("mistral-codegen {}", env!("CARGO_PKG_VERSION"))),
            Some(ended) if ended.succeeded() => line_with_number(&ended.printed()),
            Some(_) => None,
        };
        versions.extend(version.map(|version| (tool, version)));
    }
    Ok(versions)
}

/// The first line with a digit in it: some programs begin with their name alone.
fn line_with_number(printed: &str) -> Option<String> {
    let line = printed
        .lines()
        .find(|line| line.contains(|c: char| c.is_ascii_digit()))?;
    Some(line.trim().chars().take(100).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_tells() {
        let cases = [
            ("ruff 0.12.1\n", Some("ruff 0.12.1")),
            (
                "ShellCheck - shell script analysis tool\nversion: 0.11.0\n",
                Some("version: 0.11.0"),
            ),
            ("no number\n", None),
            ("", None),
        ];
        for (printed, expected) in cases {
            assert_eq!(line_with_number(printed).as_deref(), expected, "{printed}");
        }
    }
}
