//! The server of `mock_api` as its users have it: started, spoken to, and gone when it said so.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use mistral_codegen::{Options, Plan, Target, generate};
use serde_json::{Value, json};

/// The program, built where tests of this file alone are run.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("this test has a path");
    let profile = own.ancestors().nth(2).expect("PROFILE/deps/TEST");
    let path = profile.join("examples/mock_api");
    if !path.is_file() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "mistral-examples"]);
        cargo.args(["--example", "mock_api"]);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let target = profile.parent().expect("the target folder");
        let built = cargo.env("CARGO_TARGET_DIR", target).status();
        assert!(built.expect("cargo starts").success());
    }
    path
}

/// A running server; it is stopped when this is dropped.
struct Server {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    base_url: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(arguments)
            .env("MOCK_KEY", "a key")
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let out = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(out).lines();
        let first = lines.next().expect("a line").expect("a text");
        let first: Value = serde_json::from_str(&first).expect("JSON");
        let base_url = first["base_url"].as_str().expect("an address").to_owned();
        Self {
            child,
            lines,
            base_url,
        }
    }

    /// Status and body of a request.
    fn post(&self, path: &str, key: Option<&str>, body: &Value) -> (u16, String) {
        let host = self.base_url.strip_prefix("http://").expect("http");
        let host = host.strip_suffix("/v1").expect("up to and with /v1");
        let body = body.to_string();
        let key = key.map(|key| format!("authorization: Bearer {key}\r\n"));
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n{}\r\n",
            body.len(),
            key.unwrap_or_default()
        );
        let mut stream = TcpStream::connect(host).expect("it listens");
        stream.write_all((head + &body).as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// The requests that were printed, after it ended by itself.
    fn printed(mut self) -> Vec<Value> {
        let lines = self.lines.by_ref();
        let rows: Vec<Value> = lines
            .map(|line| serde_json::from_str(&line.expect("a text")).expect("JSON"))
            .collect();
        assert!(self.child.wait().expect("it ends").success());
        rows
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended can't be stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PATH: &str = "/v1/chat/completions";

fn chat(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]})
}

#[test]
fn requests_are_held_to_the_document() {
    let arguments = [
        "--requests",
        "5",
        "--print",
        "--acts",
        "answer,429:7,garbage",
    ];
    let server = Server::start(&arguments);
    let (status, body) = server.post(PATH, None, &chat("é"));
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status, 200);
    assert_eq!(body["choices"][0]["message"]["content"], "You said: é");
    // What isn't valid takes no act.
    assert_eq!(server.post("/v1/models", None, &json!({})).0, 404);
    let (status, body) = server.post(PATH, None, &json!({"model": "m"}));
    assert!(status == 422 && body.contains("messages"), "{body}");
    assert_eq!(server.post(PATH, None, &chat("b")).0, 429);
    assert_eq!(
        server.post(PATH, None, &chat("c")).1,
        "<html>no answer</html>"
    );
    let rows = server.printed();
    let statuses: Vec<&Value> = rows.iter().map(|row| &row["status"]).collect();
    assert_eq!(statuses, [200, 404, 422, 429, 200]);
    assert_eq!(rows[0]["body"], chat("é"));
}

#[test]
fn a_key_is_asked_for_where_one_is_named() {
    let server = Server::start(&["--key-env", "MOCK_KEY"]);
    for (key, status) in [(None, 401), (Some("other"), 401), (Some("a key"), 200)] {
        assert_eq!(server.post(PATH, key, &chat("a")).0, status, "{key:?}");
    }
}

/// The generated client tries again after 429 and 500, and tells of a stream that was cut.
#[test]
fn a_generated_client_meets_what_goes_wrong() {
    let plan: Plan = serde_json::from_value(json!({
        "schema": 1,
        "model": {"id": "mistral-small-4"},
        "precision": "fp8",
        "runtime": "mistral-api",
        "placement": {"device": "api", "count": 0, "tensor_parallel": 0},
        "limits": {"context_tokens": 32768, "concurrency": 1},
    }))
    .expect("a plan");
    let files = generate(Target::ApiCurl, &plan, &Options::default()).expect("made");
    let folder = tempfile::tempdir().expect("a folder");
    files.write(folder.path()).expect("written");
    let openapi =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../mistral-codegen/testdata/openapi.yaml");
    let openapi = openapi.to_str().expect("a text");
    let acts = "429:0,500,cut:2,slow:1";
    let server = Server::start(&[openapi, "--requests", "4", "--print", "--acts", acts]);
    let ask = |command: &str| -> Option<Output> {
        let mut client = Command::new("bash");
        client
            .arg(folder.path().join("client.sh"))
            .args([command, "it's me"]);
        client.env("MISTRAL_BASE_URL", &server.base_url);
        client.output().ok().filter(|o| o.status.code() != Some(2))
    };
    let (Some(cut), Some(good)) = (ask("stream"), ask("chat")) else {
        println!("skipped: no bash, curl or jq");
        return;
    };
    assert_eq!(cut.status.code(), Some(1), "{cut:?}");
    assert!(good.status.success(), "{good:?}");
    assert_eq!(String::from_utf8_lossy(&good.stdout), "You said: it's me\n");
    let rows = server.printed();
    let statuses: Vec<&Value> = rows.iter().map(|row| &row["status"]).collect();
    assert_eq!(statuses, [429, 500, 200, 200]);
    assert!(
        rows.iter()
            .all(|row| row["body"]["model"] == "mistral-small-2603")
    );
}

#[test]
fn unusable_arguments_are_told() {
    let rows: [(&[&str], &str); 5] = [
        (
            &["--acts", "answer,dance"],
            "--acts: expected answer, 429:SECONDS",
        ),
        (&["--port", "70000"], "port"),
        (&["--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY holds no key"),
        (&["no such file"], "no such file"),
        (&["--loud"], "loud"),
    ];
    for (arguments, part) in rows {
        let output = Command::new(program()).args(arguments).output();
        let output = output.expect("starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(part), "{arguments:?}: {told}");
    }
}
