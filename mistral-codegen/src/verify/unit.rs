//! The check of a systemd unit.

use std::path::Path;

use mistral_core::files::GeneratedFile;

use super::child::Job;
use super::{Check, Checkers};
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
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(CodegenError::io(parent))?;
        }
        std::fs::write(path, text).map_err(CodegenError::io(path))
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
    let arguments = ["verify", "--man=no", "--root", &at, name];
    let job = Job::new(TOOL, &arguments, folder);
    let ended = job.end(checkers)?;
    Ok(ended.map(|ended| {
        let mut check = job.check(&ended);
        if check.ok {
            // Settings that it doesn't know are only told of.
            let told = ended.printed();
            let told: Vec<&str> = told.lines().filter(|line| line.contains(name)).collect();
            check = Check::of(TOOL, told.join("\n"));
        }
        check
    }))
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
        std::fs::set_permissions(path, mode).map_err(CodegenError::io(path))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
