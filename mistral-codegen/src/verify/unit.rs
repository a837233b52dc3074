//! The check of a systemd unit.

use std::path::Path;

use mistral_core::files::GeneratedFile;

use super::child::Job;
use super::{Check, Checkers, FILE_TIME};
use crate::CodegenError;

pub(super) const TOOL: &str = "systemd-analyze verify";

/// Runs systemd's own parser on the unit, in a root folder of its own: the engine needn't be
/// installed here, and this machine's units don't matter.
pub(super) fn check(
    file: &GeneratedFile,
    folder: &Path,
    checkers: &Checkers,
) -> Result<Option<Check>, CodegenError> {
    let name = file.path.as_str();
    let root = checkers.scratch.join("root");
    let write = |path: &Path, text: &str| {
        let io = |source| CodegenError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io)?;
        }
        std::fs::write(path, text).map_err(io)
    };
    let unit = root.join("etc/systemd/system").join(name);
    write(&unit, &file.contents)?;
    for needed in [
        "network-online.target",
        "multi-user.target",
        "sysinit.target",
    ] {
        write(&root.join("etc/systemd/system").join(needed), "[Unit]\n")?;
    }
    if let Some(program) = program(&file.contents) {
        let place = root.join(program.trim_start_matches('/'));
        write(&place, "")?;
        make_executable(&place)?;
    }
    let at = root.to_string_lossy().into_owned();
    let job = Job {
        tool: TOOL,
        program: "systemd-analyze",
        arguments: &["verify", "--man=no", "--root", &at, name],
        variables: &[],
        folder,
        time: FILE_TIME,
    };
    let mut check = job.run(checkers)?;
    // Settings that it doesn't know are only told of.
    if let Some(check) = check.as_mut().filter(|check| check.ok) {
        let told = job
            .end(checkers)?
            .map(|ended| ended.stdout + &ended.stderr)
            .unwrap_or_default();
        let told: Vec<&str> = told.lines().filter(|line| line.contains(name)).collect();
        if !told.is_empty() {
            check.ok = false;
            check.detail = told.join("\n");
        }
    }
    Ok(check)
}

/// The program that the unit starts.
fn program(unit: &str) -> Option<&str> {
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))?;
    line.split(' ')
        .next()
        .filter(|program| program.starts_with('/'))
}

fn make_executable(path: &Path) -> Result<(), CodegenError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).map_err(|source| CodegenError::Io {
            path: path.to_owned(),
            source,
        })?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
