//! The interface, as a client sees it.

mod support;

use std::io::{Read as _, Write as _};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mistral_server::plan;
use serde_json::{Value, json};
use support::{CONTEXT, KEY, Server, eventually, parts, request};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

fn chat(content: &str, more: &[(&str, Value)]) -> String {
    let mut body = json!({"messages": [{"role": "user", "content": content}]});
    for (name, value) in more {
        body[*name] = value.clone();
    }
    body.to_string()
}

fn schema(schema: Value) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
}

fn json_of(answer: (u16, String)) -> Value {
    assert_eq!(answer.0, 200, "{}", answer.1);
    serde_json::from_str(&answer.1).expect("JSON")
}

/// The data of each event of a stream.
fn events(body: &str) -> Vec<String> {
    // Chunk lengths of the transfer encoding stand between events on lines of their own.
    body.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn answers() {
    let server = Server::start();
    let whole = json_of(server.post(CHAT, &chat("hello", &[("max_tokens", json!(3))])));
    assert_eq!(whole["choices"][0]["message"]["content"], "hel");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8});
    assert_eq!(whole["usage"], usage);
    assert_eq!(whole["model"], plan::SERVED_NAME);

    for prompt in [
        json!("hi"),
        json!(["hi"]),
        json!([106, 107]),
        json!([[106, 107]]),
    ] {
        let body = json!({"prompt": prompt, "model": plan::SERVED_NAME}).to_string();
        let text = json_of(server.post(TEXT, &body));
        assert_eq!(text["choices"][0]["text"], "hi", "{prompt}");
        assert_eq!(text["choices"][0]["finish_reason"], "stop");
    }
    let filled = json_of(server.post(TEXT, &json!({"prompt": "a", "suffix": "b"}).to_string()));
    assert_eq!(filled["choices"][0]["text"], "b|a");
}

#[test]
fn streams() {
    let server = Server::start();
    let more = [
        ("stream", json!(true)),
        ("stream_options", json!({"include_usage": true})),
    ];
    let (status, body) = server.post(CHAT, &chat("hey", &more));
    assert_eq!(status, 200);
    let events = events(&body);
    let (last, chunks) = events.split_last().expect("events");
    assert_eq!(last, "[DONE]");
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|event| serde_json::from_str(event).expect("JSON"))
        .collect();
    let deltas = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["delta"]["content"].as_str());
    assert_eq!(deltas.collect::<String>(), "hey");
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let usage = chunks.last().expect("chunks");
    assert_eq!(usage["usage"]["completion_tokens"], 3);
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(
        chunks[chunks.len() - 2]["choices"][0]["finish_reason"],
        "stop"
    );
}

#[test]
fn thoughts() {
    let server = Server::start();
    let whole = json_of(server.post(CHAT, &chat("<well>yes", &[])));
    assert_eq!(whole["choices"][0]["message"]["content"], "yes");
    // The scripted model has text for its markers; a real one has none.
    assert_eq!(
        whole["choices"][0]["message"]["reasoning_content"],
        "<well>"
    );
    let (_, body) = server.post(CHAT, &chat("<well>yes", &[("stream", json!(true))]));
    let chunks = events(&body);
    let thought = chunks
        .iter()
        .filter(|c| c.contains("reasoning_content"))
        .count();
    assert_eq!(thought, 6, "{body}");
}

#[test]
fn tool_calls() {
    let server = Server::start();
    let tools = json!([{"type": "function", "function": {"name": "count", "parameters": {}}}]);
    if !plan::TOOLS {
        let (status, _) = server.post(CHAT, &chat("call", &[("tools", tools)]));
        assert_eq!(status, 400);
        return;
    }
    let whole = json_of(server.post(CHAT, &chat("call", &[("tools", tools.clone())])));
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        call["function"],
        json!({"name": "count", "arguments": "{\"tokens\": 5}"})
    );
    assert_eq!(call["id"].as_str().map(str::len), Some(9));

    let more = [("tools", tools.clone()), ("stream", json!(true))];
    let (_, body) = server.post(CHAT, &chat("call", &more));
    let called = events(&body)
        .iter()
        .any(|event| event.contains("\"tool_calls\":[{"));
    assert!(called, "{body}");

    let more = [("tools", tools), ("tool_choice", json!("none"))];
    let text = json_of(server.post(CHAT, &chat("call", &more)));
    assert_eq!(text["choices"][0]["message"]["content"], "call");
}

