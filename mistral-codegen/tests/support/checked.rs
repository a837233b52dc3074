//! Files under the real checkers.

use mistral_codegen::verify::{Checkers, Verdict, verify};
use mistral_codegen::{FileSet, Target};

/// What the checkers that are installed say, with what `set` gives them.
pub(crate) fn checked(target: Target, files: &FileSet, set: impl FnOnce(&mut Checkers)) -> Verdict {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut checkers =
        Checkers::from_environment(std::env::vars_os(), scratch.path().to_path_buf());
    set(&mut checkers);
    let verdict = verify(target, files, &checkers).expect("checkers start");
    for (tool, paths) in &verdict.missing {
        let paths = paths.join(", ");
        println!("{}: {tool} is missing; not checked: {paths}", target.name());
    }
    verdict
}

/// What they found, a line a check.
pub(crate) fn findings(verdict: &Verdict) -> Vec<String> {
    let each = verdict.files.iter().flat_map(|(path, checks)| {
        let bad = checks.iter().filter(|check| !check.ok);
        bad.map(move |check| format!("{path}: {}: {}", check.tool, check.detail))
    });
    each.collect()
}
