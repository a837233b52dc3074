//! The check of a generated client: its language's tools, then runs against the mock.

use std::path::{Path, PathBuf};

use mistral_core::files::FileSet;
#[cfg(feature = "mock")]
use mistral_core::plan::Plan;

#[cfg(feature = "mock")]
use super::FILE_TIME;
#[cfg(feature = "mock")]
use super::child::Job;
use super::{Checkers, Verdict, rust_project};
use crate::{CodegenError, Target};

/// The check of a client by running it.
const MOCK: &str = "mock";

/// How a client is started.
#[cfg_attr(
    not(feature = "mock"),
    expect(dead_code, reason = "started by the mock's runs alone")
)]
struct Program {
    /// The file that its verdict belongs to.
    main: &'static str,
    command: String,
    arguments: Vec<String>,
}

pub(super) fn check(
    target: Target,
    files: &FileSet,
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    let program = match target {
        Target::ApiRust => rust(folder, checkers, verdict)?,
        _ => return Ok(()),
    };
    // A client that doesn't build has its verdict.
    match program {
        Some(program) => runs(&program, files, folder, checkers, verdict),
        None => Ok(()),
    }
}

fn rust(
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<Option<Program>, CodegenError> {
    rust_project::check(folder, checkers, verdict)?;
    if !verdict.of("Cargo.toml").iter().any(|c| c.ok) {
        return Ok(None);
    }
    let own = folder.join("target");
    let built = checkers.cargo_target.as_deref().unwrap_or(&own);
    // Another project in the same folder may replace the program at any time: the copy stays.
    let program = folder.join("mistral-client");
    std::fs::copy(built.join("release/mistral-client"), &program).map_err(|source| {
        CodegenError::Io {
            path: built.join("release/mistral-client"),
            source,
        }
    })?;
    Ok(Some(Program {
        main: "src/main.rs",
        command: text(program),
        arguments: Vec::new(),
    }))
}

fn text(path: PathBuf) -> String {
    // The folder's name is the caller's: one that isn't text names no program, and is reported.
    path.to_string_lossy().into_owned()
}

/// The plan that the files were made from.
#[cfg(feature = "mock")]
fn plan_of(files: &FileSet) -> Option<Plan> {
    serde_json::from_str(&files.get("plan.json")?.contents).ok()
}

#[cfg(not(feature = "mock"))]
fn runs(
    program: &Program,
    _: &FileSet,
    _: &Path,
    _: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    verdict.add(program.main, None, MOCK);
    Ok(())
}

#[cfg(feature = "mock")]
fn runs(
    program: &Program,
    files: &FileSet,
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    use super::{Check, scenarios};

    let (Some(openapi), Some(plan)) = (&checkers.openapi, plan_of(files)) else {
        verdict.add(program.main, None, MOCK);
        return Ok(());
    };
    if checkers.find(&program.command).is_none() {
        verdict.add(program.main, None, MOCK);
        return Ok(());
    }
    let api = std::sync::Arc::new(super::mock::Api::read(openapi)?);
    let start = |arguments: &[&str], variables: &[(&str, &str)]| {
        let own = program.arguments.iter().map(String::as_str);
        let all: Vec<&str> = own.chain(arguments.iter().copied()).collect();
        let variables: Vec<(&str, &Path)> =
            variables.iter().map(|&(n, v)| (n, Path::new(v))).collect();
        let job = Job {
            tool: MOCK,
            program: &program.command,
            arguments: &all,
            variables: &variables,
            folder,
            time: FILE_TIME,
        };
        job.end(checkers)
    };
    let findings = scenarios::run(&api, &plan, start)?;
    let check = Check {
        tool: MOCK,
        ok: findings.is_empty(),
        detail: findings.join("\n"),
    };
    verdict.add(program.main, Some(check), MOCK);
    Ok(())
}
