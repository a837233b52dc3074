//! Which version of each checker spoke.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::child::{Job, program};
use super::{Checkers, Verdict};
use crate::CodegenError;

/// Time for a program that is asked for its version: a slow start of Python.
const TIME: Duration = Duration::from_secs(20);

/// What programs said, by their path and when they were changed.
type Said = BTreeMap<(PathBuf, Option<SystemTime>), Option<String>>;

/// Kept, since the start of a program takes longer than most checks.
static SAID: Mutex<Said> = Mutex::new(BTreeMap::new());

/// Adds the version of each tool that `verdict` has none of: what its program says; nothing for a
/// program that doesn't tell.
pub(super) fn add(verdict: &mut Verdict, checkers: &Checkers) -> Result<(), CodegenError> {
    let tools: BTreeSet<&'static str> = verdict.files.values().flatten().map(|c| c.tool).collect();
    for tool in tools {
        if verdict.versions.contains_key(tool) {
            continue;
        }
        if let Some(path) = checkers.find(program(tool)) {
            let version = said(tool, path, checkers)?;
            verdict
                .versions
                .extend(version.map(|version| (tool, version)));
        }
    }
    Ok(())
}

/// What the program of this path says, asked once.
fn said(
    tool: &'static str,
    path: PathBuf,
    checkers: &Checkers,
) -> Result<Option<String>, CodegenError> {
    let changed = std::fs::metadata(&path).and_then(|m| m.modified()).ok();
    let key = (path, changed);
    let known = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(version) = known.get(&key) {
        return Ok(version.clone());
    }
    drop(known);
    let version = ask(tool, &checkers.scratch, checkers)?;
    let mut all = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(key, version.clone());
    Ok(version)
}

fn ask(
    tool: &'static str,
    folder: &Path,
    checkers: &Checkers,
) -> Result<Option<String>, CodegenError> {
    let job = Job {
        time: TIME,
        ..Job::new(tool, &["--version"], folder)
    };
    let ended = job.end(checkers)?.filter(|ended| ended.succeeded());
    Ok(ended.and_then(|ended| line_with_version(&ended.printed())))
}

/// The first line with a number such as `1.2`, else the first with a digit: some programs begin with
/// their name, or with the years of their copyright.
fn line_with_version(printed: &str) -> Option<String> {
    let digit = |b: &u8| b.is_ascii_digit();
    let dotted = |line: &&str| {
        let mut parts = line.as_bytes().windows(3);
        parts.any(|part| digit(&part[0]) && part[1] == b'.' && digit(&part[2]))
    };
    let lines = || printed.lines();
    let line =
        (lines().find(dotted)).or_else(|| lines().find(|line| line.bytes().any(|b| digit(&b))))?;
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
            (
                "nvcc: NVIDIA (R) Cuda compiler driver\nCopyright (c) 2005-2025 NVIDIA Corporation\n\
                 Built on Wed_Aug_20_01:58:59_PM_PDT_2025\n\
                 Cuda compilation tools, release 13.0, V13.0.88\n",
                Some("Cuda compilation tools, release 13.0, V13.0.88"),
            ),
            ("tool\nbuild 7\n", Some("build 7")),
            ("no number\n", None),
            ("", None),
        ];
        for (printed, expected) in cases {
            assert_eq!(line_with_version(printed).as_deref(), expected, "{printed}");
        }
    }

    /// A program is asked once, until it is another one; one that has a built-in check's name isn't.
    #[cfg(unix)]
    #[test]
    fn programs_are_asked_once() {
        use super::super::Check;

        let folder = tempfile::tempdir().expect("a folder");
        let asked = folder.path().join("asked");
        // Written by another process: one that this process has open for writing can't be started.
        let script = "for name in a-tool json; do \
            printf '#!/bin/sh\\necho x >>asked\\necho %s 1.5\\n' $name >$name; chmod +x $name; done";
        let written = std::process::Command::new("sh")
            .args(["-c", script])
            .current_dir(folder.path())
            .status();
        assert!(written.expect("sh starts").success());
        let mut checkers =
            Checkers::from_environment(std::env::vars_os(), folder.path().to_owned());
        checkers.path.insert(0, folder.path().to_owned());
        for _ in 0..3 {
            let mut verdict = Verdict::default();
            for tool in ["a-tool check", "no program of that name"] {
                verdict.add("file", Some(Check::of(tool, String::new())), tool);
            }
            verdict.judge("file", "json", String::new());
            verdict.versions.insert("known", "2".to_owned());
            add(&mut verdict, &checkers).expect("asked");
            let own = format!("mistral-codegen {}", env!("CARGO_PKG_VERSION"));
            let expected = [
                ("a-tool check", "a-tool 1.5".to_owned()),
                ("json", own),
                ("known", "2".to_owned()),
            ];
            assert_eq!(verdict.versions, BTreeMap::from(expected));
        }
        let times = std::fs::read_to_string(&asked).expect("asked");
        assert_eq!(times, "x\n");
    }
}
