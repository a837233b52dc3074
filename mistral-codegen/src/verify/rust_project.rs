//! The check of a cargo project as a whole.

use std::path::Path;

use super::child::Job;
use super::{BUILD_TIME, Checkers, Verdict};
use crate::CodegenError;

/// What cargo says when a crate has to be downloaded and may not be.
const NEEDS_NETWORK: &str = "--offline";

pub(super) fn check(
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    if let Some(lock) = &checkers.cargo_lock {
        let copy = folder.join("Cargo.lock");
        std::fs::copy(lock, &copy).map_err(CodegenError::io(lock))?;
    }
    let own = folder.join("target");
    let target = checkers.cargo_target.as_deref().unwrap_or(&own);
    // Built, not only checked: a build shares its dependencies with other builds, and links.
    let build = |arguments: &[&str]| {
        let job = Job {
            variables: &[("CARGO_TARGET_DIR", target)],
            time: BUILD_TIME,
            ..Job::new("cargo build", arguments, folder)
        };
        job.run(checkers)
    };
    let arguments = [
        "build",
        "--release",
        "--all-targets",
        "--color",
        "never",
        "--offline",
    ];
    let mut check = build(&arguments)?;
    if check
        .as_ref()
        .is_some_and(|c| !c.ok && c.detail.contains(NEEDS_NETWORK))
    {
        check = build(&arguments[..arguments.len() - 1])?;
    }
    verdict.add("Cargo.toml", check, "cargo build");
    Ok(())
}