#[test]
fn forms() {
    let server = Server::start();
    // The script shouts when it is held to a form.
    for format in [
        json!({"type": "json_object"}),
        schema(json!({"type": "object"})),
    ] {
        let more = [("response_format", format)];
        let whole = json_of(server.post(CHAT, &chat("hello", &more)));
        assert_eq!(whole["choices"][0]["message"]["content"], "HELLO");
        let body = json!({"prompt": "hi", "response_format": more[0].1}).to_string();
        assert_eq!(
            json_of(server.post(TEXT, &body))["choices"][0]["text"],
            "HI"
        );
    }
    let free = [("response_format", json!({"type": "text"}))];
    let whole = json_of(server.post(CHAT, &chat("hello", &free)));
    assert_eq!(whole["choices"][0]["message"]["content"], "hello");
    if !plan::TOOLS {
        return;
    }
    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    let with = |choice: Value| [("tools", json!([named("count")])), ("tool_choice", choice)];
    for choice in [json!("required"), named("count")] {
        let whole = json_of(server.post(CHAT, &chat("hello", &with(choice))));
        assert_eq!(whole["choices"][0]["message"]["content"], "HELLO");
    }
    let (status, body) = server.post(CHAT, &chat("hello", &with(named("other"))));
    assert_eq!(
        (status, body.contains("tool_choice")),
        (400, true),
        "{body}"
    );
}

