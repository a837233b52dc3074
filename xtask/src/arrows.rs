//! Which crate may depend on which, and where candle may stand.

use crate::graph::{Features, Package, crates_behind};
use std::path::Path;

/// What a crate may reach.
struct Arrows {
    from: &'static str,
    to: &'static [&'static str],
    /// Reached only through an optional dependency.
    optional: &'static [&'static str],
    /// Whether an optional dependency on candle is allowed.
    candle: bool,
}

/// The whole list. A library that isn't here is a finding, so that a new one gets its line.
const ARROWS: &[Arrows] = &[
    arrows("mistral-core", &[], &[], false),
    arrows("mistral-kernels", &["mistral-core"], &[], true),
    arrows(
        "mistral-infer",
        &["mistral-core", "mistral-kernels"],
        &[],
        true,
    ),
    arrows("mistral-recommend", &["mistral-core"], &[], false),
    arrows("mistral-codegen", &["mistral-core"], &[], false),
    arrows("mistral-docgen", &["mistral-core"], &[], false),
    arrows("mistral-tune", &["mistral-core"], &["mistral-infer"], true),
];

/// Programs of the workspace: they may use every library.
const PROGRAMS: &[&str] = &["mistral-benches", "mistral-examples", "xtask"];

/// Built without candle when their features are the default ones.
const WITHOUT_CANDLE: &[&str] = &[
    "mistral-codegen",
    "mistral-core",
    "mistral-docgen",
    "mistral-examples",
    "mistral-infer",
    "mistral-recommend",
    "mistral-tune",
];

const fn arrows(
    from: &'static str,
    to: &'static [&'static str],
    optional: &'static [&'static str],
    candle: bool,
) -> Arrows {
    Arrows {
        from,
        to,
        optional,
        candle,
    }
}

/// Manifests against the list above, and the metadata that publishing asks for.
pub(crate) fn check(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        if PROGRAMS.contains(&package.name.as_str()) {
            continue;
        }
        match ARROWS.iter().find(|arrows| arrows.from == package.name) {
            Some(allowed) => findings.extend(check_package(package, allowed, packages)),
            None => findings.push(format!(
                "{}: neither a program nor a library with a line in xtask/src/arrows.rs",
                package.name
            )),
        }
        findings.extend(check_metadata(package));
    }
    findings
}

fn check_package(package: &Package, allowed: &Arrows, packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        let name = dependency.name.as_str();
        let ours = packages.iter().any(|p| p.name == name);
        let permitted = if ours {
            allowed.to.contains(&name)
                || (allowed.optional.contains(&name) && (dependency.optional || dependency.dev))
        } else {
            !is_candle(name) || (allowed.candle && (dependency.optional || dependency.dev))
        };
        if !permitted {
            findings.push(format!("{}: no arrow leads to {name}", package.name));
        }
    }
    findings
}

fn check_metadata(package: &Package) -> Vec<String> {
    let mut findings = Vec::new();
    if !package.published {
        findings.push(format!("{}: a library that is not published", package.name));
    }
    if package.license.as_deref() != Some("MIT OR Apache-2.0") {
        findings.push(format!(
            "{}: license is {:?}",
            package.name, package.license
        ));
    }
    if package.description.is_none() || package.readme.is_none() {
        findings.push(format!(
            "{}: publishing asks for description and readme",
            package.name
        ));
    }
    findings
}

fn is_candle(name: &str) -> bool {
    name.starts_with("candle")
}

/// Dependencies and features of the libraries that `ARCHITECTURE.md` does not name in backticks.
pub(crate) fn check_documented(root: &Path, packages: &[Package]) -> Result<Vec<String>, String> {
    let path = root.join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut findings = Vec::new();
    for package in packages.iter().filter(|p| p.published) {
        let dependencies = package.dependencies.iter().map(|d| d.name.as_str());
        let features = package
            .features
            .iter()
            .map(String::as_str)
            .filter(|&f| f != "default");
        for name in dependencies.chain(features) {
            if !text.contains(&format!("`{name}`")) {
                findings.push(format!(
                    "ARCHITECTURE.md: {} uses `{name}`, no line says why",
                    package.name
                ));
            }
        }
    }
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// Crates whose build would compile candle although it must not.
pub(crate) fn check_without_candle(
    root: &Path,
    packages: &[Package],
) -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    let present = |name: &&&str| packages.iter().any(|p| p.name == ***name);
    let default = WITHOUT_CANDLE
        .iter()
        .filter(present)
        .map(|&name| (name, Features::Default));
    for (name, features) in default.chain([("mistral-kernels", Features::NoDefault)]) {
        if let Some(found) = crates_behind(root, name, features)?
            .iter()
            .find(|c| is_candle(c))
        {
            findings.push(format!(
                "{name}: with {features:?} features it compiles {found}"
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Dependency;

    fn library(name: &str, dependency: &str, optional: bool) -> Package {
        Package {
            name: name.into(),
            license: Some("MIT OR Apache-2.0".into()),
            description: Some("text".into()),
            readme: Some("README.md".into()),
            published: true,
            features: Vec::new(),
            dependencies: vec![Dependency {
                name: dependency.into(),
                optional,
                dev: false,
            }],
        }
    }

    #[test]
    fn forbidden_arrows_are_found() {
        let rows = [
            ("mistral-infer", "mistral-kernels", false, 0),
            ("mistral-recommend", "mistral-infer", false, 1),
            ("mistral-recommend", "mistral-infer", true, 1),
            ("mistral-tune", "mistral-infer", true, 0),
            ("mistral-tune", "mistral-infer", false, 1),
            ("mistral-kernels", "candle-core", true, 0),
            ("mistral-kernels", "candle-core", false, 1),
            ("mistral-codegen", "candle-nn", true, 1),
            ("mistral-unheard-of", "serde", false, 1),
        ];
        for (from, to, optional, expected) in rows {
            let mut packages = vec![library(from, to, optional)];
            if to.starts_with("mistral-") {
                packages.push(Package {
                    name: to.into(),
                    ..library("mistral-core", "serde", false)
                });
            }
            let found: Vec<_> = check(&packages)
                .into_iter()
                .filter(|f| f.starts_with(from))
                .collect();
            assert_eq!(
                found.len(),
                expected,
                "{from} -> {to} (optional {optional}): {found:?}"
            );
        }
    }
}
