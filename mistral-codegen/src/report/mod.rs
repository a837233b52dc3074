//! A deployment for people: a tree with a verdict a file, and a page with the plan, what is
//! predicted of it, and its checks.
//!
//! The page is one file without scripts that loads nothing. Texts of a plan and of checkers are
//! escaped.

mod forecast;
mod purpose;

use std::fmt::Write as _;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use mistral_core::files::{FileSet, GeneratedFile};
use mistral_core::plan::Plan;
use serde::Serialize;

pub use forecast::{Forecast, Load, forecast};
pub use purpose::purpose;

use crate::verify::Verdict;
use crate::{Target, explain};

/// One file of a deployment with its verdict.
#[derive(Debug, Serialize)]
struct Row<'a> {
    path: &'a str,
    bytes: usize,
    purpose: &'static str,
    /// `ok`, `failed` or `unchecked`.
    state: &'static str,
    /// The checks that ran: tool, version, what it found.
    checks: Vec<(&'static str, &'a str, bool, &'a str)>,
    /// Checkers that would have read it and aren't installed.
    missing: Vec<&'static str>,
}

fn rows<'a>(files: &'a FileSet, verdict: &'a Verdict) -> Vec<Row<'a>> {
    let row = |file: &'a GeneratedFile| {
        let path = file.path.as_str();
        let version = |tool| verdict.versions.get(tool).map_or("", String::as_str);
        let checks: Vec<_> = verdict
            .of(path)
            .iter()
            .map(|c| (c.tool, version(c.tool), c.ok, c.detail.as_str()))
            .collect();
        let missing = verdict.missing.iter();
        Row {
            path,
            bytes: file.contents.len(),
            purpose: purpose(path).unwrap_or(""),
            state: match (checks.is_empty(), verdict.passed(path)) {
                (true, _) => "unchecked",
                (false, true) => "ok",
                (false, false) => "failed",
            },
            checks,
            missing: missing
                .filter(|(_, paths)| paths.iter().any(|p| p == path))
                .map(|(tool, _)| *tool)
                .collect(),
        }
    };
    files.iter().map(row).collect()
}

/// The files as a tree: a verdict, the name, what the file is for, and who checked it.
///
/// ```text
/// ok         start.sh     starts the engine with the plan's settings [bash -n, shellcheck, flags]
/// ```
#[must_use]
pub fn tree(files: &FileSet, verdict: &Verdict) -> String {
    let rows = rows(files, verdict);
    let depth = |path: &str| 2 * path.matches('/').count();
    let name = |path: &'_ str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let width = rows
        .iter()
        .map(|row| depth(row.path) + name(row.path).len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let mut folder = "";
    for row in &rows {
        let own = row.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if own != folder && !own.is_empty() {
            let indent = " ".repeat(depth(own));
            let _ = writeln!(text, "           {indent}{}/", name(own));
        }
        folder = own;
        let indent = " ".repeat(depth(row.path));
        let width = width - indent.len();
        let _ = write!(
            text,
            "{:<9}  {indent}{:<width$}  {}",
            row.state,
            name(row.path),
            row.purpose
        );
        let tools: Vec<&str> = row.checks.iter().map(|(tool, ..)| *tool).collect();
        if !tools.is_empty() {
            let _ = write!(text, " [{}]", tools.join(", "));
        }
        if !row.missing.is_empty() {
            let _ = write!(text, " (not installed: {})", row.missing.join(", "));
        }
        for (tool, _, _, detail) in row.checks.iter().filter(|(_, _, ok, _)| !ok) {
            let first = detail.lines().next().unwrap_or_default();
            let _ = write!(text, "\n           {indent}  {tool}: {first}");
        }
        text.push('\n');
    }
    text
}

/// The page: the plan with its reasons, what is predicted of it, each flag with its reason, and
/// each file with its checks.
///
/// The same plan, files and verdict give the same bytes.
#[must_use]
pub fn page(target: Target, plan: &Plan, files: &FileSet, verdict: &Verdict) -> String {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_trim_blocks(true);
    templates.set_lstrip_blocks(true);
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates
        .add_template("page", include_str!("page.html"))
        .expect("the template is ours, and a test renders it");
    let view = context! {
        target => target.name(),
        about => target.about(),
        plan => plan,
        flags => explain(plan).unwrap_or_default(),
        forecast => forecast(plan),
        rows => rows(files, verdict),
        all_ok => verdict.ok(),
        checked => !verdict.files.is_empty(),
    };
    templates
        .get_template("page")
        .and_then(|t| t.render(view))
        .expect("the view has all that the template names, and a test renders it")
}
