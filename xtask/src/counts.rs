//! How many crates stand behind each of ours, held to a recorded number.

use crate::graph::{Features, Package, crates_behind};
use std::collections::BTreeMap;
use std::path::Path;

/// Where the numbers are kept.
const RECORD: &str = "xtask/dependency-counts.toml";

const HEADER: &str = "\
# Crates compiled for a build of each library alone on Linux, itself not counted. A number that grows
# wants a reason in ARCHITECTURE.md; then `UPDATE_GOLDEN=1 cargo xtask tidy` writes this file.
";

type Counts = BTreeMap<String, BTreeMap<String, usize>>;

/// Libraries whose tree has grown beyond the record; with `update`, the record is written anew.
pub(crate) fn check(
    root: &Path,
    packages: &[Package],
    update: bool,
) -> Result<Vec<String>, String> {
    let counted = count(root, packages)?;
    let path = root.join(RECORD);
    let told = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    if update {
        let table = toml::to_string(&counted).map_err(|e| told(&e))?;
        std::fs::write(&path, format!("{HEADER}\n{table}")).map_err(|e| told(&e))?;
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).map_err(|e| told(&e))?;
    let recorded: Counts = toml::from_str(&text).map_err(|e| told(&e))?;
    Ok(compare(&counted, &recorded))
}

fn count(root: &Path, packages: &[Package]) -> Result<Counts, String> {
    let mut counts = Counts::new();
    for package in packages.iter().filter(|p| p.published) {
        let row = counts.entry(package.name.clone()).or_default();
        let default = crates_behind(root, &package.name, Features::Default)?;
        row.insert("default".into(), default.len());
        let bare = crates_behind(root, &package.name, Features::NoDefault)?;
        row.insert("no-default-features".into(), bare.len());
    }
    Ok(counts)
}

fn compare(counted: &Counts, recorded: &Counts) -> Vec<String> {
    let mut findings = Vec::new();
    for (package, row) in counted {
        for (features, &now) in row {
            match recorded.get(package).and_then(|row| row.get(features)) {
                Some(&before) if now <= before => {}
                Some(&before) => findings.push(format!(
                    "{RECORD}: {package} ({features}) has {now} crates behind it, recorded are {before}"
                )),
                None => findings.push(format!("{RECORD}: no row for {package} ({features})")),
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_and_missing_rows_are_found() {
        let counts = |n: usize| {
            Counts::from([(
                "mistral-core".into(),
                BTreeMap::from([("default".into(), n)]),
            )])
        };
        let rows = [
            (counts(9), 0),
            (counts(8), 1),
            (counts(10), 0),
            (Counts::new(), 1),
        ];
        for (recorded, expected) in rows {
            let found = compare(&counts(9), &recorded);
            assert_eq!(found.len(), expected, "{recorded:?}: {found:?}");
        }
    }
}
