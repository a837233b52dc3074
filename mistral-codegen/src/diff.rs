//! What changes when a plan does: its fields, the flags that follow from them, the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mistral_core::files::FileSet;
use mistral_core::plan::Plan;
use mistral_core::reason::Reason;
use serde::Serialize;
use serde_json::Value;
use similar::TextDiff;

use crate::flags::Explained;
use crate::{CodegenError, Options, Target, explain_target, generate};

/// Lines around a change that are shown with it.
const CONTEXT: usize = 2;

/// How the deployments of two plans differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanDiff {
    /// Fields that differ, in the order of their paths. Reasons aren't among them.
    pub fields: Vec<FieldChange>,
    /// Flags of the target's command that differ; none for an engine without flags.
    pub flags: Vec<FlagChange>,
    /// Reasons that only the new plan has: why it was made so.
    pub reasons: Vec<Reason>,
    /// Files that differ, in the order of their paths. `plan.json` isn't among them.
    pub files: Vec<FileChange>,
}

/// A field of the plan that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    /// Its path, such as `limits.context_tokens`.
    pub field: String,
    /// Its old value; `None` when it is new.
    pub from: Option<Value>,
    /// Its new value; `None` when it is gone.
    pub to: Option<Value>,
}

/// A flag that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlagChange {
    /// The flag as the new command has it, or as the old one had it.
    pub flag: Explained,
    /// What happened to it.
    pub change: FlagFate,
}

/// What happened to a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlagFate {
    /// The old command didn't have it.
    Added,
    /// The new command doesn't have it.
    Removed,
    /// It had this value.
    Was(Option<String>),
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Its path.
    pub path: String,
    /// Its lines with two around each change, as `diff -u` prints them.
    pub unified: String,
}

/// How the files of `target` for the plan `new` differ from those for `old`, and why.
///
/// # Errors
/// As [`generate`], for either plan.
pub fn diff(
    target: Target,
    old: &Plan,
    new: &Plan,
    options: &Options,
) -> Result<PlanDiff, CodegenError> {
    let files = changed_files(
        &generate(target, old, options)?,
        &generate(target, new, options)?,
    );
    // An engine without a command has no flags to compare.
    let flags = |plan| explain_target(target, plan).unwrap_or_default();
    Ok(PlanDiff {
        fields: changed_fields(&leaves(old)?, &leaves(new)?),
        flags: changed_flags(&flags(old), &flags(new)),
        reasons: new
            .reasons
            .iter()
            .filter(|reason| !old.reasons.contains(reason))
            .cloned()
            .collect(),
        files,
    })
}

/// Each value of a plan that isn't an object, by its path; reasons are told apart.
fn leaves(plan: &Plan) -> Result<BTreeMap<String, Value>, CodegenError> {
    fn walk(path: &str, value: Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = match path {
                        "" => name,
                        path => format!("{path}.{name}"),
                    };
                    walk(&path, value, into);
                }
            }
            // An absent field and one that is null say the same.
            Value::Null => {}
            value => drop(into.insert(path.to_owned(), value)),
        }
    }
    let mut plan = serde_json::to_value(plan).map_err(|source| CodegenError::Plan { source })?;
    if let Some(fields) = plan.as_object_mut() {
        fields.remove("reasons");
    }
    let mut leaves = BTreeMap::new();
    walk("", plan, &mut leaves);
    Ok(leaves)
}

fn changed_fields(
    old: &BTreeMap<String, Value>,
    new: &BTreeMap<String, Value>,
) -> Vec<FieldChange> {
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = paths
        .into_iter()
        .filter(|path| old.get(*path) != new.get(*path));
    changed
        .map(|path| FieldChange {
            field: path.clone(),
            from: old.get(path).cloned(),
            to: new.get(path).cloned(),
        })
        .collect()
}

fn changed_flags(old: &[Explained], new: &[Explained]) -> Vec<FlagChange> {
    // A flag that is said several times is compared with the same one of the others.
    let pair = |all: &[Explained], nth: usize, flag: &Explained| {
        let mut same = all.iter().filter(|other| other.flag == flag.flag);
        same.nth(nth).cloned()
    };
    let before = |all: &[Explained], at: usize| {
        let same = all[..at].iter().filter(|flag| flag.flag == all[at].flag);
        same.count()
    };
    let gone = |at: &usize| pair(new, before(old, *at), &old[*at]).is_none();
    let removed = (0..old.len()).filter(gone).map(|at| FlagChange {
        flag: old[at].clone(),
        change: FlagFate::Removed,
    });
    let kept = new.iter().enumerate().filter_map(|(at, flag)| {
        let change = match pair(old, before(new, at), flag) {
            None => FlagFate::Added,
            Some(o) if o.value != flag.value => FlagFate::Was(o.value.clone()),
            Some(_) => return None,
        };
        Some(FlagChange {
            flag: flag.clone(),
            change,
        })
    });
    removed.chain(kept).collect()
}

fn changed_files(old: &FileSet, new: &FileSet) -> Vec<FileChange> {
    let paths: BTreeSet<&str> = old
        .iter()
        .chain(new.iter())
        .map(|f| f.path.as_str())
        .collect();
    let text = |files: &FileSet, path: &str| {
        files
            .get(path)
            .map(|file| file.contents.clone())
            .unwrap_or_default()
    };
    let changed = paths.into_iter().filter_map(|path| {
        let (a, b) = (text(old, path), text(new, path));
        if path == "plan.json" || a == b {
            return None;
        }
        let unified = TextDiff::from_lines(&a, &b)
            .unified_diff()
            .context_radius(CONTEXT)
            .to_string();
        Some(FileChange {
            path: path.to_owned(),
            unified,
        })
    });
    changed.collect()
}

impl fmt::Display for PlanDiff {
    /// For people: fields, flags with what they are for, new reasons, then the files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| match value {
            None => "nothing".to_owned(),
            Some(value) => value.to_string(),
        };
        if self.fields.is_empty() && self.files.is_empty() {
            return writeln!(f, "nothing changes");
        }
        for change in &self.fields {
            let (from, to) = (shown(&change.from), shown(&change.to));
            writeln!(f, "{}: {from} -> {to}", change.field)?;
        }
        for FlagChange { flag, change } in &self.flags {
            let value = flag.value.as_deref().unwrap_or("set");
            let what = match change {
                FlagFate::Added => format!("+ {} {value}", flag.flag),
                FlagFate::Removed => format!("- {} {value}", flag.flag),
                FlagFate::Was(old) => {
                    format!(
                        "~ {} {} -> {value}",
                        flag.flag,
                        old.as_deref().unwrap_or("set")
                    )
                }
            };
            writeln!(f, "{what}  ({}: {})", flag.why.field, flag.why.text)?;
        }
        for reason in &self.reasons {
            writeln!(f, "because of {}:", reason.rule)?;
            for (name, fact) in &reason.facts {
                let fact = serde_json::to_string(fact).map_err(|_| fmt::Error)?;
                writeln!(f, "  {name} = {fact}")?;
            }
        }
        for file in &self.files {
            write!(f, "{}\n{}", file.path, file.unified)?;
        }
        Ok(())
    }
}
