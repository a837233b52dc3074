//! Tokenizer vectors: one row for each file of vectors and tokenizer that they hold for.

use std::error::Error;
use std::path::{Path, PathBuf};

use mistral_examples::vectors::{self, Checked};
use mistral_infer::Tokenizer;
use mistral_infer::tokenizer::ControlTokens;
use serde_json::Value;

use crate::Context;
use crate::report::{Checks, Row, chain};

/// Folder of tokenizer files beside a folder of vectors.
const FILES: &str = "tokenizer_files";
/// What the conversions to `tokenizer.json` are known to miss.
const REPORT: &str = "tokenizer_json_check.json";

/// Runs one file of vectors.
pub(crate) fn run(context: &Context, name: &str, path: &Path) -> Vec<Row> {
    let case = name.strip_suffix(".jsonl").unwrap_or(name);
    let files = match folder_of_files(context, path) {
        Ok(files) => files,
        Err(error) => return vec![failed(case, error.as_ref())],
    };
    let own = || Ok(vectors::tokenizer_for(path, &files)?);
    let mut out = vec![row(case, path, &[], own)];
    if !name.ends_with(".text.jsonl") {
        return out;
    }
    for other in same_vocabulary(path, &files) {
        let stand_in = path.with_file_name(format!("{other}.text.jsonl"));
        let tokenizer = || Ok(vectors::tokenizer_for(&stand_in, &files)?);
        out.push(row(&format!("{case}/{other}"), path, &[], tokenizer));
    }
    for (tokenizer, file) in converted(path, &files) {
        let missed = missed(&files, &tokenizer);
        let case = format!("{case}/{tokenizer}/tokenizer.json");
        out.push(row(&case, path, &missed, || {
            Ok(Tokenizer::from_file(&file)?)
        }));
    }
    out
}

fn failed(case: &str, error: &dyn Error) -> Row {
    let mut checks = Checks::default();
    checks.fail(chain(error));
    checks.into_row(case.to_owned(), "tokenizer")
}

/// The folder given, or the one beside the vectors.
fn folder_of_files(context: &Context, vectors: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let own = vectors.parent().unwrap_or(Path::new("."));
    // A relative path of one part has an empty parent; its canonical form goes on upwards.
    let own = own.canonicalize().unwrap_or_else(|_| own.to_owned());
    let beside = own.parent().unwrap_or(&own);
    let given = context
        .tokenizers
        .iter()
        .flat_map(|dir| [dir.join(FILES), dir.clone()]);
    given
        .chain([own.join(FILES), beside.join(FILES)])
        .find(|folder| folder.is_dir())
        .ok_or_else(|| {
            format!("no folder {FILES} beside the vectors; --tokenizers gives one").into()
        })
}

/// Holds every row of a file to a tokenizer. `missed` are texts that may differ.
fn row(
    case: &str,
    path: &Path,
    missed: &[String],
    tokenizer: impl FnOnce() -> Result<Tokenizer, Box<dyn Error>>,
) -> Row {
    let mut checks = Checks::default();
    let outcome = tokenizer().and_then(|tokenizer| {
        let rows = vectors::read_rows(path)?;
        let checked: Vec<Checked> = rows
            .iter()
            .enumerate()
            .map(|(i, row)| row.check(i, &tokenizer))
            .collect();
        judge(&rows, &checked, missed, &mut checks);
        if path.to_string_lossy().ends_with(".chat.jsonl") {
            readable(&tokenizer, &rows, &checked, &mut checks);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        checks.fail(chain(error.as_ref()));
    }
    checks.into_row(case.to_owned(), "tokenizer")
}

fn judge(rows: &[vectors::Row], checked: &[Checked], missed: &[String], checks: &mut Checks) {
    let mut excused = 0;
    let mut equal = 0;
    for (row, checked) in rows.iter().zip(checked) {
        if checked.ok {
            equal += 1;
        } else if row.text().is_some_and(|text| is_missed(text, missed)) {
            excused += 1;
        } else {
            checks.fail(format!("row {}: {}", checked.id.dumps(), checked.note));
        }
    }
    checks.all_tokens_equal(equal + excused == rows.len());
    checks.remark(format!("{equal} of {} rows equal", rows.len()));
    if excused > 0 {
        checks.remark(format!(
            "{excused} differ that the conversion is known to miss"
        ));
    }
}

/// Chats come with what their ids read like, control tokens by name.
fn readable(
    tokenizer: &Tokenizer,
    rows: &[vectors::Row],
    checked: &[Checked],
    checks: &mut Checks,
) {
    for (row, checked) in rows.iter().zip(checked).filter(|(_, checked)| checked.ok) {
        let Some(expected) = row.text() else { continue };
        let found = tokenizer.decode_with(&checked.ids, ControlTokens::Keep);
        if !found.as_deref().is_ok_and(|found| found == expected) {
            checks.fail(format!(
                "row {}: reads {found:?}, expected {expected:?}",
                checked.id.dumps()
            ));
        }
    }
}

/// Tokenizers with the vocabulary of this file's: other versions of tekken differ in their control
/// tokens only.
fn same_vocabulary(path: &Path, files: &Path) -> Vec<String> {
    let own = stem(path);
    let Some((family, _)) = own.rsplit_once("_v").filter(|_| own.starts_with("tekken")) else {
        return Vec::new();
    };
    let mut names = folders(files);
    if let Ok(text) = std::fs::read_to_string(files.join("tekken_full/tekken_meta.json")) {
        let meta: Value = serde_json::from_str(&text).unwrap_or_default();
        let versions = meta["special_tokens"].as_object().into_iter().flatten();
        names.extend(versions.map(|(version, _)| format!("tekken_{version}")));
    }
    names.sort();
    names.dedup();
    names.retain(|name| name != own && name.rsplit_once("_v").is_some_and(|(f, _)| f == family));
    names
}

/// Names and files of the conversions that hold for this file's vectors.
fn converted(path: &Path, files: &Path) -> Vec<(String, PathBuf)> {
    let mut names = same_vocabulary(path, files);
    names.push(stem(path).to_owned());
    names.sort();
    let with_file = names.into_iter().map(|name| {
        let file = files.join(&name).join("tokenizer.json");
        (name, file)
    });
    with_file.filter(|(_, file)| file.is_file()).collect()
}

/// The texts that the report beside the files lists for a conversion.
fn missed(files: &Path, tokenizer: &str) -> Vec<String> {
    let text = std::fs::read_to_string(files.join(REPORT)).unwrap_or_default();
    let report: Value = serde_json::from_str(&text).unwrap_or_default();
    let entry = [tokenizer.to_owned(), format!("{tokenizer}.prepend")]
        .into_iter()
        .map(|key| &report[key]["mismatch_no_special_parsing"])
        .find_map(Value::as_array);
    let texts = entry.into_iter().flatten();
    texts
        .filter_map(|item| Some(item["text"].as_str()?.to_owned()))
        .collect()
}

/// Whether a text is one of those listed, which are written as Python literals and cut when long.
fn is_missed(text: &str, missed: &[String]) -> bool {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut literal = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            c if c == quote => literal.extend(['\\', c]),
            c => literal.push(c),
        }
    }
    literal.push(quote);
    missed
        .iter()
        .any(|m| *m == literal || (!m.ends_with(quote) && literal.starts_with(m.as_str())))
}

/// `v3` of `v3.text.jsonl`.
fn stem(path: &Path) -> &str {
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    name.split('.').next().unwrap_or(name)
}

fn folders(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
