//! The part of an OpenAPI 3.1 document that describes chats, compiled.

use std::path::Path;

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use super::answer;
use crate::CodegenError;

/// The path that is served.
pub(super) const PATH: &str = "/v1/chat/completions";
/// Findings of a validator that are told.
const TOLD: usize = 5;

/// What requests and answers look like.
pub struct Api {
    document: Value,
    request: Validator,
    response: Validator,
    event: Validator,
    response_schema: Value,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

impl Api {
    /// Reads a document from a file.
    ///
    /// # Errors
    /// [`CodegenError::Io`], and as [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Self, CodegenError> {
        let text = std::fs::read_to_string(path).map_err(|source| CodegenError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Reads a document in YAML or JSON.
    ///
    /// # Errors
    /// [`CodegenError::OpenApi`] when it isn't one, or doesn't describe `/v1/chat/completions` with
    /// whole and streamed answers.
    pub fn parse(text: &str) -> Result<Self, CodegenError> {
        let document: Value = serde_yaml_ng::from_str(text).map_err(|e| CodegenError::OpenApi {
            expected: format!("YAML: {e}"),
        })?;
        let chat = &document["paths"][PATH]["post"];
        let good = &chat["responses"]["200"]["content"];
        let schema = |schema: &Value, what: &str| match schema {
            Value::Object(_) => Ok(schema.clone()),
            _ => Err(CodegenError::OpenApi {
                expected: format!("{what} of {PATH}"),
            }),
        };
        let request = schema(
            &chat["requestBody"]["content"]["application/json"]["schema"],
            "a request's schema",
        )?;
        let response = schema(&good["application/json"]["schema"], "an answer's schema")?;
        let event = schema(&good["text/event-stream"]["schema"], "an event's schema")?;
        Ok(Self {
            request: compiled(&document, &request)?,
            response: compiled(&document, &response)?,
            event: compiled(&document, &event)?,
            response_schema: response,
            document,
        })
    }

    /// What is wrong with a request's body.
    #[must_use]
    pub fn flaw(&self, body: &Value) -> Option<String> {
        flaws(&self.request, body)
    }

    /// The answer to a valid request; what is wrong with it when it doesn't follow the document.
    pub(super) fn response(&self, request: &Value) -> Result<Value, String> {
        let mut answer = answer::whole(&self.document, request);
        self.complete(&mut answer);
        match flaws(&self.response, &answer) {
            None => Ok(answer),
            Some(flaw) => Err(format!("the mock's own answer: {flaw}")),
        }
    }

    /// The events of a streamed answer; what is wrong with the first that doesn't follow the
    /// document.
    pub(super) fn events(&self, request: &Value) -> Result<Vec<Value>, String> {
        let events = answer::events(&self.document, request);
        for event in &events {
            if let Some(flaw) = flaws(&self.event, &json!({"data": event})) {
                return Err(format!("the mock's own event: {flaw}"));
            }
        }
        Ok(events)
    }

    /// Adds what the document requires of an answer and this module doesn't know.
    fn complete(&self, answer: &mut Value) {
        let mut required = Vec::new();
        let mut properties = Map::new();
        answer::members(
            &self.document,
            &self.response_schema,
            0,
            &mut required,
            &mut properties,
        );
        if let Value::Object(answer) = answer {
            for name in required {
                let schema = properties.get(&name).cloned().unwrap_or(json!({}));
                answer
                    .entry(name)
                    .or_insert_with(|| answer::instance(&self.document, &schema, 0));
            }
        }
    }
}

/// A schema of the document, its references resolved within the document.
fn compiled(document: &Value, schema: &Value) -> Result<Validator, CodegenError> {
    let mut root = json!({"components": document["components"]});
    root["allOf"] = json!([schema]);
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .build(&root)
        .map_err(|e| CodegenError::OpenApi {
            expected: format!("a JSON schema: {e}"),
        })
}

fn flaws(validator: &Validator, value: &Value) -> Option<String> {
    let found: Vec<String> = validator
        .iter_errors(value)
        .take(TOLD)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    (!found.is_empty()).then(|| found.join("; "))
}
