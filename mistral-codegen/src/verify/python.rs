//! Checks of Python files: does it parse, what do the linters say, do the types fit the libraries.

use std::path::Path;
use std::time::Duration;

use mistral_core::files::{FileSet, GeneratedFile};

use super::child::Job;
use super::{Check, Checkers, Verdict};
use crate::CodegenError;

/// Time for a type check, large libraries read for the first time.
const TYPES_TIME: Duration = Duration::from_secs(400);

/// Style that is the same wherever the files are checked: no configuration of a machine is read.
const STYLE: [&str; 5] = [
    "--isolated",
    "--line-length",
    "100",
    "--target-version",
    "py311",
];

/// Rules of ruff: errors, unused and sorted imports, likely bugs, annotations, docstrings, waiting
/// in what shouldn't wait, and the simpler form where there is one. Lines are the formatter's business.
const RULES: &str =
    "--select=E,F,W,I,B,UP,ANN,SIM,RUF,C4,PTH,D1,BLE,S,ASYNC --ignore=E501,D107,S311";

/// Strict, but for what a library without annotations makes unknown.
const TYPES: [&str; 9] = [
    "--strict",
    "--ignore-missing-imports",
    "--follow-untyped-imports",
    "--allow-untyped-calls",
    "--allow-untyped-decorators",
    "--allow-subclassing-any",
    "--no-color-output",
    "--no-error-summary",
    "--config-file=",
];

/// Checks every Python file of a program.
pub(super) fn check(
    files: &FileSet,
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    let sources: Vec<&str> = files.iter().filter_map(python).collect();
    if sources.is_empty() {
        return Ok(());
    }
    for path in &sources {
        single(path, folder, checkers, verdict)?;
    }
    types(&sources, folder, checkers, verdict)
}

fn python(file: &GeneratedFile) -> Option<&str> {
    let path = file.path.as_str();
    path.ends_with(".py").then_some(path)
}

fn single(
    path: &str,
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    let compile = "import sys; compile(open(sys.argv[1], 'rb').read(), sys.argv[1], 'exec')";
    let rules = RULES.split(' ');
    let lint = ["check", "--no-cache", "--output-format=concise"];
    let lint: Vec<&str> = lint.into_iter().chain(STYLE).chain(rules).collect();
    let format = ["format", "--check", "--no-cache"];
    let format: Vec<&str> = format.into_iter().chain(STYLE).collect();
    for (tool, arguments) in [
        ("python3 compile", &["-I", "-c", compile][..]),
        ("ruff check", &lint[..]),
        ("ruff format", &format[..]),
    ] {
        let arguments: Vec<&str> = arguments.iter().copied().chain([path]).collect();
        let check = Job::new(tool, &arguments, folder).run(checkers)?;
        verdict.add(path, check, tool);
    }
    Ok(())
}

/// One run for all files, since they import each other; each gets the lines that name it.
fn types(
    sources: &[&str],
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    // The libraries that are installed beside the interpreter are read.
    let python = checkers.find("python3");
    let interpreter = python.as_ref().and_then(|path| path.to_str());
    let interpreter = interpreter.map(|path| format!("--python-executable={path}"));
    let mut arguments = TYPES.to_vec();
    arguments.extend(interpreter.as_deref());
    arguments.extend(sources);
    let cache = checkers.scratch.join("mypy");
    let job = Job {
        variables: &[("MYPY_CACHE_DIR", &cache)],
        time: TYPES_TIME,
        ..Job::new("mypy", &arguments, folder)
    };
    let ended = job.end(checkers)?;
    for path in sources {
        let check = ended
            .as_ref()
            .map(|ended| of_file(path, ended.succeeded(), &ended.printed()));
        verdict.add(path, check, "mypy");
    }
    Ok(())
}

/// What a run over several files found in one; a failure that names none is everyone's.
fn of_file(path: &str, ok: bool, printed: &str) -> Check {
    let begins = format!("{path}:");
    let own: Vec<&str> = printed.lines().filter(|l| l.starts_with(&begins)).collect();
    let named = printed.lines().any(|line| line.contains(".py:"));
    Check {
        tool: "mypy",
        ok: ok || (named && own.is_empty()),
        detail: match (ok, named) {
            (true, _) => String::new(),
            (false, true) => own.join("\n"),
            (false, false) => printed.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_belong_to_their_file() {
        let printed = "a.py:3: error: x\nb/a.py:1: error: y";
        let cases = [
            ("a.py", false, printed, false, "a.py:3: error: x"),
            ("b/a.py", false, printed, false, "b/a.py:1: error: y"),
            ("c.py", false, printed, true, ""),
            ("c.py", false, "no such option", false, "no such option"),
            ("c.py", true, "", true, ""),
        ];
        for (path, ended, printed, ok, detail) in cases {
            let check = of_file(path, ended, printed);
            assert_eq!((check.ok, check.detail.as_str()), (ok, detail), "{path}");
        }
    }
}
