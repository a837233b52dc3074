//! From a plan to checked deployment files: one line of JSON a file.
//!
//! A tree of the files with their verdicts goes to standard error, `--html FILE` makes a page of
//! plan, predictions and checks. With `--verify`, a file that a checker refuses isn't written, and
//! the exit status is 1. `--diff OLD.json` prints what changes between two plans, and why, and
//! writes nothing.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mistral_codegen::verify::{Checkers, Verdict, Witness, verify};
use mistral_codegen::{Dependency, FileSet, Options, Plan, Target, diff, generate, report};
use mistral_examples::{Outcome, UsageError, print_line, run, write_beside};
use serde::Serialize;

const USAGE: &str =
    "PLAN.json --target NAME (--out DIR [--verify] [--html FILE] | --diff OLD.json)";
const OPTIONS: mistral_examples::Options<'static> = mistral_examples::Options {
    valued: &["target", "out", "html", "diff"],
    switches: &["verify"],
    max_positional: 1,
};

/// One line of output.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    bytes: usize,
    checks: Vec<Checked>,
}

#[derive(Serialize)]
struct Checked {
    tool: &'static str,
    ok: bool,
}

fn main() -> ExitCode {
    run(USAGE, &OPTIONS, |arguments| {
        let missing = |name| UsageError(format!("--{name} is missing"));
        let plan = read_plan(arguments.required(0, "PLAN.json")?)?;
        let target: Target = arguments
            .text("target")
            .ok_or_else(|| missing("target"))?
            .parse()?;
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .canonicalize()?;
        let options = Options {
            mistral_infer: Dependency::Path(workspace.join("mistral-infer")),
            ..Options::default()
        };
        if let Some(old) = arguments.text("diff") {
            print!("{}", diff(target, &read_plan(old)?, &plan, &options)?);
            return Ok(Outcome::Good);
        }
        let out = arguments.text("out").ok_or_else(|| missing("out"))?;
        let files = generate(target, &plan, &options)?;
        let verdict = match arguments.switch("verify") {
            true => check(target, &files, &workspace)?,
            false => Verdict::default(),
        };
        verdict.passing(&files).write(Path::new(out))?;
        print_lines(&files, &verdict)?;
        eprint!("{}", report::tree(&files, &verdict));
        if let Some(html) = arguments.text("html") {
            let page = report::page(target, &plan, &files, &verdict);
            write_beside(Path::new(html), &page)?;
        }
        Ok(if verdict.ok() {
            Outcome::Good
        } else {
            Outcome::OutOfTolerance
        })
    })
}

fn read_plan(path: &str) -> Result<Plan, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("{path}: not a plan: {e}"))
}

fn print_lines(files: &FileSet, verdict: &Verdict) -> Result<(), Box<dyn Error>> {
    for file in files.iter() {
        let path = file.path.as_str();
        let checks = verdict.of(path).iter().map(|c| Checked {
            tool: c.tool,
            ok: c.ok,
        });
        print_line(&Line {
            path,
            bytes: file.contents.len(),
            checks: checks.collect(),
        })?;
    }
    Ok(())
}

/// The model in `assets/` with what `mistral-infer` says on it, which a test of this package holds
/// it to.
fn witness(workspace: &Path) -> Result<Witness, Box<dyn Error>> {
    let known = workspace.join("mistral-codegen/tests/data/tiny-mixtral-greedy.json");
    Ok(Witness {
        folder: workspace.join("assets/tiny-mixtral"),
        gguf: None,
        greedy: serde_json::from_str(&std::fs::read_to_string(known)?)?,
    })
}

/// Runs the checkers and tells people what they found.
fn check(target: Target, files: &FileSet, workspace: &Path) -> Result<Verdict, Box<dyn Error>> {
    let scratch = std::env::temp_dir().join(format!("codegen-{}", std::process::id()));
    let mut checkers = Checkers::from_environment(std::env::vars_os(), scratch.clone());
    // The workspace has compiled most of the same dependencies in the same versions.
    let built = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    checkers.cargo_target = Some(built.unwrap_or_else(|| workspace.join("target")));
    checkers.cargo_lock = Some(workspace.join("Cargo.lock"));
    checkers.witness = Some(witness(workspace)?);
    let verdict = verify(target, files, &checkers);
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch)?;
    }
    let verdict = verdict?;
    for (path, checks) in &verdict.files {
        for check in checks.iter().filter(|check| !check.ok) {
            eprintln!("{path}: {} found:\n{}", check.tool, check.detail);
        }
    }
    Ok(verdict)
}
