//! The versions of packages that programs pin.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    source: String,
    date: String,
    packages: BTreeMap<String, String>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../data/python-packages.json"))
        .expect("the embedded table is read by a test")
});

/// A package with the version that programs are written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::targets) struct Package {
    name: String,
    pub(super) version: String,
}

impl Package {
    /// Its line of a requirements file.
    pub(in crate::targets) fn pinned(&self) -> minijinja::Value {
        minijinja::Value::from_safe_string(format!("{}=={}", self.name, self.version))
    }
}

/// The package of this name; with an extra, such as `jax[tpu]`, at the version of the package.
pub(in crate::targets) fn package(name: &'static str) -> Package {
    let listed = name.split('[').next().unwrap_or(name);
    let version = TABLE.packages.get(listed);
    Package {
        name: name.to_owned(),
        version: version
            .expect("a test asks for every package of every target")
            .clone(),
    }
}

/// Where the versions come from, as a sentence.
pub(super) fn checked() -> String {
    format!(
        "The versions were read on {} from {}.",
        TABLE.date, TABLE.source
    )
}
