//! What can be read off the text of the files: sizes, unfinished marks, unsafe blocks, forbidden words.

use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// The largest file that belongs into a repository that people clone; the model in `assets/` fits.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// How far above an `unsafe` block its reason may begin, in lines.
const SAFETY_REACH: usize = 8;

/// Paths of a developer's machine and addresses of package registries. Written in two halves, so
/// that this table is not found by itself.
const FORBIDDEN: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
    concat!("/tm", "p/"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("https://crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("deb.debian", ".org"),
];

/// Marks of unfinished work.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// What a library never does: it returns errors, and its callers talk to people.
const NOT_IN_LIBRARIES: &[&str] = &[".unwrap()", "panic!(", "println!(", "process::exit"];

/// Every file that git tracks or would track.
pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    for path in files(root)? {
        let full = root.join(&path);
        // A file deleted in the work tree is listed until the deletion is committed.
        let Ok(metadata) = std::fs::metadata(&full) else {
            continue;
        };
        let name = path.to_string_lossy().into_owned();
        if metadata.len() > MAX_FILE_BYTES {
            findings.push(format!(
                "{name}: {} bytes, at most {MAX_FILE_BYTES}",
                metadata.len()
            ));
        }
        let bytes = std::fs::read(&full).map_err(|e| format!("{name}: {e}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            findings.extend(check_text(&name, &text));
        }
    }
    Ok(findings)
}

fn files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .map_err(|e| format!("git ls-files: {e}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", output.status));
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    let mut files: Vec<PathBuf> = listed
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

fn check_text(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if let Some(budget) = line_budget(name) {
        let lines = text.lines().count();
        if lines > budget {
            findings.push(format!("{name}: {lines} lines, at most {budget}"));
        }
    }
    if name.ends_with(".lock") || name.contains("LICENSE") {
        return findings;
    }
    let code = is_code(name);
    let rust = name.ends_with(".rs");
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.iter().position(|line| line.contains("#[cfg(test)]"));
    let library_lines = if is_library(name) {
        tests.unwrap_or(lines.len())
    } else {
        0
    };
    for (index, line) in lines.iter().enumerate() {
        let mut found = |what: String| findings.push(format!("{name}:{}: {what}", index + 1));
        for word in FORBIDDEN.iter().filter(|word| line.contains(**word)) {
            found(format!("{word} does not belong here"));
        }
        if code {
            for mark in UNFINISHED.iter().filter(|mark| has_word(line, mark)) {
                found(format!("unfinished ({mark})"));
            }
        }
        if index < library_lines && !line.trim_start().starts_with("//") {
            for word in NOT_IN_LIBRARIES.iter().filter(|word| line.contains(**word)) {
                found(format!("{word} in a library"));
            }
        }
        if rust {
            if line.trim_start().starts_with("#[ignore]") {
                found("#[ignore] without a reason".into());
            }
            if opens_unsafe(line) && !has_reason(&lines, index) {
                found("unsafe without a SAFETY comment".into());
            }
            if let Some(path) = included(line).filter(|path| leaves_the_crate(name, path)) {
                found(format!(
                    "includes {path}, which its package will not contain"
                ));
            }
        }
    }
    findings
}

/// How many lines a file may have; none for what is data, prose or generated.
fn line_budget(name: &str) -> Option<usize> {
    if name.contains("/templates/") {
        Some(120)
    } else if name.ends_with("/lib.rs") {
        Some(150)
    } else if name.ends_with(".rs") || name.ends_with(".py") {
        Some(800)
    } else if name.ends_with(".cu") || name.ends_with(".wgsl") {
        Some(300)
    } else {
        None
    }
}

fn is_code(name: &str) -> bool {
    let endings = [
        ".rs", ".py", ".sh", ".cu", ".wgsl", ".toml", ".jinja", ".j2",
    ];
    endings.iter().any(|ending| name.ends_with(ending)) || name.starts_with(".ci/")
}

/// Source of a library crate that is no test.
fn is_library(name: &str) -> bool {
    let source = name.starts_with("mistral-") && name.contains("/src/") && name.ends_with(".rs");
    let server = name.starts_with("mistral-codegen/server/");
    let test =
        name.ends_with("/tests.rs") || name.contains("/tests/") || name.contains("/testkit/");
    source && !server && !test
}

fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let after = line[at + word.len()..].chars().next();
        !inside(line[..at].chars().next_back()) && (word.ends_with('(') || !inside(after))
    })
}

