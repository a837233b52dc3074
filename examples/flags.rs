//! Flags of the engines' versions: checks what others wrote, rewrites commands for another version,
//! says why a plan's command has each flag, and reads the flags of a new version out of its package.
//!
//! ```sh
//! cargo run --example flags -- lint README.md recipes/
//! cargo run --example flags -- migrate --from vllm:0.10.0 --to vllm 'vllm serve m --swap-space 4'
//! cargo run --example flags -- explain PLAN.json --target guidellm
//! cargo run --example flags -- build --engine vllm --package WHEEL --date YYYY-MM-DD
//! ```
//!
//! `lint` and `migrate` print JSON, one line a finding and one line in all; the exit status is 1 when
//! an engine would refuse something or a person has to decide. `build` prints the table.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use mistral_codegen::flags::{self, Finding, FlagTable};
use mistral_codegen::{Plan, explain, explain_target};
use mistral_examples::{Arguments, Outcome, UsageError, print_line, run};
use serde::Serialize;

const USAGE: &str = "lint FILE_OR_FOLDER... [--against ENGINE[:VERSION]] | \
                     migrate --from ENGINE:VERSION --to ENGINE[:VERSION] COMMAND | \
                     explain PLAN.json [--target NAME] | versions | \
                     build --engine NAME --package FILE --date YYYY-MM-DD [--version V] [--source TEXT]";
const OPTIONS: mistral_examples::Options<'static> = mistral_examples::Options {
    valued: &[
        "against", "from", "to", "target", "engine", "package", "date", "version", "source",
    ],
    switches: &[],
    max_positional: 64,
};

/// Files that commands are looked for in.
const TEXTS: &[&str] = &["md", "mdx", "yaml", "yml", "sh", "txt", "json", "rst"];
/// A longer file isn't a page or a recipe.
const MOST_BYTES: u64 = 4 << 20;

fn main() -> ExitCode {
    run(USAGE, &OPTIONS, |arguments| {
        match arguments.required(0, "lint, migrate, explain, versions or build")? {
            "lint" => lint(arguments),
            "migrate" => migrate(arguments),
            "explain" => explained(
                arguments.required(1, "PLAN.json")?,
                arguments.text("target"),
            ),
            "versions" => versions(),
            "build" => build(arguments),
            other => Err(UsageError(format!(
                "expected lint, migrate, explain, versions or build, found {other:?}"
            ))
            .into()),
        }
    })
}

/// One line of output for a finding.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// The last line of `lint`.
#[derive(Default, Serialize)]
struct Total {
    files: usize,
    commands: usize,
    uses: usize,
    skipped: usize,
    unknown: usize,
    removed: usize,
    misread: usize,
    values: usize,
    remarks: usize,
}

fn lint(arguments: &Arguments) -> Result<Outcome, Box<dyn Error>> {
    let tables = against(arguments.text("against"))?;
    let mut total = Total::default();
    let mut files = Vec::new();
    for root in (1..=OPTIONS.max_positional).map_while(|i| arguments.positional(i)) {
        collect(Path::new(root), &mut files)?;
    }
    if files.is_empty() {
        return Err(UsageError("expected a file or folder to check".to_owned()).into());
    }
    for path in &files {
        let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let report = flags::lint(&String::from_utf8_lossy(&bytes), &tables);
        total.files += 1;
        total.commands += report.commands;
        total.uses += report.uses;
        total.skipped += report.skipped;
        let file = path.to_string_lossy();
        for finding in &report.findings {
            match &finding.kind {
                flags::FindingKind::Value { .. } => total.values += 1,
                flags::FindingKind::Unknown => total.unknown += 1,
                flags::FindingKind::Removed { .. } => total.removed += 1,
                flags::FindingKind::Misread { .. } => total.misread += 1,
                _ => total.remarks += 1,
            }
            eprintln!("{file}:{finding}");
            print_line(&Line {
                file: &file,
                finding,
            })?;
        }
    }
    print_line(&total)?;
    let good = total.unknown + total.removed + total.misread + total.values == 0;
    Ok(if good {
        Outcome::Good
    } else {
        Outcome::OutOfTolerance
    })
}

/// The newest table of each engine, or those that were asked for.
fn against(names: Option<&str>) -> Result<Vec<&'static FlagTable>, Box<dyn Error>> {
    if let Some(names) = names {
        let tables: Result<Vec<_>, _> = names.split(',').map(flags::find).collect();
        return Ok(tables?);
    }
    let mut newest: Vec<&'static FlagTable> = Vec::new();
    for table in flags::tables() {
        if !newest.iter().any(|known| known.engine == table.engine) {
            newest.push(table);
        }
    }
    Ok(newest)
}

