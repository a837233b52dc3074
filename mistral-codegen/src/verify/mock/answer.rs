//! What the mock says.

use serde_json::{Map, Value, json};

/// Depth of made-up values.
const DEEPEST: u32 = 16;
/// Characters of a streamed piece of text.
const PIECE: usize = 5;
/// When all answers were made, in seconds since 1970.
const CREATED: u64 = 1_700_000_000;

/// What is said to a request: a text, or calls of functions.
struct Said {
    text: String,
    calls: Vec<Value>,
}

impl Said {
    fn finish_reason(&self) -> &'static str {
        if self.calls.is_empty() {
            "stop"
        } else {
            "tool_calls"
        }
    }
}

fn said(document: &Value, request: &Value) -> Said {
    let last = request["messages"].as_array().and_then(|m| m.last());
    let last = last.unwrap_or(&Value::Null);
    let text = |text: String| Said {
        text,
        calls: Vec::new(),
    };
    if last["role"] == "tool" {
        return text(format!("The result is {}", plain(&last["content"])));
    }
    let tool = &request["tools"][0]["function"];
    if tool.is_object() && request["tool_choice"] != "none" {
        let arguments = instance(document, &tool["parameters"], 0).to_string();
        let function = json!({"name": tool["name"], "arguments": arguments});
        let call = json!({"id": "abcDEF123", "type": "function", "function": function, "index": 0});
        return Said {
            text: String::new(),
            calls: vec![call],
        };
    }
    match request["response_format"]["type"].as_str() {
        Some("json_schema") => {
            let schema = &request["response_format"]["json_schema"]["schema"];
            text(instance(document, schema, 0).to_string())
        }
        Some("json_object") => text("{}".to_owned()),
        _ => text(format!("You said: {}", plain(&last["content"]))),
    }
}

/// A content's text.
fn plain(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(chunks) => chunks.iter().filter_map(|c| c["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// Tokens of a request and its answer, four bytes each.
fn usage(request: &Value, said: &Said) -> Value {
    let tokens = |bytes: usize| bytes.div_ceil(4);
    let messages = request["messages"].as_array();
    let prompt: usize = messages
        .into_iter()
        .flatten()
        .map(|m| plain(&m["content"]).len())
        .sum();
    let (prompt, answer) = (tokens(prompt).max(1), tokens(said.text.len()).max(1));
    json!({"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer})
}

/// A whole answer, as far as it is known here.
pub(super) fn whole(document: &Value, request: &Value) -> Value {
    let said = said(document, request);
    let mut message = json!({"role": "assistant", "content": said.text});
    if !said.calls.is_empty() {
        message["tool_calls"] = json!(said.calls);
    }
    json!({
        "id": "mock0000000000000000000000000001",
        "object": "chat.completion",
        "created": CREATED,
        "model": request["model"],
        "usage": usage(request, &said),
        "choices": [{"index": 0, "message": message, "finish_reason": said.finish_reason()}],
    })
}

/// The events of a streamed answer, the last with the tokens.
pub(super) fn events(document: &Value, request: &Value) -> Vec<Value> {
    let said = said(document, request);
    let event = |delta: Value, finish_reason: Value| {
        json!({
            "id": "mock0000000000000000000000000001",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": request["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        })
    };
    let mut events = vec![event(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    let characters: Vec<char> = said.text.chars().collect();
    for piece in characters.chunks(PIECE) {
        let piece: String = piece.iter().collect();
        events.push(event(json!({"content": piece}), Value::Null));
    }
    let mut last = json!({"content": ""});
    if !said.calls.is_empty() {
        last["tool_calls"] = json!(said.calls);
    }
    let mut last = event(last, said.finish_reason().into());
    last["usage"] = usage(request, &said);
    events.push(last);
    events
}

/// A value that a schema allows, for the keywords that chats use; null where nothing is known.
pub(super) fn instance(document: &Value, schema: &Value, depth: u32) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    let schema = resolved(document, schema);
    for known in [&schema["const"], &schema["enum"][0], &schema["default"]] {
        if !known.is_null() {
            return known.clone();
        }
    }
    for several in [&schema["anyOf"][0], &schema["oneOf"][0]] {
        if !several.is_null() {
            return instance(document, several, depth + 1);
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|k| *k != "null").unwrap_or(&Value::Null),
        kind => kind,
    };
    let count = |name: &str| schema[name].as_u64().unwrap_or(0).min(64) as usize;
    match kind.as_str() {
        Some("string") => format!("{:x<1$}", "text", count("minLength")).into(),
        Some("integer") => schema["minimum"].as_i64().unwrap_or(1).into(),
        Some("number") => schema["minimum"].as_f64().unwrap_or(1.0).into(),
        Some("boolean") => true.into(),
        Some("array") => {
            let item = instance(document, &schema["items"], depth + 1);
            vec![item; count("minItems").max(1)].into()
        }
        Some("object") => object(document, schema, depth),
        None if schema["allOf"].is_array() => object(document, schema, depth),
        _ => Value::Null,
    }
}

/// An object with what is required of it.
fn object(document: &Value, schema: &Value, depth: u32) -> Value {
    let (mut required, mut properties) = (Vec::new(), Map::new());
    members(document, schema, depth, &mut required, &mut properties);
    let made = required.into_iter().map(|name| {
        let value = properties
            .get(&name)
            .map_or(Value::Null, |s| instance(document, s, depth + 1));
        (name, value)
    });
    Value::Object(made.collect())
}

/// What an object's schema requires and describes, the parts of `allOf` included.
pub(super) fn members(
    document: &Value,
    schema: &Value,
    depth: u32,
    required: &mut Vec<String>,
    properties: &mut Map<String, Value>,
) {
    let schema = resolved(document, schema);
    let names = schema["required"].as_array().into_iter().flatten();
    required.extend(names.filter_map(Value::as_str).map(str::to_owned));
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        properties.insert(name.clone(), schema.clone());
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        if depth < DEEPEST {
            members(document, part, depth + 1, required, properties);
        }
    }
}

/// A schema behind its references, within the document.
fn resolved<'v>(document: &'v Value, schema: &'v Value) -> &'v Value {
    let mut schema = schema;
    for _ in 0..DEEPEST {
        let Some(path) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')) else {
            return schema;
        };
        schema = document.pointer(path).unwrap_or(&Value::Null);
    }
    schema
}
