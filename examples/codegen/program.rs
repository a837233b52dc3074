//! What the program does with its command line.

use std::error::Error;
use std::path::Path;

use mistral_codegen::verify::{Checkers, Verdict, verify};
use mistral_codegen::{FileSet, Plan, Target, diff, generate, report};
use mistral_examples::{Arguments, Outcome, UsageError, print_line, write_beside};
use serde::Serialize;

use super::settings;

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

/// Generates, checks and writes what the arguments ask for.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Box<dyn Error>> {
    let missing = |name| UsageError(format!("--{name} is missing"));
    let plan = read_plan(arguments.required(0, "PLAN.json")?)?;
    let target: Target = arguments
        .text("target")
        .ok_or_else(|| missing("target"))?
        .parse()?;
    settings::refuse_idle(arguments)?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()?;
    let options = settings::options(arguments, &workspace)?;
    if let Some(old) = arguments.text("diff") {
        print!("{}", diff(target, &read_plan(old)?, &plan, &options)?);
        return Ok(Outcome::Good);
    }
    let out = arguments.text("out").ok_or_else(|| missing("out"))?;
    let files = generate(target, &plan, &options)?;
    let verdict = if arguments.switch("verify") {
        let scratch = tempfile::tempdir()?;
        let checkers = settings::checkers(arguments, &workspace, scratch.path().to_owned())?;
        check(target, &files, &checkers)?
    } else {
        Verdict::default()
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
}

fn read_plan(path: &str) -> Result<Plan, String> {
    settings::read_json(path, "a plan")
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

/// Runs the checkers and tells people what they found.
fn check(target: Target, files: &FileSet, checkers: &Checkers) -> Result<Verdict, Box<dyn Error>> {
    let verdict = verify(target, files, checkers)?;
    for (path, checks) in &verdict.files {
        for check in checks.iter().filter(|check| !check.ok) {
            eprintln!("{path}: {} found:\n{}", check.tool, check.detail);
        }
    }
    Ok(verdict)
}
