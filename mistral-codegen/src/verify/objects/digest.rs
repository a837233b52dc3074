//! Schemas of custom resources: whole from their definitions, or the part that covers some objects.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::CodegenError;

/// The schema of `kind` in `api` from the definitions (`*.yaml`) of a folder, made strict: a field
/// that an object of the definition doesn't have is an error. `None` where no file defines it.
///
/// # Errors
/// [`CodegenError::Io`] for a folder or file that can't be read.
pub fn definition(folder: &Path, api: &str, kind: &str) -> Result<Option<Value>, CodegenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| CodegenError::Io { path, source }
    };
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .map_err(io(folder))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(io(&path))?;
        let Ok(value) = serde_yaml_ng::from_str::<Value>(&text) else {
            continue;
        };
        if let Some(schema) = version(&value, api, kind) {
            return Ok(Some(strict(schema, api, kind)));
        }
    }
    Ok(None)
}

/// The schema inside a definition, when it is one of this version and kind.
fn version<'d>(definition: &'d Value, api: &str, kind: &str) -> Option<&'d Value> {
    let spec = &definition["spec"];
    let (group, number) = api.split_once('/')?;
    if definition["kind"] != "CustomResourceDefinition"
        || spec["group"] != group
        || spec["names"]["kind"] != kind
    {
        return None;
    }
    let versions = spec["versions"].as_array()?;
    let found = versions.iter().find(|v| v["name"] == number)?;
    Some(&found["schema"]["openAPIV3Schema"])
}

fn strict(schema: &Value, api: &str, kind: &str) -> Value {
    let mut schema = closed(schema);
    identify(&mut schema, api, kind);
    schema
}

/// What the server checks besides the schema: version and kind.
fn identify(schema: &mut Value, api: &str, kind: &str) {
    schema["properties"]["apiVersion"] = json!({"const": api});
    schema["properties"]["kind"] = json!({"const": kind});
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
}

/// Where a schema says integer or text, as Kubernetes spells it.
const EITHER: &str = "x-kubernetes-int-or-string";
const OPEN: &str = "x-kubernetes-preserve-unknown-fields";

/// A schema whose objects have the fields that it names and no others.
fn closed(schema: &Value) -> Value {
    let Value::Object(fields) = schema else {
        return schema.clone();
    };
    let mut out = Map::new();
    for (key, value) in fields {
        let value = match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                let closed = |(k, v): (&String, &Value)| (k.clone(), closed(v));
                Value::Object(properties.iter().map(closed).collect())
            }
            ("items" | "additionalProperties", value) => closed(value),
            (_, value) => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    if fields.contains_key("properties") && fields.get(OPEN) != Some(&json!(true)) {
        out.entry("additionalProperties").or_insert(json!(false));
    }
    Value::Object(out)
}

/// What a part of a schema keeps of a field: its kind, its bounds and what must be there.
const KEPT: [&str; 11] = [
    "type",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "required",
    "const",
    "format",
];

/// The part of a schema that covers `objects`, strict, without descriptions and patterns.
///
/// # Errors
/// The path of a field that the schema doesn't have.
pub fn part(schema: &Value, api: &str, kind: &str, objects: &[&Value]) -> Result<Value, String> {
    let mut part = covering(schema, objects, "")?;
    identify(&mut part, api, kind);
    Ok(part)
}

