//! Serves the chats of an OpenAPI document on loopback, for clients to be developed against.
//!
//! ```sh
//! cargo run --example mock_api -- openapi.yaml --port 8080 --acts 429:1,500,answer
//! ```
//!
//! Without a document it takes the excerpt of Mistral's that this repository has. The first line of
//! output has the address; `--print` adds one line a request, with the status that it got. What is
//! done with valid requests is said by `--acts`, one after the other, the last with all that follow:
//! `answer`, `429:SECONDS` to wait, another status such as `500`, `slow:MILLISECONDS` before the
//! answer and each event, `cut:EVENTS` of a stream that ends there, `garbage` instead of JSON.
//! Invalid requests get 422 with the reason. It ends after `--requests N`, else when it is stopped.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mistral_codegen::verify::mock::{Act, Api, Mock};
use mistral_examples::{Arguments, Options, Outcome, UsageError, print_line, run};
use serde_json::json;

const USAGE: &str =
    "[OPENAPI.yaml] [--port N] [--acts ACT,...] [--key-env VARIABLE] [--requests N] [--print]";
const OPTIONS: Options<'static> = Options {
    valued: &["port", "acts", "key-env", "requests"],
    switches: &["print"],
    max_positional: 1,
};
/// How often requests are looked for.
const LOOK: Duration = Duration::from_millis(20);
/// What a client may still be reading when the last request was answered.
const LINGER: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    run(USAGE, &OPTIONS, serve)
}

fn serve(arguments: &Arguments) -> Result<Outcome, Box<dyn Error>> {
    let api = match arguments.positional(0) {
        Some(path) => Api::read(Path::new(path))?,
        None => Api::parse(include_str!("../mistral-codegen/testdata/openapi.yaml"))?,
    };
    let acts: Vec<Act> = arguments
        .text("acts")
        .unwrap_or("answer")
        .split(',')
        .map(|act| {
            act.trim()
                .parse()
                .map_err(|e| UsageError(format!("--acts: {e}")))
        })
        .collect::<Result<_, _>>()?;
    let port: u16 = arguments.value("port", 0)?;
    let most: u64 = arguments.value("requests", u64::MAX)?;
    let mock = Mock::start(Arc::new(api), &key(arguments)?, acts, port)
        .map_err(|e| format!("port {port} of 127.0.0.1: {e}"))?;
    print_line(&json!({"base_url": mock.base_url()}))?;
    let mut answered = 0;
    while answered < most {
        std::thread::sleep(LOOK);
        for seen in mock.take_seen() {
            answered += 1;
            if arguments.switch("print") {
                print_line(&json!({"status": seen.status, "body": seen.body}))?;
            }
        }
    }
    std::thread::sleep(LINGER);
    Ok(Outcome::Good)
}

/// The key that clients have to send, from the environment; none where no variable is named.
fn key(arguments: &Arguments) -> Result<String, UsageError> {
    let Some(name) = arguments.text("key-env") else {
        return Ok(String::new());
    };
    match std::env::var(name) {
        Ok(key) if !key.is_empty() => Ok(key),
        _ => Err(UsageError(format!("--key-env: {name} holds no key"))),
    }
}
