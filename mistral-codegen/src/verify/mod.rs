//! Runs on generated files the programs that will read them.
//!
//! | file | checks |
//! |---|---|
//! | `*.sh` | `bash -n`, `shellcheck` |
//! | `start.sh` of an engine | its flags and values, against the engine's table (built in) |
//! | `load-test.sh`, `scenario.json` of GuideLLM | flags and settings, against its table (built in) |
//! | `Modelfile` | a parser after the grammar of Ollama's own (built in) |
//! | `options.yaml` of TensorRT-LLM | names and kinds of its options (built in) |
//! | `Dockerfile` | `hadolint` |
//! | other `*.yaml` of a cluster's target | `kubernetes-validate`, or `check-jsonschema` with the schema of a custom resource's definition; `kubectl kustomize`; what objects say of each other (built in) |
//! | `compose.yaml` | `check-jsonschema` with the Compose specification that it brings along |
//! | `*.json` | a JSON parser (built in) |
//! | `task.yaml` of SkyPilot, `*.tf.json` | `check-jsonschema` with the fields that targets write, from SkyPilot's and the provider's schemas; `terraform validate` where the provider lies at hand |
//! | `dashboard.json` of Grafana, `alerts.yaml`, `prometheus.yaml` | `check-jsonschema` with the fields that are written, from Grafana's schema; `promtool` on rules, configuration and the dashboard's expressions; each metric's name and kind against the engine's table (built in) |
//! | `*.service` | `systemd-analyze verify` in a root folder with the program that the unit starts |
//! | `*.rs` | `rustfmt --check` |
//! | `*.py` | a Python interpreter, `ruff check`, `ruff format`, `mypy` with the libraries that are installed |
//! | a Python program's modules | with [`Checkers::witness`] and its libraries: its tokens on a small model |
//! | `*.cu`, `*.cuh` | rules of the text (built in), `nvcc` for three architectures, the test emulated with `g++` |
//! | `Cargo.toml` | `cargo build --release --all-targets`, which downloads crates only when some are missing |
//!
//! The files are checked in a copy of their own, by child processes with a time limit, a cleared
//! environment, no shell and, where `prlimit` is installed, limits on memory and file sizes. No
//! argument of a command comes from a plan: files have the names that this crate gave them.
//! A program that isn't installed is reported as missing, not as a verdict.

mod api;
mod child;
mod cuda;
mod engine_files;
mod fields;
#[cfg(feature = "mock")]
pub mod mock;
pub mod objects;
mod python;
mod python_run;
mod rust_project;
#[cfg(feature = "mock")]
mod scenarios;
mod single;
mod unit;
mod versions;
mod watching;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mistral_core::files::FileSet;
use mistral_core::plan::Plan;
use serde::Serialize;

use crate::{CodegenError, Target};
pub use python_run::{Greedy, Witness};

pub use cuda::{KernelUse, MOST_SPILLED};

/// Time for a checker of one file.
const FILE_TIME: Duration = Duration::from_secs(60);
/// Time for compiling a project, all dependencies included, on two slow cores.
const BUILD_TIME: Duration = Duration::from_secs(1200);

/// What a checker said of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The checker.
    pub tool: &'static str,
    /// Whether it found nothing.
    pub ok: bool,
    /// The end of what it printed; empty when it found nothing.
    pub detail: String,
}

impl Check {
    /// What a checker that succeeds found; no detail is no finding.
    fn of(tool: &'static str, detail: String) -> Self {
        Self {
            tool,
            ok: detail.is_empty(),
            detail,
        }
    }
}

/// What all checkers said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verdict {
    /// The checks of each file that has any, by path.
    pub files: BTreeMap<String, Vec<Check>>,
    /// Checkers that aren't installed, each with the files that it would have read.
    pub missing: BTreeMap<&'static str, Vec<String>>,
    /// The version of each checker that ran, as it tells it itself; a check that is built in has
    /// this crate's.
    pub versions: BTreeMap<&'static str, String>,
    /// What each CUDA kernel takes on each architecture that it was compiled for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<KernelUse>,
}

impl Verdict {
    /// Whether no checker found anything. Missing checkers don't count.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.files.values().flatten().all(|check| check.ok)
    }

    /// The checks of a file, none for a file without any.
    #[must_use]
    pub fn of(&self, path: &str) -> &[Check] {
        self.files.get(path).map_or(&[], Vec::as_slice)
    }

    /// Whether no checker found anything in this file.
    #[must_use]
    pub fn passed(&self, path: &str) -> bool {
        self.of(path).iter().all(|check| check.ok)
    }

    /// The files that no checker found anything in: those that may be written.
    #[must_use]
    pub fn passing(&self, files: &FileSet) -> FileSet {
        files.retained(|file| self.passed(file.path.as_str()))
    }

    /// The verdict of a check that is built in, which is of this crate's version; no detail is no
    /// finding.
    fn judge(&mut self, path: &str, tool: &'static str, detail: String) {
        let own = concat!("mistral-codegen ", env!("CARGO_PKG_VERSION"));
        self.versions.insert(tool, own.to_owned());
        self.add(path, Some(Check::of(tool, detail)), tool);
    }

    /// The verdict of a program; `None` where it isn't installed.
    fn add(&mut self, path: &str, check: Option<Check>, tool: &'static str) {
        match check {
            Some(check) => self.files.entry(path.to_owned()).or_default().push(check),
            None => self.missing.entry(tool).or_default().push(path.to_owned()),
        }
    }
}

