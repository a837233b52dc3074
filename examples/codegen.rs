//! From a plan to checked deployment files.
//!
//! `codegen PLAN.json --target NAME --out DIR [--verify]` writes the files and prints one line of
//! JSON a file: `{"path","bytes","checks":[{"tool","ok"}]}`. What a checker found, and which
//! checkers aren't installed, goes to standard error. Exit status 0 when every check passed, 1
//! when one didn't, 2 when the arguments or the plan can't be used.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mistral_codegen::verify::{Checkers, Verdict, verify};
use mistral_codegen::{Dependency, FileSet, Options, Target, generate};
use serde::Serialize;

const USAGE: &str = "usage: codegen PLAN.json --target rust|vllm|llama-server --out DIR [--verify]";

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

struct Arguments {
    plan: PathBuf,
    target: Target,
    out: PathBuf,
    verify: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let arguments = arguments()?;
    let text = std::fs::read_to_string(&arguments.plan)
        .map_err(|e| format!("{}: {e}", arguments.plan.display()))?;
    let plan = serde_json::from_str(&text)
        .map_err(|e| format!("{}: expected a plan: {e}", arguments.plan.display()))?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()?;
    let options = Options {
        mistral_infer: Dependency::Path(workspace.join("mistral-infer")),
    };
    let files = generate(arguments.target, &plan, &options)?;
    files.write(&arguments.out)?;
    let verdict = match arguments.verify {
        true => check(arguments.target, &files, &workspace)?,
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
    Ok(verdict.ok())
}

/// Runs the checkers and tells people on standard error what they found.
fn check(target: Target, files: &FileSet, workspace: &Path) -> Result<Verdict, Box<dyn Error>> {
    let scratch = std::env::temp_dir().join(format!("codegen-{}", std::process::id()));
    let mut checkers = Checkers::from_environment(std::env::vars_os(), scratch.clone());
    // The workspace has compiled the same dependencies in the same versions.
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

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let (mut plan, mut target, mut out, mut verify) = (None, None, None, false);
    let mut given = std::env::args_os().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or(USAGE);
        match argument.to_str() {
            Some("--verify") => verify = true,
            Some("--target") => {
                target = Some(value()?.to_string_lossy().parse::<Target>()?);
            }
            Some("--out") => out = Some(PathBuf::from(value()?)),
            Some(flag) if flag.starts_with('-') => {
                return Err(format!("unknown argument {flag}\n{USAGE}").into());
            }
            _ if plan.is_none() => plan = Some(PathBuf::from(argument)),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(Arguments {
        plan: plan.ok_or(USAGE)?,
        target: target.ok_or(USAGE)?,
        out: out.ok_or(USAGE)?,
        verify,
    })
}