fn opens_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.contains(concat!("unsafe", " {")) || code.trim_start().starts_with("unsafe impl")
}

/// A file whose blocks are all sound for one reason says so once, above the first.
fn has_reason(lines: &[&str], index: usize) -> bool {
    let general = lines[..index]
        .iter()
        .any(|line| line.contains("SAFETY of every block below:"));
    general
        || lines[index.saturating_sub(SAFETY_REACH)..=index]
            .iter()
            .any(|line| line.contains("SAFETY:"))
}

/// The path inside `include_str!("…")` or `include_bytes!("…")`.
fn included(line: &str) -> Option<&str> {
    let rest = ["include_str!(\"", "include_bytes!(\""]
        .iter()
        .find_map(|call| line.split_once(call).map(|(_, rest)| rest))?;
    rest.split_once('"').map(|(path, _)| path)
}

/// Whether a path relative to a library's source file leads out of the library's folder.
fn leaves_the_crate(name: &str, path: &str) -> bool {
    if !name.starts_with("mistral-") {
        return false;
    }
    let mut depth = Path::new(name).components().count() as isize - 1;
    for component in Path::new(path).components() {
        depth += if component == Component::ParentDir {
            -1
        } else {
            1
        };
        if depth < 1 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks are put together here, since this file is checked as well.
    #[test]
    fn findings_by_text() {
        let block = concat!("unsafe", " { f() }");
        let rows: &[(&str, String, usize)] = &[
            ("a/src/x.rs", "fn f() {}\n".into(), 0),
            ("a/src/x.rs", "//\n".repeat(801), 1),
            ("a/src/lib.rs", "//\n".repeat(151), 1),
            ("a/templates/x.jinja", "x\n".repeat(121), 1),
            ("a/src/x.cu", "x\n".repeat(301), 1),
            ("a/data/x.json", "x\n".repeat(2000), 0),
            ("a/src/x.rs", format!("    {block}"), 1),
            (
                "a/src/x.rs",
                format!("    // SAFETY: f asks for nothing\n    {block}"),
                0,
            ),
            (
                "a/src/x.rs",
                format!("// SAFETY: too far\n{}{block}", "\n".repeat(9)),
                1,
            ),
            ("a/src/x.rs", concat!("#[ign", "ore]").into(), 1),
            ("a/src/x.rs", "#[ignore = \"needs a GPU\"]".into(), 0),
            ("a/src/x.rs", format!("// {}", UNFINISHED[0]), 1),
            ("a/src/x.rs", format!("let {}S = 1;", UNFINISHED[0]), 0),
            ("a/README.md", format!("see {}x", FORBIDDEN[0]), 1),
            ("Cargo.lock", format!("see {}x", FORBIDDEN[0]), 0),
            (
                "mistral-a/src/m/x.rs",
                concat!("include_", "str!(\"../../data/x\")").into(),
                0,
            ),
            (
                "mistral-a/src/m/x.rs",
                concat!("include_", "str!(\"../../../data/x\")").into(),
                1,
            ),
            (
                "examples/lib.rs",
                concat!("include_", "str!(\"../README.md\")").into(),
                0,
            ),
        ];
        for (name, text, expected) in rows {
            let found = check_text(name, text);
            assert_eq!(found.len(), *expected, "{name}: {text:.80?}: {found:?}");
        }
    }
}