/// Where checkers are found and what they may use.
#[derive(Debug, Clone)]
pub struct Checkers {
    /// Folders with programs, searched in order.
    pub path: Vec<PathBuf>,
    /// The whole environment of each checker, besides `PATH`.
    pub environment: Vec<(OsString, OsString)>,
    /// An empty or new folder for the copy that is checked; its contents are removed afterwards.
    pub scratch: PathBuf,
    /// Where cargo keeps what it compiles; inside the copy, and so compiled anew, when `None`.
    pub cargo_target: Option<PathBuf>,
    /// The interpreter of Python programs, instead of the first `python3` of [`path`](Self::path).
    pub python: Option<PathBuf>,
    /// A small model that programs are run on, with what it is known to say.
    pub witness: Option<Witness>,
    /// A `Cargo.lock` whose versions the Rust project takes; without one cargo chooses among
    /// what it has downloaded before.
    pub cargo_lock: Option<PathBuf>,
    /// A folder with definitions of custom resources (`*.yaml`): objects are held to the whole
    /// schema of one that is there, else to the part of it that this crate keeps.
    pub definitions: Option<PathBuf>,
    /// The OpenAPI document of Mistral's API, from which a server is made that clients are run
    /// against (feature `mock`).
    pub openapi: Option<PathBuf>,
    /// A folder with Terraform's providers, laid out as its `-plugin-dir` wants them: without one
    /// `terraform validate` counts as missing, since it would download them.
    pub terraform_providers: Option<PathBuf>,
}

/// Variables that programs need to find their own files.
const KEPT: [&str; 5] = [
    "HOME",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "TMPDIR",
];

impl Checkers {
    /// Checkers from an environment such as [`std::env::vars_os`] gives it, of which `PATH` and
    /// the variables that cargo and its toolchain need are used.
    pub fn from_environment(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        scratch: PathBuf,
    ) -> Self {
        let mut path = Vec::new();
        let mut environment = Vec::new();
        for (name, value) in variables {
            if name == OsStr::new("PATH") {
                path = std::env::split_paths(&value).collect();
            } else if KEPT.iter().any(|kept| name == OsStr::new(kept)) {
                environment.push((name, value));
            }
        }
        Self {
            path,
            environment,
            scratch,
            python: None,
            witness: None,
            cargo_target: None,
            cargo_lock: None,
            definitions: None,
            openapi: None,
            terraform_providers: None,
        }
    }

    /// The program of this name, from the first folder that has it.
    fn find(&self, program: &str) -> Option<PathBuf> {
        if let Some(python) = self.python.as_ref().filter(|_| program == "python3") {
            return Some(python.clone());
        }
        self.path
            .iter()
            .map(|folder| folder.join(program))
            .find(|path| path.is_file())
    }
}

/// Checks the files of a target.
///
/// # Errors
/// [`CodegenError::Io`] and [`CodegenError::Files`] when the copy can't be written or a checker
/// that is there can't be started. What a checker finds is in the verdict, not an error.
pub fn verify(
    target: Target,
    files: &FileSet,
    checkers: &Checkers,
) -> Result<Verdict, CodegenError> {
    let copy = Copy::new(files, &checkers.scratch)?;
    let mut verdict = Verdict::default();
    for file in files.iter() {
        single::check(target, file, &copy.0, checkers, &mut verdict)?;
    }
    if target.makes_objects() {
        objects::check(files, &copy.0, checkers, &mut verdict)?;
    }
    if matches!(target, Target::Rust | Target::RustEmbed) {
        rust_project::check(&copy.0, checkers, &mut verdict)?;
    }
    if target == Target::Grafana {
        watching::check(files, &copy.0, checkers, &mut verdict)?;
    }
    api::check(target, files, &copy.0, checkers, &mut verdict)?;
    python::check(files, &copy.0, checkers, &mut verdict)?;
    if let Some(witness) = &checkers.witness {
        python_run::check(target, files, witness, checkers, &mut verdict)?;
    }
    if target == Target::Cuda {
        cuda::check(files, &copy.0, checkers, &mut verdict)?;
    }
    versions::add(&mut verdict, checkers)?;
    Ok(verdict)
}

/// The plan that the files were made from.
fn plan_of(files: &FileSet) -> Option<Plan> {
    serde_json::from_str(&files.get("plan.json")?.contents).ok()
}

/// The copy that is checked; removed on drop.
struct Copy(PathBuf);

impl Copy {
    fn new(files: &FileSet, scratch: &Path) -> Result<Self, CodegenError> {
        Self::named(files, scratch, "checked")
    }

    fn named(files: &FileSet, scratch: &Path, name: &str) -> Result<Self, CodegenError> {
        let folder = scratch.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(CodegenError::io(&folder))?;
        }
        let copy = Self(folder);
        std::fs::create_dir_all(&copy.0).map_err(CodegenError::io(&copy.0))?;
        files.write(&copy.0)?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // A copy that can't be removed is in the caller's scratch folder and does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
