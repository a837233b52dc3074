//! The check of a generated client: its language's tools, then runs against the mock.

use std::path::{Path, PathBuf};

use mistral_core::files::FileSet;

use super::child::Job;
use super::{BUILD_TIME, Checkers, Verdict, rust_project};
use crate::{CodegenError, Target};

/// The check of a client by running it.
const MOCK: &str = "mock";
/// Time for fetching a compiler with its libraries.
const FETCH_TIME: std::time::Duration = std::time::Duration::from_secs(300);

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
        Target::ApiPython => python(folder, checkers, verdict)?,
        Target::ApiTypescript => typescript(folder, checkers, verdict)?,
        Target::ApiCurl if ["curl", "jq"].iter().any(|t| checkers.find(t).is_none()) => {
            verdict.add("client.sh", None, "curl and jq");
            return Ok(());
        }
        Target::ApiCurl => Some(Program {
            main: "client.sh",
            command: "bash".to_owned(),
            arguments: vec!["client.sh".to_owned()],
        }),
        _ => return Ok(()),
    };
    // A client that doesn't build has its verdict.
    match program {
        Some(program) => runs(&program, files, folder, checkers, verdict),
        None => Ok(()),
    }
}

/// Whether a job found its program and nothing else; its check is added to the file's.
fn passes(
    job: &Job<'_>,
    path: &str,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<bool, CodegenError> {
    let check = job.run(checkers)?;
    let good = check.as_ref().is_some_and(|c| c.ok);
    verdict.add(path, check, job.tool);
    Ok(good)
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
    let made = built.join("release/mistral-client");
    std::fs::copy(&made, &program).map_err(CodegenError::io(made))?;
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

fn python(
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<Option<Program>, CodegenError> {
    let needs = Job::new("python3 with httpx", &["-c", "import httpx"], folder);
    // A library that isn't there is a missing checker, not a finding.
    if needs.end(checkers)?.is_none_or(|e| !e.succeeded()) {
        verdict.add("main.py", None, needs.tool);
        return Ok(None);
    }
    Ok(Some(Program {
        main: "main.py",
        command: "python3".to_owned(),
        arguments: vec!["main.py".to_owned()],
    }))
}

fn typescript(
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<Option<Program>, CodegenError> {
    let fetch = Job {
        time: FETCH_TIME,
        ..Job::new(
            "npm install",
            &[
                "install",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--prefer-offline",
            ],
            folder,
        )
    };
    if !passes(&fetch, "package.json", checkers, verdict)? {
        return Ok(None);
    }
    let compiler = text(folder.join("node_modules/.bin/tsc"));
    let compile = Job {
        program: &compiler,
        time: BUILD_TIME,
        ..Job::new("tsc", &["--project", "."], folder)
    };
    let good = passes(&compile, "tsconfig.json", checkers, verdict)?;
    let version = Job {
        arguments: &["--version"],
        ..compile
    };
    if let Some(version) = version.end(checkers)? {
        verdict.versions.insert("tsc", version.printed());
    }
    Ok(good.then(|| Program {
        main: "src/main.ts",
        command: "node".to_owned(),
        arguments: vec!["dist/main.js".to_owned()],
    }))
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
    use super::{plan_of, scenarios};

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
            program: &program.command,
            variables: &variables,
            ..Job::new(MOCK, &all, folder)
        };
        job.end(checkers)
    };
    let findings = scenarios::run(&api, &plan, start)?;
    verdict.judge(program.main, MOCK, findings.join("\n"));
    Ok(())
}
