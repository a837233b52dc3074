//! Asks the model of the plan: `mistral-client chat|stream|tools|schema PROMPT...`
//!
//! Answers go to standard output, what they cost to standard error. Exit status 1 when a request
//! failed, 2 for unusable arguments or settings, 3 when the limit of costs stands in the way.

use std::io::Write as _;
use std::process::ExitCode;

use mistral_client::types::{
    Answer, ChatRequest, ChatResponse, Content, JsonSchema, Message, ResponseFormat, Tool, ToolCall,
};
use mistral_client::{Client, Error, Settings};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const USAGE: &str = "usage: mistral-client chat|stream|tools|schema PROMPT...";
/// Rounds of calls before the model has to answer.
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let prompts: Vec<String> = arguments.collect();
    let known = ["chat", "stream", "tools", "schema"].contains(&command.as_str());
    if !known || prompts.is_empty() {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let settings = match Settings::from_variables(|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let client = Client::new(settings);
    let outcome = run(&client, &command, &prompts);
    let (usd, usage) = client.guard().spent();
    eprintln!(
        "spent {usd:.6} of {} USD: {} prompt and {} answer tokens",
        client.guard().limit_usd(),
        usage.prompt_tokens,
        usage.completion_tokens
    );
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            let over = matches!(error, Error::OverBudget { .. });
            ExitCode::from(if over { 3 } else { 1 })
        }
    }
}

/// Each prompt is a turn of one conversation.
fn run(client: &Client, command: &str, prompts: &[String]) -> Result<(), Error> {
    let mut messages = Vec::new();
    for prompt in prompts {
        messages.push(Message::user(prompt));
        let answer = match command {
            "stream" => stream(client, &messages)?,
            "tools" => tools(client, &mut messages)?,
            "schema" => schema(client, &messages)?,
            _ => {
                let answer = first(client.chat(client.request(messages.clone()))?)?;
                println!("{}", answer.text());
                answer
            }
        };
        messages.push(Message::Assistant(answer));
    }
    Ok(())
}

fn first(response: ChatResponse) -> Result<Answer, Error> {
    let choice = response.choices.into_iter().next();
    choice.map(|c| c.message).ok_or(Error::Empty)
}

fn stream(client: &Client, messages: &[Message]) -> Result<Answer, Error> {
    let mut out = std::io::stdout();
    let response = client.stream(client.request(messages.to_vec()), |piece| {
        // A reader that left doesn't stop the count of what the answer costs.
        let _ = out.write_all(piece.as_bytes());
        let _ = out.flush();
    });
    println!();
    first(response?)
}

/// Lets the model call functions until it answers.
fn tools(client: &Client, messages: &mut Vec<Message>) -> Result<Answer, Error> {
    for _ in 0..ROUNDS {
        let request = ChatRequest {
            tools: vec![word_count_tool()],
            ..client.request(messages.clone())
        };
        let answer = first(client.chat(request)?)?;
        if answer.calls().is_empty() {
            println!("{}", answer.text());
            return Ok(answer);
        }
        messages.push(Message::Assistant(answer.clone()));
        messages.extend(answer.calls().iter().map(result));
    }
    let answer = first(client.chat(client.request(messages.clone()))?)?;
    println!("{}", answer.text());
    Ok(answer)
}

fn word_count_tool() -> Tool {
    let parameters = json!({
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": false,
    });
    Tool::function("word_count", "Counts the words of a text.", parameters)
}

/// The result of a call, for the model to read; what it can't do is told to it.
fn result(call: &ToolCall) -> Message {
    let arguments = call.function.parsed().unwrap_or_default();
    let result = match (call.function.name.as_str(), &arguments["text"]) {
        ("word_count", Value::String(text)) => json!({"words": text.split_whitespace().count()}),
        ("word_count", _) => json!({"error": "expected {\"text\": \"…\"}"}),
        _ => json!({"error": "no such function"}),
    };
    Message::Tool {
        content: Content::Text(result.to_string()),
        tool_call_id: call.id.clone(),
        name: call.function.name.clone(),
    }
}

/// What `schema` asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Summary {
    title: String,
    keywords: Vec<String>,
    mood: Mood,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mood {
    Good,
    Bad,
    Neither,
}

/// An answer that follows a schema, read into a type.
fn schema(client: &Client, messages: &[Message]) -> Result<Answer, Error> {
    let schema = json!({
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "keywords": {"type": "array", "items": {"type": "string"}},
            "mood": {"type": "string", "enum": ["good", "bad", "neither"]},
        },
        "required": ["title", "keywords", "mood"],
        "additionalProperties": false,
    });
    let request = ChatRequest {
        response_format: Some(ResponseFormat::JsonSchema {
            json_schema: JsonSchema {
                name: "summary".to_owned(),
                schema,
                strict: true,
            },
        }),
        ..client.request(messages.to_vec())
    };
    let answer = first(client.chat(request)?)?;
    let form = |source| Error::Form { source };
    let summary: Summary = serde_json::from_str(&answer.text()).map_err(form)?;
    println!("{}", serde_json::to_string(&summary).map_err(form)?);
    Ok(answer)
}