/// [`part`] of a schema that has no version and kind.
///
/// # Errors
/// As [`part`].
pub fn covering(schema: &Value, objects: &[&Value], at: &str) -> Result<Value, String> {
    let mut out = Map::new();
    let fields = schema
        .as_object()
        .ok_or_else(|| format!("{at}: no schema"))?;
    for key in KEPT {
        if let Some(value) = fields.get(key) {
            out.insert(key.to_owned(), value.clone());
        }
    }
    if fields.get(EITHER) == Some(&json!(true)) {
        out.insert(
            "anyOf".to_owned(),
            json!([{"type": "integer"}, {"type": "string"}]),
        );
    } else {
        for word in ["anyOf", "oneOf"] {
            if let Some(Value::Array(choices)) = fields.get(word) {
                out.insert(word.to_owned(), json!(fitting(choices, objects, at)?));
            }
        }
    }
    let properties = fields.get("properties").and_then(Value::as_object);
    let others = fields.get("additionalProperties");
    let open = fields.get(OPEN) == Some(&json!(true)) || others == Some(&json!(true));
    let patterned = fields.get("patternProperties").and_then(Value::as_object);
    let mut named = Map::new();
    let mut rest = Vec::new();
    for (key, value) in objects.iter().filter_map(|o| o.as_object()).flatten() {
        match properties.and_then(|p| p.get(key)) {
            Some(_) if named.contains_key(key) => {}
            Some(schema) => {
                let all: Vec<&Value> = objects.iter().filter_map(|o| o.get(key)).collect();
                named.insert(key.clone(), covering(schema, &all, &format!("{at}.{key}"))?);
            }
            None if open => {}
            None if others.is_some_and(Value::is_object) || patterned.is_some() => rest.push(value),
            None if properties.is_none() && others.is_none() => {}
            None => return Err(format!("{at}.{key}: no such field")),
        }
    }
    if let Some(schema) = others.filter(|o| o.is_object()) {
        let values = covering(schema, &rest, &format!("{at}.*"))?;
        out.insert("additionalProperties".to_owned(), values);
    } else if let Some(schema) = patterned.and_then(|p| p.values().next()) {
        let values = covering(schema, &rest, &format!("{at}.*"))?;
        out.insert("additionalProperties".to_owned(), values);
    } else if properties.is_some() && !open {
        out.insert("additionalProperties".to_owned(), json!(false));
    }
    if properties.is_some() {
        out.insert("properties".to_owned(), Value::Object(named));
    }
    if let Some(items) = fields.get("items") {
        let all: Vec<&Value> = objects
            .iter()
            .filter_map(|o| o.as_array())
            .flatten()
            .collect();
        out.insert(
            "items".to_owned(),
            covering(items, &all, &format!("{at}[]"))?,
        );
    }
    Ok(Value::Object(out))
}

/// Of several schemas those that the objects' kinds fit.
fn fitting(choices: &[Value], objects: &[&Value], at: &str) -> Result<Vec<Value>, String> {
    let fits = |choice: &Value, object: &Value| {
        let name = match object {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let is = |kind: &str| kind == name || (kind == "integer" && name == "number");
        match &choice["type"] {
            Value::String(kind) => is(kind),
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(is),
            _ => true,
        }
    };
    let mut kept = Vec::new();
    for choice in choices {
        let of_this: Vec<&Value> = objects
            .iter()
            .copied()
            .filter(|o| fits(choice, o))
            .collect();
        if of_this.is_empty() {
            continue;
        }
        match covering(choice, &of_this, at) {
            Ok(schema) => kept.push(schema),
            Err(_) if choices.len() > 1 => {}
            Err(text) => return Err(text),
        }
    }
    match kept.is_empty() && !objects.is_empty() {
        true => Err(format!("{at}: fits none of the choices")),
        false => Ok(kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_covers_what_is_written_and_no_more() {
        let schema = json!({
            "type": "object", "description": "d", "required": ["a"],
            "properties": {
                "a": {"type": "integer", "description": "d"},
                "b": {"type": "array", "items": {"type": "string", "pattern": "^x$"}},
                "c": {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": true}},
                "d": {"type": "string"},
            },
        });
        let object = json!({"a": 1, "b": ["x"], "c": {"k": "1Gi"}});
        let expected = json!({
            "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": {
                "a": {"type": "integer"},
                "b": {"type": "array", "items": {"type": "string"}},
                "c": {"type": "object", "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "string"}]}},
            },
        });
        assert_eq!(covering(&schema, &[&object], ""), Ok(expected));
        let unknown = json!({"a": 1, "e": 2});
        assert_eq!(
            covering(&schema, &[&unknown], ""),
            Err(".e: no such field".to_owned())
        );
    }
}
