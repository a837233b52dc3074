//! Kubernetes objects: each by its schema, and together by what they say of each other.
//!
//! Objects of Kubernetes itself go to `kubernetes-validate --strict`. It passes what it doesn't
//! know, so that custom resources are kept from it: they go to `check-jsonschema` with the schema
//! of their definition, whole where [`Checkers::definitions`] has it, else with the part of it in
//! `data/schemas` that covers the fields which targets write. An object that neither knows fails.

pub mod digest;
mod engine;
mod pods;
mod references;

use std::collections::BTreeMap;
use std::path::Path;

use mistral_core::files::FileSet;
use serde_json::Value;

use super::child::Job;
use super::{Checkers, Verdict};
use crate::CodegenError;

/// Groups of Kubernetes' own objects that targets write.
const OWN_GROUPS: [&str; 6] = [
    "v1",
    "apps/v1",
    "autoscaling/v2",
    "networking.k8s.io/v1",
    "policy/v1",
    "rbac.authorization.k8s.io/v1",
];

/// Custom resources: API version, kind, the checker's name with and without the whole definition,
/// and the part of the schema that is kept here.
type Custom = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

macro_rules! custom {
    ($api:literal, $kind:literal, $file:literal) => {
        (
            $api,
            $kind,
            concat!("check-jsonschema with the definition of ", $kind, " ", $api),
            concat!("check-jsonschema with fields of ", $kind, " ", $api),
            include_str!(concat!("../../../data/schemas/", $file, ".json")),
        )
    };
}

const CUSTOM: &[Custom] = &[
    custom!("gateway.networking.k8s.io/v1", "HTTPRoute", "http-route"),
    custom!(
        "inference.networking.k8s.io/v1",
        "InferencePool",
        "inference-pool"
    ),
    custom!(
        "leaderworkerset.x-k8s.io/v1",
        "LeaderWorkerSet",
        "leader-worker-set"
    ),
    custom!("ray.io/v1", "RayService", "ray-service"),
    custom!(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        "inference-service"
    ),
];

/// A document of a file.
pub(super) struct Object<'f> {
    pub(super) path: &'f str,
    pub(super) value: Value,
}

impl Object<'_> {
    pub(super) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    fn api(&self) -> &str {
        self.value["apiVersion"].as_str().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.value["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
    }

    /// The folder that the file lies in, with its `/`.
    pub(super) fn folder(&self) -> &str {
        self.path.rfind('/').map_or("", |at| &self.path[..=at])
    }
}

/// The documents that are objects, in the order of their paths, and the files that can't be read.
fn read(files: &FileSet) -> (Vec<Object<'_>>, Vec<(&str, String)>) {
    let mut objects = Vec::new();
    let mut unreadable = Vec::new();
    for file in files.iter().filter(|f| f.path.as_str().ends_with(".yaml")) {
        let path = file.path.as_str();
        match serde_yaml_ng::from_str::<Value>(&file.contents) {
            Err(e) => unreadable.push((path, e.to_string())),
            Ok(value) => objects.push(Object { path, value }),
        }
    }
    (objects, unreadable)
}

/// Checks every object of a target whose YAML files are Kubernetes objects.
pub(super) fn check(
    files: &FileSet,
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    let (objects, unreadable) = read(files);
    for (path, error) in unreadable {
        verdict.judge(path, "yaml", error);
    }
    // One run of a checker for all files that it reads: most of its time is its start.
    let mut batches: BTreeMap<(&'static str, Vec<String>), Vec<&str>> = BTreeMap::new();
    for object in objects.iter().filter(|o| !o.path.ends_with(".values.yaml")) {
        match checker(object, checkers)? {
            Ok(batch) => batches.entry(batch).or_default().push(object.path),
            Err(text) => verdict.judge(object.path, "schema", text),
        }
    }
    for ((tool, arguments), paths) in batches {
        run(tool, &arguments, &paths, folder, checkers, verdict)?;
    }
    let findings = references::findings(files, &objects);
    for object in &objects {
        let of_this: Vec<&str> = findings
            .iter()
            .filter(|(path, _)| *path == object.path)
            .map(|(_, text)| text.as_str())
            .collect();
        verdict.judge(object.path, "references", of_this.join("\n"));
    }
    Ok(())
}

/// Which checker reads an object, and its arguments before the file's path; for an object that none
/// knows, what is wrong.
fn checker(
    object: &Object<'_>,
    checkers: &Checkers,
) -> Result<Result<(&'static str, Vec<String>), String>, CodegenError> {
    let (api, kind) = (object.api(), object.kind());
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
    if OWN_GROUPS.contains(&api) {
        let arguments = words(&["--strict", "--no-warn", "-k", VERSION]);
        return Ok(Ok(("kubernetes-validate --strict", arguments)));
    }
    if kind == "Kustomization" {
        return Ok(Ok((KUSTOMIZE, words(&["kustomize"]))));
    }
    let Some((_, _, whole, part, kept)) = CUSTOM.iter().find(|c| c.0 == api && c.1 == kind) else {
        return Ok(Err(format!("no schema is known for {kind} of {api}")));
    };
    let given = match &checkers.definitions {
        Some(definitions) => digest::definition(definitions, api, kind)?,
        None => None,
    };
    let (tool, text) = match given {
        Some(schema) => (whole, schema.to_string()),
        None => (part, (*kept).to_owned()),
    };
    let name = format!("{}.schema.json", kind.to_ascii_lowercase());
    let place = checkers.scratch.join(&name);
    std::fs::write(&place, text).map_err(|source| CodegenError::Io {
        path: place,
        source,
    })?;
    // Beside the copy of the files, so that it isn't one of them.
    Ok(Ok((tool, words(&["--schemafile", &format!("../{name}")]))))
}

/// Runs a checker on several files at once, and on each by itself when it finds anything.
fn run(
    tool: &'static str,
    arguments: &[String],
    paths: &[&str],
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    let run = |paths: &[&str]| {
        let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        words.extend(paths);
        Job::new(tool, &words, folder).run(checkers)
    };
    let together = match tool {
        KUSTOMIZE => None,
        _ => run(paths)?.filter(|check| check.ok),
    };
    for path in paths {
        let check = match &together {
            Some(check) => Some(check.clone()),
            // This one takes a folder.
            None if tool == KUSTOMIZE => run(&[path.rfind('/').map_or(".", |at| &path[..at])])?,
            None => run(&[path])?,
        };
        verdict.add(path, check, tool);
    }
    Ok(())
}

const KUSTOMIZE: &str = "kubectl kustomize";

/// The version of Kubernetes whose schemas hold.
const VERSION: &str = "1.34";