#[test]
fn refusals() {
    let server = Server::start();
    let long = "x".repeat(CONTEXT);
    let rows: &[(&str, String, u16, &str)] = &[
        (CHAT, "{".to_owned(), 400, "invalid_json"),
        (CHAT, "[]".to_owned(), 400, "invalid_json"),
        (CHAT, "[".repeat(4000), 400, "invalid_json"),
        (CHAT, "{}".to_owned(), 400, "messages"),
        (
            CHAT,
            chat("a", &[("model", json!("other"))]),
            404,
            "model_not_found",
        ),
        (
            CHAT,
            chat("a", &[("temperature", json!(3))]),
            400,
            "temperature",
        ),
        (
            CHAT,
            chat("a", &[("temperature", json!("hot"))]),
            400,
            "temperature",
        ),
        (CHAT, chat("a", &[("top_p", json!(0))]), 400, "top_p"),
        (
            CHAT,
            chat("a", &[("max_tokens", json!(0))]),
            400,
            "max_tokens",
        ),
        (
            CHAT,
            chat("a", &[("max_tokens", json!(-1))]),
            400,
            "max_tokens",
        ),
        (
            CHAT,
            chat("a", &[("max_tokens", json!(1.5))]),
            400,
            "max_tokens",
        ),
        (
            CHAT,
            chat("a", &[("presence_penalty", json!(-2.1))]),
            400,
            "presence_penalty",
        ),
        (
            CHAT,
            chat("a", &[("n", json!(2))]),
            400,
            "unsupported_parameter",
        ),
        (
            CHAT,
            chat("a", &[("logprobs", json!(true))]),
            400,
            "logprobs",
        ),
        (CHAT, chat("a", &[("seed", json!("x"))]), 400, "seed"),
        (CHAT, chat("a", &[("stop", json!(""))]), 400, "stop"),
        (
            CHAT,
            chat("a", &[("stop", json!("x".repeat(2000)))]),
            400,
            "stop",
        ),
        (CHAT, chat("a", &[("stop", json!([1]))]), 400, "stop"),
        (CHAT, chat("a", &[("stream", json!("yes"))]), 400, "stream"),
        (
            CHAT,
            chat("a", &[("tool_choice", json!("required"))]),
            400,
            "tool",
        ),
        (
            CHAT,
            chat("a", &[("tool_choice", json!("sometimes"))]),
            400,
            "tool_choice",
        ),
        (
            CHAT,
            chat("a", &[("response_format", json!({"type": "xml"}))]),
            400,
            "response_format",
        ),
        (
            CHAT,
            chat("a", &[("response_format", json!({"type": "json_schema"}))]),
            400,
            "json_schema.schema",
        ),
        (
            CHAT,
            chat(
                "a",
                &[("response_format", schema(json!({"type": "string"})))],
            ),
            400,
            "the script knows objects",
        ),
        (CHAT, chat(&long, &[]), 400, "context_length_exceeded"),
        (
            CHAT,
            chat("a", &[("max_tokens", json!(CONTEXT))]),
            400,
            "context_length_exceeded",
        ),
        (CHAT, chat("", &[]), 400, "empty_prompt"),
        (TEXT, json!({"prompt": 1}).to_string(), 400, "prompt"),
        (
            TEXT,
            json!({"prompt": ["a", "b"]}).to_string(),
            400,
            "prompt",
        ),
        (
            TEXT,
            json!({"prompt": [258]}).to_string(),
            400,
            "token ids below 258",
        ),
        (
            TEXT,
            json!({"prompt": "a", "echo": true}).to_string(),
            400,
            "echo",
        ),
        (CHAT, chat(&"x".repeat(5000), &[]), 413, "body_too_large"),
        ("/v1/nothing", String::new(), 404, "not_found"),
        (
            "/v1/embeddings",
            json!({"input": "a"}).to_string(),
            404,
            "not_found",
        ),
        ("/health", String::new(), 405, "method_not_allowed"),
    ];
    let mut failures = Vec::new();
    for (path, body, status, part) in rows {
        let found = server.post(path, body);
        let error = serde_json::from_str::<Value>(&found.1).unwrap_or_default();
        if found.0 != *status || !found.1.contains(part) || !error["error"]["message"].is_string() {
            failures.push(format!("{path} {body:.80}: {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn keys() {
    let server = Server::start();
    for key in ["", "wrong", "a key of the tes", "a key of the test!"] {
        let (status, body) = parts(&server.send(&request(CHAT, key, &chat("a", &[]))));
        assert_eq!(
            (status, body.contains("invalid_api_key")),
            (401, true),
            "{key:?}"
        );
    }
    let get = |path: &str, more: &str| {
        let text = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}\r\n");
        parts(&server.send(text.as_bytes()))
    };
    assert_eq!(get("/v1/models", "").0, 401);
    let key = format!("authorization: Bearer {KEY}\r\n");
    assert_eq!(get("/v1/models", &key).0, 200);
    assert_eq!(get("/v1/models/other", &key).0, 404);
    assert_eq!(get("/health", "").0, 200);
    let (status, page) = get("/metrics", "");
    assert_eq!(status, 200);
    assert!(
        page.contains(
            "mistral_http_requests_total{route=\"/v1/chat/completions\",status=\"401\"} 4"
        ),
        "{page}"
    );
}

#[test]
fn slow_clients_are_cut_off() {
    let server = Server::start();
    let start = Instant::now();
    // A head that never ends, then a body that never comes.
    let mut head = server.connect();
    head.write_all(b"POST /v1/completions HTTP/1.1\r\nhost: a\r\n")
        .expect("sends");
    let mut rest = String::new();
    let _ = head.read_to_string(&mut rest);
    let (status, body) = parts(&rest);
    assert_eq!(
        (status, body.contains("header_timeout")),
        (408, true),
        "{rest}"
    );
    serde_json::from_str::<Value>(&body).expect("JSON of the announced length");
    // One that says nothing at all is only left.
    let mut silent = server.connect();
    let mut rest = String::new();
    let _ = silent.read_to_string(&mut rest);
    assert_eq!(rest, "");
    let announced = format!(
        "POST {TEXT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n\
         content-length: 100\r\nconnection: close\r\n\r\n{{"
    );
    let (status, body) = parts(&server.send(announced.as_bytes()));
    assert_eq!(
        (status, body.contains("body_timeout")),
        (408, true),
        "{body}"
    );
    assert!(start.elapsed() < Duration::from_secs(8));
}

#[test]
fn a_full_queue_refuses_and_a_lost_client_stops_its_answer() {
    let server = Server::start();
    let slow = request(
        TEXT,
        KEY,
        &json!({"prompt": "slow", "stream": true}).to_string(),
    );
    let mut first = server.connect();
    first.write_all(&slow).expect("sends");
    // The first bytes of an answer say that the worker has the job.
    first.read_exact(&mut [0; 64]).expect("reads");
    let mut second = server.connect();
    second.write_all(&slow).expect("sends");
    let waiting = || {
        let get = b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        server
            .send(get)
            .contains("mistral_num_requests_waiting 1\n")
    };
    eventually("the second request waits", waiting);
    let (status, body) = server.post(TEXT, &json!({"prompt": "a"}).to_string());
    assert_eq!((status, body.contains("queue_full")), (429, true), "{body}");
    let refused = server.send(&request(TEXT, KEY, r#"{"prompt": "a"}"#));
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");

    assert!(!server.script.gave_up.load(Ordering::Acquire));
    drop(first);
    eventually("the answer stops", || {
        server.script.gave_up.load(Ordering::Acquire)
    });
    drop(second);
    eventually("the queue is free", || {
        server.post(TEXT, r#"{"prompt": "a"}"#).0 == 200
    });
}

#[test]
fn a_waiting_client_that_leaves_frees_its_place() {
    let server = Server::start();
    let slow = json!({"prompt": "slow", "stream": true}).to_string();
    let slow = request(TEXT, KEY, &slow);
    let waiting = || {
        let get = b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        server
            .send(get)
            .contains("mistral_num_requests_waiting 1\n")
    };
    let mut first = server.connect();
    first.write_all(&slow).expect("sends");
    first.read_exact(&mut [0; 64]).expect("reads");
    let mut second = server.connect();
    second.write_all(&slow).expect("sends");
    eventually("the second request waits", waiting);
    assert_eq!(server.post(TEXT, r#"{"prompt": "a"}"#).0, 429);
    drop(second);
    // The first is still being answered, and the place of the second can be had: one more request
    // is refused as long as it can't, and waits for its answer else.
    let start = Instant::now();
    let mut third = loop {
        let mut third = server.connect();
        third.write_all(&slow).expect("sends");
        let patience = Some(Duration::from_millis(300));
        third.set_read_timeout(patience).expect("sets");
        if third.read(&mut [0; 12]).is_err() {
            break third;
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "no place is free"
        );
    };
    assert!(!server.script.gave_up.load(Ordering::Acquire));
    drop(first);
    third
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("sets");
    third.read_exact(&mut [0; 64]).expect("is answered");
}

#[test]
fn each_request_has_a_line_in_the_log() {
    let server = Server::start();
    let body = chat("a secret prompt", &[("max_tokens", json!(3))]);
    let length = body.len();
    let answer = server.send(
        format!(
            "POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\nx-request-id: mine\r\n\
             connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .as_bytes(),
    );
    assert!(answer.contains("x-request-id: mine\r\n"), "{answer}");
    server.post(TEXT, "{");
    let lines = || server.lines.lock().expect("whole").clone();
    eventually("there are two lines", || lines().len() == 2);
    let lines = lines();
    let line = |i: usize| serde_json::from_str::<Value>(&lines[i]).expect("JSON");
    let (done, refused) = (line(0), line(1));
    for (name, value) in [
        ("request_id", json!("mine")),
        ("route", json!(CHAT)),
        ("status", json!(200)),
        ("prompt_tokens", json!(15)),
        ("completion_tokens", json!(3)),
        ("finish", json!("length")),
    ] {
        assert_eq!(done[name], value, "{name} in {done}");
    }
    assert!(done["total_s"].as_f64() >= done["first_token_s"].as_f64());
    assert_eq!(refused["status"], 400);
    assert_eq!(refused["error"], "invalid_json");
    assert!(!lines.concat().contains("secret"), "{lines:?}");
}

#[test]
fn the_end_lets_answers_finish_for_a_while() {
    let mut server = Server::start();
    let body = json!({"prompt": "slow", "stream": true}).to_string();
    let mut endless = server.connect();
    endless
        .write_all(&request(TEXT, KEY, &body))
        .expect("sends");
    endless.read_exact(&mut [0; 64]).expect("begins");
    let start = Instant::now();
    server.stop();
    eventually("new connections are refused", || {
        std::net::TcpStream::connect(server.address).is_err()
    });
    let mut rest = String::new();
    endless.read_to_string(&mut rest).expect("ends in order");
    assert!(rest.contains("shutting_down"), "{rest}");
    assert!(rest.trim_end().ends_with("0"), "the last chunk: {rest}");
    server.join();
    let time = start.elapsed();
    assert!(time >= Duration::from_millis(900), "{time:?}");
    assert!(time < Duration::from_secs(6), "{time:?}");
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    let server = Server::start();
    let body = json!({"prompt": "slow", "stream": true, "max_tokens": 1}).to_string();
    // Many requests on one connection, none of whose answers is read, until both ends are full.
    let mut socket = server.connect();
    let request = format!(
        "POST {TEXT}/none HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let start = Instant::now();
    socket
        .set_write_timeout(Some(Duration::from_secs(15)))
        .expect("sets");
    let many = request.repeat(500);
    while socket.write_all(many.as_bytes()).is_ok() {}
    assert!(start.elapsed() < Duration::from_secs(14), "it was cut off");
}
