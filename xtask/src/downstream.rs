//! Two crates outside the workspace, built and run as a stranger would.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// A program of someone else.
struct Downstream {
    name: &'static str,
    /// The manifest's lines below `[dependencies]`, with `{root}` for the workspace's folder.
    dependencies: &'static str,
    source: &'static str,
    max_lines: usize,
    /// Crates whose name begins so must not be compiled.
    without: &'static str,
}

const PROGRAMS: &[Downstream] = &[
    Downstream {
        name: "routes",
        dependencies: "mistral-kernels = { path = \"{root}/mistral-kernels\", default-features = false }",
        source: include_str!("../downstream/routes.rs"),
        max_lines: 40,
        without: "candle",
    },
    Downstream {
        name: "generates",
        dependencies: "mistral-infer = { path = \"{root}/mistral-infer\" }",
        source: include_str!("../downstream/generates.rs"),
        max_lines: 25,
        without: "candle",
    },
];

/// Builds and runs every program; what it printed and how long it took goes to standard error.
pub(crate) fn run(root: &Path) -> Result<Vec<String>, String> {
    let folder = std::env::temp_dir().join(format!("downstream-{}", std::process::id()));
    let mut findings = Vec::new();
    for program in PROGRAMS {
        let lines = program.source.lines().count();
        if lines >= program.max_lines {
            findings.push(format!(
                "{}: {lines} lines, fewer than {} are promised",
                program.name, program.max_lines
            ));
        }
        let outcome = build_and_run(root, &folder.join(program.name), program);
        findings.extend(
            outcome
                .err()
                .map(|message| format!("{}: {message}", program.name)),
        );
    }
    std::fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(findings)
}

fn build_and_run(root: &Path, folder: &Path, program: &Downstream) -> Result<(), String> {
    write_package(root, folder, program).map_err(|e| format!("{}: {e}", folder.display()))?;
    let tree = cargo(
        root,
        folder,
        &["tree", "-e", "normal,build", "--prefix", "none"],
    )?;
    if let Some(line) = tree.lines().find(|line| line.starts_with(program.without)) {
        return Err(format!("compiles {line}"));
    }
    let start = Instant::now();
    cargo(root, folder, &["build", "--release", "--quiet"])?;
    let built = start.elapsed();
    let model = root.join("assets/tiny-mixtral");
    let printed = cargo(
        root,
        folder,
        &[
            "run",
            "--release",
            "--quiet",
            "--",
            &model.to_string_lossy(),
        ],
    )?;
    eprintln!(
        "{}: built in {:.1} s, printed:\n{printed}",
        program.name,
        built.as_secs_f64()
    );
    if printed.trim().is_empty() {
        return Err("printed nothing".into());
    }
    Ok(())
}

fn write_package(root: &Path, folder: &Path, program: &Downstream) -> std::io::Result<()> {
    let dependencies = program
        .dependencies
        .replace("{root}", &root.to_string_lossy());
    let manifest = format!(
        "[package]\nname = \"{}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n{dependencies}\n",
        program.name
    );
    std::fs::create_dir_all(folder.join("src"))?;
    std::fs::write(folder.join("Cargo.toml"), manifest)?;
    std::fs::write(folder.join("src/main.rs"), program.source)?;
    // The same versions as here, so that nothing newer decides whether this passes.
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    std::fs::copy(
        root.join("rust-toolchain.toml"),
        folder.join("rust-toolchain.toml"),
    )?;
    Ok(())
}

fn cargo(root: &Path, folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("cargo")
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", root.join("target/downstream"))
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
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
