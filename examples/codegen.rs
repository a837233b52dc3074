//! From a plan to checked deployment files: one line of JSON a file.
//!
//! What a checker found, and which checkers aren't installed, goes to standard error. Exit status 1
//! when a check failed.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mistral_codegen::verify::{Checkers, Verdict, verify};
use mistral_codegen::{Dependency, FileSet, Options, Target, generate};
use mistral_examples::{Outcome, UsageError, run};
use serde::Serialize;

const USAGE: &str = "PLAN.json --target rust|vllm|llama-server --out DIR [--verify]";
const OPTIONS: mistral_examples::Options<'static> = mistral_examples::Options {
    valued: &["target", "out"],
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
        let path = arguments.required(0, "PLAN.json")?;
        let target: Target = arguments
            .text("target")
            .ok_or_else(|| missing("target"))?
            .parse()?;
        let out = arguments.text("out").ok_or_else(|| missing("out"))?;
        let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
        let plan = serde_json::from_str(&text).map_err(|e| format!("{path}: not a plan: {e}"))?;
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .canonicalize()?;
        let mistral_infer = Dependency::Path(workspace.join("mistral-infer"));
        let options = Options {
            mistral_infer,
            ..Options::default()
        };
        let files = generate(target, &plan, &options)?;
        files.write(Path::new(out))?;
        let verdict = match arguments.switch("verify") {
            true => check(target, &files, &workspace)?,
            false => Verdict::default(),
        };
        for file in files.iter() {
            let path = file.path.as_str();
            let checks = verdict.of(path).iter().map(|c| Checked {
                tool: c.tool,
                ok: c.ok,
            });
            let line = Line {
                path,
                bytes: file.contents.len(),
                checks: checks.collect(),
            };
            println!("{}", serde_json::to_string(&line)?);
        }
        Ok(if verdict.ok() {
            Outcome::Good
        } else {
            Outcome::OutOfTolerance
        })
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
    for (tool, paths) in &verdict.missing {
        eprintln!("{tool} is not installed; not checked: {}", paths.join(", "));
    }
    Ok(verdict)
}
