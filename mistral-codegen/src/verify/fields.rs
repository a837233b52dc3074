//! Checks by the fields that targets write, and by Terraform itself.

use std::path::Path;

use super::child::Job;
use super::{Check, Checkers};
use crate::CodegenError;

/// A checker's name, and the schema of the fields.
type Fields = (&'static str, &'static str);

pub(super) const SKYPILOT: Fields = (
    "check-jsonschema with fields of SkyPilot 0.14.1",
    include_str!("../../data/schemas/skypilot-task.json"),
);
pub(super) const AWS: Fields = (
    "check-jsonschema with fields of hashicorp/aws 5.100.0",
    include_str!("../../data/schemas/terraform-aws.json"),
);
pub(super) const GRAFANA: Fields = (
    "check-jsonschema with fields of Grafana's dashboards",
    include_str!("../../data/schemas/grafana-dashboard.json"),
);
pub(super) const TERRAFORM: &str = "terraform validate";

pub(super) fn check(
    fields: &Fields,
    path: &str,
    folder: &Path,
    checkers: &Checkers,
) -> Result<Option<Check>, CodegenError> {
    let place = checkers.scratch.join("fields.schema.json");
    std::fs::write(&place, fields.1).map_err(CodegenError::io(place))?;
    let arguments = ["--schemafile", "../fields.schema.json", path];
    Job::new(fields.0, &arguments, folder).run(checkers)
}

/// Terraform's own verdict, with the provider that lies at hand.
pub(super) fn terraform(folder: &Path, checkers: &Checkers) -> Result<Option<Check>, CodegenError> {
    let Some(providers) = &checkers.terraform_providers else {
        return Ok(None);
    };
    let plugins = format!("-plugin-dir={}", providers.display());
    let run = |arguments: &[&str]| {
        let job = Job {
            variables: &[("TF_CLI_CONFIG_FILE", Path::new("/dev/null"))],
            ..Job::new(TERRAFORM, arguments, folder)
        };
        job.run(checkers)
    };
    match run(&[
        "init",
        "-backend=false",
        "-input=false",
        "-no-color",
        &plugins,
    ])? {
        Some(check) if check.ok => run(&["validate", "-no-color"]),
        other => Ok(other),
    }
}