/// `root` itself, or the texts below it in the order of their names.
fn collect(root: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let told = |e: std::io::Error| format!("{}: {e}", root.display());
    if !root.is_dir() {
        files.push(root.to_path_buf());
        return Ok(());
    }
    let mut entries: Vec<_> = std::fs::read_dir(root)
        .map_err(told)?
        .collect::<Result<_, _>>()
        .map_err(told)?;
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().map_err(told)?);
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let ending = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        let small = || entry.metadata().is_ok_and(|m| m.len() <= MOST_BYTES);
        if kind.is_dir() && !hidden {
            collect(&path, files)?;
        } else if kind.is_file() && TEXTS.contains(&ending) && small() {
            files.push(path);
        }
    }
    Ok(())
}

fn migrate(arguments: &Arguments) -> Result<Outcome, Box<dyn Error>> {
    let missing = |name: &str| UsageError(format!("--{name} is missing"));
    let from = flags::find(arguments.text("from").ok_or_else(|| missing("from"))?)?;
    let to = flags::find(arguments.text("to").ok_or_else(|| missing("to"))?)?;
    let command = arguments.required(1, "a command")?;
    let made = flags::migrate(from, to, &flags::command_words(command))?;
    for change in &made.changes {
        let after = if change.to.is_empty() {
            "left out".to_owned()
        } else {
            change.to.join(" ")
        };
        eprintln!("{} -> {after}: {}", change.from.join(" "), change.why);
    }
    for left in &made.unresolved {
        eprintln!("to decide: {}: {}", left.words.join(" "), left.why);
    }
    let quoted: Result<Vec<String>, _> = made
        .words
        .iter()
        .map(|word| mistral_codegen::quote::shell(word))
        .collect();
    eprintln!("{}", quoted?.join(" "));
    print_line(&made)?;
    let good = made.unresolved.is_empty();
    Ok(if good {
        Outcome::Good
    } else {
        Outcome::OutOfTolerance
    })
}

fn explained(path: &str, target: Option<&str>) -> Result<Outcome, Box<dyn Error>> {
    let text = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
    let plan: Plan = serde_json::from_slice(&text).map_err(|e| format!("{path}: {e}"))?;
    let all = match target {
        Some(target) => explain_target(target.parse()?, &plan)?,
        None => explain(&plan)?,
    };
    for line in all {
        print_line(&line)?;
    }
    Ok(Outcome::Good)
}

fn versions() -> Result<Outcome, Box<dyn Error>> {
    #[derive(Serialize)]
    struct Version<'a> {
        engine: &'a str,
        version: &'a str,
        flags: usize,
        source: &'a str,
        date: &'a str,
    }
    for table in flags::tables() {
        print_line(&Version {
            engine: &table.engine,
            version: &table.version,
            flags: table.flag_count(),
            source: &table.source,
            date: &table.date,
        })?;
    }
    Ok(Outcome::Good)
}

/// Runs the readers, which parse a package's sources and execute nothing of it.
fn build(arguments: &Arguments) -> Result<Outcome, Box<dyn Error>> {
    let codegen = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mistral-codegen");
    let needed = |name: &str| {
        arguments
            .text(name)
            .ok_or_else(|| UsageError(format!("--{name} is missing")))
    };
    let engine = needed("engine")?;
    let mut command = Command::new("python3");
    command.arg(codegen.join("readers")).args([
        engine,
        needed("package")?,
        "--date",
        needed("date")?,
    ]);
    for name in ["version", "source"] {
        if let Some(value) = arguments.text(name) {
            command.arg(format!("--{name}")).arg(value);
        }
    }
    let output = command.output().map_err(|e| format!("python3: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr)
            .trim()
            .to_owned()
            .into());
    }
    let table = String::from_utf8(output.stdout)?;
    let kept = codegen.join(format!("data/{engine}.json"));
    let kept = std::fs::read_to_string(&kept).map_err(|e| format!("{}: {e}", kept.display()))?;
    let read = FlagTable::from_json(&table, &kept)?;
    eprintln!(
        "{} {}: {} flags",
        read.engine,
        read.version,
        read.flag_count()
    );
    print!("{table}");
    Ok(Outcome::Good)
}
