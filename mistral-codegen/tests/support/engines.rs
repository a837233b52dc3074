//! What engines' targets make of plans.

pub(crate) use engine_plan::plan;
use mistral_codegen::{FileSet, Options, Plan, Target, generate};
use serde_json::Value;

#[path = "engine_plan.rs"]
mod engine_plan;

/// The files of that plan, or what the refusal says.
pub(crate) fn made(target: Target, changes: &[(&str, Value)]) -> Result<FileSet, String> {
    generate(target, &plan(target, changes), &Options::default()).map_err(|e| e.to_string())
}

/// A target, changes of the plan, a file, what it has, and what it doesn't have.
pub(crate) type Made<'a> = (
    Target,
    &'a [(&'a str, Value)],
    &'a str,
    &'a [&'a str],
    &'a [&'a str],
);

/// Every row's file has what it should, and nothing that it shouldn't.
pub(crate) fn files_have(rows: &[Made<'_>]) {
    let mut failures = Vec::new();
    for (target, changes, path, has, lacks) in rows {
        let row = format!("{target:?} {path} {changes:?}");
        match made(*target, changes) {
            Err(error) => failures.push(format!("{row}: {error}")),
            Ok(files) => {
                let text = &files.get(path).expect(path).contents;
                for part in has.iter().filter(|part| !text.contains(**part)) {
                    failures.push(format!("{row}: no {part:?} in\n{text}"));
                }
                for part in lacks.iter().filter(|part| text.contains(**part)) {
                    failures.push(format!("{row}: {part:?} in\n{text}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A target, a field, its value, and a part of what is said of it.
pub(crate) type Refused<'a> = (Target, &'a str, Value, &'a str);

/// Every row is refused with what it says.
pub(crate) fn are_refused(rows: &[Refused<'_>]) {
    let mut failures = Vec::new();
    for (target, field, value, part) in rows {
        match made(*target, &[(field, value.clone())]) {
            Ok(_) => failures.push(format!("{target:?} {field} = {value}: accepted")),
            Err(text) if !text.contains(part) => {
                failures.push(format!("{target:?} {field} = {value}: {text}"));
            }
            Err(_) => {}
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The same plan makes the same files, and so does the one that lies among them.
pub(crate) fn make_themselves(targets: &[Target]) {
    for &target in targets {
        let files = made(target, &[]).expect("made");
        assert_eq!(Ok(&files), made(target, &[]).as_ref(), "{target:?}");
        let plan = &files.get("plan.json").expect("plan.json").contents;
        let plan: Plan = serde_json::from_str(plan).expect("a plan");
        let from_file = generate(target, &plan, &Options::default()).expect("made");
        assert_eq!(
            files, from_file,
            "{target:?}: plan.json makes what it lies in"
        );
    }
}
