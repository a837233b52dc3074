//! Writes `data/schemas/*.json` anew: of each definition in a folder, the fields that targets write.
//!
//! `cargo run -p mistral-codegen --example schemas -- FOLDER`. The folder has the definitions that
//! `data/schemas/sources.json` names, as `NAME.yaml` (Kubernetes) or `NAME.json` (other schemas).

use std::error::Error;
use std::path::Path;

use mistral_codegen::verify::objects::digest;
use mistral_codegen::{Target, generate};
use serde::Deserialize;
use serde_json::{Value, json};

#[path = "../tests/support/plans.rs"]
mod plans;

/// Where a schema is from and what it is for.
#[derive(Deserialize)]
struct Source {
    /// The file's name here, without its ending.
    name: String,
    /// What it was read from.
    source: String,
    /// When, as `YYYY-MM-DD`.
    date: String,
    /// API version and kind of a Kubernetes object; else the path of the file that it is for.
    api: Option<String>,
    kind: Option<String>,
    file: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .ok_or("expected a folder of definitions")?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/schemas");
    let sources: Vec<Source> =
        serde_json::from_str(&std::fs::read_to_string(data.join("sources.json"))?)?;
    let documents = documents()?;
    for source in &sources {
        let part = part(source, Path::new(&folder), &documents)?;
        let mut part = match part {
            Some(part) => part,
            None => {
                println!("{}: no definition in {folder}", source.name);
                continue;
            }
        };
        let about = format!(
            "Fields that are written here; their names, types and bounds from {}, {}",
            source.source, source.date
        );
        part["$comment"] = json!(about);
        let mut text = serde_json::to_string_pretty(&part)?;
        text.push('\n');
        std::fs::write(data.join(format!("{}.json", source.name)), &text)?;
        println!("{}: {} bytes", source.name, text.len());
    }
    Ok(())
}

fn part(
    source: &Source,
    folder: &Path,
    documents: &[(String, Value)],
) -> Result<Option<Value>, Box<dyn Error>> {
    if let (Some(api), Some(kind)) = (&source.api, &source.kind) {
        let is = |v: &Value| v["apiVersion"] == **api && v["kind"] == **kind;
        let objects: Vec<&Value> = documents.iter().map(|(_, v)| v).filter(|v| is(v)).collect();
        let Some(schema) = digest::definition(folder, api, kind)? else {
            return Ok(None);
        };
        return Ok(Some(digest::part(&schema, api, kind, &objects)?));
    }
    let place = folder.join(format!("{}.json", source.name));
    if !place.exists() {
        return Ok(None);
    }
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(place)?)?;
    let schema = inlined(&schema, &schema["definitions"], &mut Vec::new());
    let file = source
        .file
        .as_deref()
        .ok_or("a source without api, kind and file")?;
    let of_this = |(path, _): &&(String, Value)| path == file;
    let objects: Vec<&Value> = documents.iter().filter(of_this).map(|(_, v)| v).collect();
    Ok(Some(digest::covering(&schema, &objects, "")?))
}

/// The schema with what its references name in their place; inside of itself a definition allows all.
fn inlined<'s>(schema: &'s Value, definitions: &'s Value, within: &mut Vec<&'s str>) -> Value {
    match schema {
        Value::Object(fields) => {
            if let Some(name) = fields.get("$ref").and_then(Value::as_str) {
                let name = name.trim_start_matches("#/definitions/");
                if within.contains(&name) {
                    return json!({});
                }
                within.push(name);
                let whole = inlined(&definitions[name], definitions, within);
                within.pop();
                return whole;
            }
            let inside = fields.iter().filter(|(key, _)| *key != "definitions");
            inside
                .map(|(key, value)| (key.clone(), inlined(value, definitions, within)))
                .collect()
        }
        Value::Array(items) => items
            .iter()
            .map(|item| inlined(item, definitions, within))
            .collect(),
        other => other.clone(),
    }
}

/// Every YAML and JSON document of every target and sample, with its path.
fn documents() -> Result<Vec<(String, Value)>, Box<dyn Error>> {
    let mut documents = Vec::new();
    for target in Target::ALL {
        for (name, plan, options) in plans::samples() {
            let files = match generate(*target, &plan, &options) {
                Ok(files) => files,
                Err(e) => {
                    println!("{}, {name}: {e}", target.name());
                    continue;
                }
            };
            for file in files.iter() {
                let path = file.path.as_str();
                if path.ends_with(".yaml") {
                    documents.push((path.to_owned(), serde_yaml_ng::from_str(&file.contents)?));
                } else if path.ends_with(".json") {
                    documents.push((path.to_owned(), serde_json::from_str(&file.contents)?));
                }
            }
        }
    }
    Ok(documents)
}
