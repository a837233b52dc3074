//! Targets on machines and clusters: their files pass their checkers, which find planted mistakes.

use mistral_codegen::verify::{Checkers, Verdict, verify};
use mistral_codegen::{FileSet, Target, generate};

#[path = "support/plans.rs"]
mod plans;

/// Targets for one machine.
const MACHINES: &[Target] = &[
    Target::Docker,
    Target::Compose,
    Target::Systemd,
    Target::Edge,
    Target::Skypilot,
    Target::Terraform,
];
/// Targets on Kubernetes.
const CLUSTERS: &[Target] = &[
    Target::Kubernetes,
    Target::Kserve,
    Target::LlmD,
    Target::LeaderWorkerSet,
    Target::RayServe,
];

fn checked(target: Target, files: &FileSet) -> Verdict {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut checkers =
        Checkers::from_environment(std::env::vars_os(), scratch.path().to_path_buf());
    // Whole definitions, where somebody has them.
    checkers.definitions = std::env::var_os("CODEGEN_DEFINITIONS").map(Into::into);
    checkers.terraform_providers = std::env::var_os("CODEGEN_PROVIDERS").map(Into::into);
    let verdict = verify(target, files, &checkers).expect("checkers start");
    for tool in verdict.missing.keys() {
        println!("not checked: {tool} is not installed");
    }
    verdict
}

fn failures(verdict: &Verdict) -> Vec<String> {
    let failed = |(path, checks): (&String, &Vec<_>)| {
        let checks: &Vec<mistral_codegen::verify::Check> = checks;
        checks
            .iter()
            .filter(|check| !check.ok)
            .map(|check| format!("{path}: {}: {}", check.tool, check.detail))
            .collect::<Vec<_>>()
    };
    verdict.files.iter().flat_map(failed).collect()
}

#[test]
fn machines_pass_every_checker() {
    samples_pass(MACHINES);
}

#[test]
fn clusters_pass_every_checker() {
    samples_pass(CLUSTERS);
}

fn samples_pass(targets: &[Target]) {
    let mut found = Vec::new();
    for target in targets {
        let mut made = 0;
        for (name, plan, options) in plans::samples() {
            match generate(*target, &plan, &options) {
                Err(e) => println!("{} refuses {name}: {e}", target.name()),
                Ok(files) => {
                    made += 1;
                    let verdict = checked(*target, &files);
                    let name = format!("{}, {name}", target.name());
                    found.extend(
                        failures(&verdict)
                            .iter()
                            .map(|text| format!("{name}: {text}")),
                    );
                }
            }
        }
        assert!(made > 0, "{} makes nothing of any sample", target.name());
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
