//! The tools of a chat request: whether the model is told of them, and whether it has to call one.

use serde_json::{Value, json};

use crate::backend::{Count, Form, Function, Tools};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::plan;

/// Whether the model is told of tools, and the form of the answer when it has to call some.
///
/// # Errors
/// [`ApiError`] for messages that aren't a list, tools that can't be read, a choice that names
/// none of them, and tools in a deployment without.
pub fn read(fields: Fields<'_>) -> Result<(Tools, Option<Form>), ApiError> {
    match fields.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => {}
        _ => {
            let message = "expected a list of at least one message";
            return Err(ApiError::invalid("messages", message));
        }
    }
    let tools = match fields.get("tools") {
        None => &[][..],
        Some(Value::Array(tools)) => tools,
        Some(_) => return Err(ApiError::invalid("tools", "expected a list")),
    };
    let one = fields.get("parallel_tool_calls") == Some(&Value::Bool(false));
    let count = if one { Count::One } else { Count::Some };
    let (told, forced) = match fields.get("tool_choice") {
        None => (!tools.is_empty(), None),
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => (!tools.is_empty(), None),
            "none" => (false, None),
            "required" | "any" => {
                let all = tools.iter().map(function).collect::<Result<_, _>>()?;
                (true, Some(Form::Calls(all, count)))
            }
            _ => return Err(unknown_choice()),
        },
        Some(Value::Object(choice)) => {
            let name = choice
                .get("function")
                .and_then(|named| named["name"].as_str());
            let named = named(tools, name.ok_or_else(unknown_choice)?)?;
            (true, Some(Form::Calls(vec![named], Count::One)))
        }
        Some(_) => return Err(unknown_choice()),
    };
    if told && !plan::TOOLS {
        let message = "this deployment was planned without tools";
        return Err(ApiError::unsupported("tools", message));
    }
    if told && tools.is_empty() {
        return Err(ApiError::invalid("tool_choice", "there are no tools"));
    }
    Ok((if told { Tools::Offered } else { Tools::None }, forced))
}

fn unknown_choice() -> ApiError {
    let message = "expected auto, none, required, or an object that names a function";
    ApiError::invalid("tool_choice", message)
}

fn named(tools: &[Value], name: &str) -> Result<Function, ApiError> {
    let found = tools
        .iter()
        .find(|tool| tool["function"]["name"].as_str() == Some(name));
    match found {
        Some(tool) => function(tool),
        None => Err(ApiError::invalid(
            "tool_choice",
            "no tool has the name that it asks for",
        )),
    }
}

fn function(tool: &Value) -> Result<Function, ApiError> {
    let function = &tool["function"];
    let name = function["name"]
        .as_str()
        .ok_or_else(|| ApiError::invalid("tools", "expected each with a function and its name"))?;
    let parameters = match &function["parameters"] {
        Value::Null => json!({"type": "object"}),
        parameters => parameters.clone(),
    };
    Ok(Function {
        name: name.to_owned(),
        parameters,
    })
}
