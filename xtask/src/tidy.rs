//! All checks that need no build.

use crate::{arrows, counts, graph, sources};
use std::path::Path;

/// What is wrong, one line each; an error when a check could not run at all.
pub(crate) fn run(root: &Path, update: bool) -> Result<Vec<String>, String> {
    let packages = graph::packages(root)?;
    let mut findings = arrows::check(&packages);
    findings.extend(arrows::check_documented(root, &packages)?);
    findings.extend(arrows::check_without_candle(root, &packages)?);
    findings.extend(counts::check(root, &packages, update)?);
    findings.extend(sources::check(root)?);
    Ok(findings)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() {
        let findings = super::run(&crate::workspace_root(), false).expect("every check can run");
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }
}
