//! Whether a value is a JSON Schema of draft 7.
//!
//! Source: <https://json-schema.org/draft-07/schema>, the meta-schema that `mistral-common` holds
//! tools against. Patterns are checked to be strings; their syntax is left to whoever runs them.

use super::error::SchemaError;
use super::json::Json;

const TYPES: [&str; 7] = [
    "array", "boolean", "integer", "null", "number", "object", "string",
];

/// Checks a schema. The depth of a [`Json`] value from a request is bounded by its reader.
pub(super) fn check(schema: &Json) -> Result<(), SchemaError> {
    check_at(schema, &mut String::new())
}

fn check_at(schema: &Json, path: &mut String) -> Result<(), SchemaError> {
    match schema {
        Json::Bool(_) => Ok(()),
        Json::Object(entries) => entries
            .iter()
            .try_for_each(|(key, value)| within(path, key, |path| keyword(key, value, path))),
        _ => Err(wrong(path, "an object or a boolean")),
    }
}

fn wrong(path: &str, expected: &'static str) -> SchemaError {
    let path = if path.is_empty() { "/" } else { path };
    SchemaError {
        path: path.to_owned(),
        expected,
    }
}

/// Runs a check one level deeper in the path.
fn within(
    path: &mut String,
    key: &str,
    check: impl FnOnce(&mut String) -> Result<(), SchemaError>,
) -> Result<(), SchemaError> {
    let length = path.len();
    path.push('/');
    path.push_str(key);
    let result = check(path);
    path.truncate(length);
    result
}

fn keyword(key: &str, value: &Json, path: &mut String) -> Result<(), SchemaError> {
    let want = |holds: bool, expected| {
        if holds {
            Ok(())
        } else {
            Err(wrong(path, expected))
        }
    };
    match key {
        "$id" | "$schema" | "$ref" | "$comment" | "title" | "description" | "pattern"
        | "format" | "contentMediaType" | "contentEncoding" => {
            want(value.as_str().is_some(), "a string")
        }
        "readOnly" | "uniqueItems" => want(matches!(value, Json::Bool(_)), "a boolean"),
        "examples" | "enum" => want(matches!(value, Json::Array(_)), "a list"),
        "multipleOf" => want(number(value).is_some_and(|n| n > 0.0), "a number above 0"),
        "maximum" | "exclusiveMaximum" | "minimum" | "exclusiveMinimum" => {
            want(number(value).is_some(), "a number")
        }
        "maxLength" | "minLength" | "maxItems" | "minItems" | "maxProperties" | "minProperties" => {
            let count = number(value).is_some_and(|n| n >= 0.0 && n.fract() == 0.0);
            want(count, "a whole number from 0 on")
        }
        "required" => want(unique_strings(value), "a list of strings that differ"),
        "type" => want(
            is_type(value),
            "a type's name, or a list of names that differ",
        ),
        "additionalItems"
        | "contains"
        | "additionalProperties"
        | "propertyNames"
        | "if"
        | "then"
        | "else"
        | "not" => check_at(value, path),
        "items" if matches!(value, Json::Array(_)) => schemas(value, path),
        "items" => check_at(value, path),
        "allOf" | "anyOf" | "oneOf" => schemas(value, path),
        "definitions" | "properties" | "patternProperties" => {
            let Json::Object(entries) = value else {
                return Err(wrong(path, "an object"));
            };
            entries
                .iter()
                .try_for_each(|(name, schema)| within(path, name, |path| check_at(schema, path)))
        }
        "dependencies" => {
            let Json::Object(entries) = value else {
                return Err(wrong(path, "an object"));
            };
            entries.iter().try_for_each(|(name, entry)| {
                within(path, name, |path| match entry {
                    Json::Array(_) if unique_strings(entry) => Ok(()),
                    _ => check_at(entry, path),
                })
            })
        }
        _ => Ok(()),
    }
}

fn schemas(value: &Json, path: &mut String) -> Result<(), SchemaError> {
    match value {
        Json::Array(items) if !items.is_empty() => {
            items.iter().enumerate().try_for_each(|(i, schema)| {
                within(path, &i.to_string(), |path| check_at(schema, path))
            })
        }
        _ => Err(wrong(path, "a list of schemas that is not empty")),
    }
}

fn number(value: &Json) -> Option<f64> {
    match value {
        Json::Int(digits) => digits.parse().ok(),
        Json::Float(value) => Some(*value),
        _ => None,
    }
}

fn unique_strings(value: &Json) -> bool {
    let Json::Array(items) = value else {
        return false;
    };
    let Some(mut names) = items.iter().map(Json::as_str).collect::<Option<Vec<_>>>() else {
        return false;
    };
    names.sort_unstable();
    names.windows(2).all(|pair| pair[0] != pair[1])
}

fn is_type(value: &Json) -> bool {
    let known = |name: &Json| name.as_str().is_some_and(|name| TYPES.contains(&name));
    match value {
        Json::Array(names) => !names.is_empty() && names.iter().all(known) && unique_strings(value),
        name => known(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_schemas_against_draft_7() {
        let cases = [
            (r#"{}"#, None),
            (
                r#"{"type": "object", "properties": {"a": {"type": ["string", "null"]}}}"#,
                None,
            ),
            (r#"{"properties": {"a": true}, "x-other": 5}"#, None),
            (r#"{"items": [{"type": "string"}], "minItems": 1.0}"#, None),
            (
                r#"{"dependencies": {"a": ["b"], "c": {"type": "null"}}}"#,
                None,
            ),
            (r#"{"type": "text"}"#, Some("/type")),
            (r#"{"type": []}"#, Some("/type")),
            (
                r#"{"properties": {"a": {"type": "int"}}}"#,
                Some("/properties/a/type"),
            ),
            (r#"{"properties": []}"#, Some("/properties")),
            (r#"{"properties": {"a": "string"}}"#, Some("/properties/a")),
            (r#"{"required": true}"#, Some("/required")),
            (r#"{"required": ["a", "a"]}"#, Some("/required")),
            (r#"{"minLength": -1}"#, Some("/minLength")),
            (r#"{"minLength": 1.5}"#, Some("/minLength")),
            (r#"{"multipleOf": 0}"#, Some("/multipleOf")),
            (r#"{"enum": "a"}"#, Some("/enum")),
            (r#"{"anyOf": []}"#, Some("/anyOf")),
            (r#"{"anyOf": [{"not": 1}]}"#, Some("/anyOf/0/not")),
            (r#"{"description": 5}"#, Some("/description")),
        ];
        for (schema, expected) in cases {
            let schema = Json::parse(schema).expect("the case is JSON");
            let found = check(&schema).err().map(|error| error.path);
            assert_eq!(found.as_deref(), expected, "{}", schema.dumps());
        }
    }
}
