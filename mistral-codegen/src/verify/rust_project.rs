//! The check of a cargo project as a whole.

use std::path::Path;

use super::child::Job;
use super::{BUILD_TIME, Checkers, Verdict};
use crate::CodegenError;

pub(super) fn check(
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    if let Some(lock) = &checkers.cargo_lock {
        let copy = folder.join("Cargo.lock");
        std::fs::copy(lock, &copy).map_err(|source| CodegenError::Io {
            path: lock.clone(),
            source,
        })?;
    }
    let own = folder.join("target");
    let target = checkers.cargo_target.as_deref().unwrap_or(&own);
    let job = Job {
        tool: "cargo check",
        program: "cargo",
        arguments: &[
            "check",
            "--release",
            "--all-targets",
            "--offline",
            "--color",
            "never",
        ],
        variables: &[("CARGO_TARGET_DIR", target)],
        folder,
        time: BUILD_TIME,
    };
    verdict.add("Cargo.toml", job.run(checkers)?, job.tool);
    Ok(())
}
