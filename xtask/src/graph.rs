//! What cargo knows about the workspace.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The platform whose graph is counted: the numbers must not depend on the machine.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// One package of the workspace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) license: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) readme: Option<String>,
    pub(crate) published: bool,
    pub(crate) features: Vec<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependency tables.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) optional: bool,
    pub(crate) dev: bool,
}

/// The packages of the workspace, by name.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>, String> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1", "--locked"];
    let text = cargo(root, &arguments)?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|e| format!("cargo metadata is not JSON: {e}"))?;
    let listed = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata lists no packages")?;
    let mut packages: Vec<Package> = listed.iter().map(package).collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

fn package(value: &Value) -> Package {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let dependency = |d: &Value| Dependency {
        name: d["name"].as_str().unwrap_or_default().to_owned(),
        optional: d["optional"].as_bool().unwrap_or(false),
        dev: d["kind"].as_str() == Some("dev"),
    };
    Package {
        name: text("name").unwrap_or_default(),
        license: text("license"),
        description: text("description"),
        readme: text("readme"),
        // `publish` is null where nothing forbids it, and an empty list for `publish = false`.
        published: value["publish"]
            .as_array()
            .is_none_or(|registries| !registries.is_empty()),
        features: value["features"]
            .as_object()
            .map(|features| features.keys().cloned().collect())
            .unwrap_or_default(),
        dependencies: value["dependencies"]
            .as_array()
            .map(|list| list.iter().map(dependency).collect())
            .unwrap_or_default(),
    }
}

/// The features with which a package is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Features {
    Default,
    NoDefault,
}

/// `name version` of every crate that a build of `package` alone compiles, itself not counted.
///
/// `cargo tree` and not `cargo metadata`: the latter unites the features of all members, so that
/// candle would seem to stand behind everything that reaches the kernels.
pub(crate) fn crates_behind(
    root: &Path,
    package: &str,
    features: Features,
) -> Result<BTreeSet<String>, String> {
    let mut arguments = vec!["tree", "--locked", "-p", package, "--target", TARGET];
    arguments.extend([
        "-e",
        "normal,build",
        "--prefix",
        "none",
        "--no-dedupe",
        "-f",
        "{p}",
    ]);
    if features == Features::NoDefault {
        arguments.push("--no-default-features");
    }
    let name_and_version = |line: &str| {
        line.split(' ')
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
            .trim()
            .to_owned()
    };
    let mut crates: BTreeSet<String> = cargo(root, &arguments)?
        .lines()
        .filter(|line| !line.is_empty())
        .map(name_and_version)
        .collect();
    crates.retain(|line| line.split(' ').next() != Some(package));
    Ok(crates)
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(root)
        .output()
        .map_err(|e| format!("cargo {}: {e}", arguments.join(" ")))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "cargo {}: {}\n{told}",
            arguments.join(" "),
            output.status
        ));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("cargo {}: {e}", arguments.join(" ")))
}
