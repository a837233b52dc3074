//! The generated Rust project is compiled, started and asked, by its own tests, by a real OpenAI
//! client and by clients that mean no good.

#[path = "support/changed.rs"]
mod changed;
mod support;
#[path = "support/workspace.rs"]
mod workspace;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use changed::changed;
use mistral_codegen::{Dependency, Options, Plan, Target, generate};
use mistral_core::files::FileSet;
use mistral_core::precision::Precision;
use mistral_core::schedule::{Schedule, ScheduleBook};
use serde_json::{Value, json};
use workspace::{target_folder, workspace};

const KEY: &str = "a key of the test: 'quoted' $HOME";
const KEY_VARIABLE: &str = "CODEGEN_TEST_KEY";
const NAME: &str = "Le modèle \"d'essai\" $(id)";

fn plan(changes: &[(&str, Value)]) -> Plan {
    let plan = json!({
        "schema": 1,
        "model": {"id": "test", "local_path": "model"},
        "precision": "f32",
        "runtime": "mistral-infer",
        "placement": {"device": "cpu", "count": 1, "tensor_parallel": 1, "threads": 2},
        "limits": {"context_tokens": 1024, "concurrency": 2},
        "serve": {
            "bind": "127.0.0.1", "port": 8000, "api_key_env": KEY_VARIABLE, "served_name": NAME,
        },
        "tools": true,
    });
    changed(plan, changes)
}

fn options() -> Options {
    let path = workspace()
        .join("mistral-infer")
        .canonicalize()
        .expect("the crate is there");
    Options {
        mistral_infer: Dependency::Path(path),
        ..Options::default()
    }
}

/// The profile of this program, in which dependencies have been compiled already.
const PROFILE: &str = if cfg!(debug_assertions) {
    "dev"
} else {
    "release"
};
/// The folder of that profile's programs.
const FOLDER: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};

/// A cargo command in the project, on the versions and in the folder of this workspace's build, so
/// that dependencies are compiled once.
fn cargo(project: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(arguments)
        .args(["--profile", PROFILE, "--offline", "--color", "never"]);
    command.current_dir(project);
    command
        .env("CARGO_TARGET_DIR", target_folder())
        .stdin(Stdio::null());
    command
}

fn succeeds(mut command: Command) {
    let output = command.output().expect("cargo starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{command:?}\n{text}{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// The project and its program, made and compiled once.
fn built() -> &'static (tempfile::TempDir, PathBuf) {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let files = generate(Target::Rust, &plan(&[]), &options()).expect("made");
        files.write(folder.path()).expect("written");
        let lock = workspace().join("Cargo.lock");
        std::fs::copy(lock, folder.path().join("Cargo.lock")).expect("copied");
        succeeds(cargo(folder.path(), &["build"]));
        let program = folder.path().join("mistral-server");
        let made = target_folder().join(FOLDER).join("mistral-server");
        std::fs::copy(made, &program).expect("copied");
        (folder, program)
    })
}

/// A started server, ended on drop.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(model: &Path) -> Self {
        let mut child = Command::new(&built().1)
            .envs([
                ("PORT", "0"),
                ("BODY_SECONDS", "1"),
                ("HEADER_SECONDS", "1"),
            ])
            .env(KEY_VARIABLE, KEY)
            .env("MODEL_PATH", model)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("ended: {said:?}")
            };
            if let Some(address) = line.strip_prefix("listening on http://") {
                break address.to_owned();
            }
            said.push(line);
        };
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// Sends bytes and reads until the server closes; the status and everything that came.
    fn send(&self, bytes: &[u8]) -> (u16, String) {
        let mut socket = TcpStream::connect(&self.address).expect("connects");
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("sets");
        // A server may refuse before it has read everything.
        let _ = socket.write_all(bytes);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        (status.unwrap_or(0), text)
    }

    fn post(&self, key: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
             authorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n"
        );
        self.send(&[head.as_bytes(), body.as_bytes()].concat())
    }

    fn metrics(&self) -> String {
        self.send(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python that has the client: the one that is named, else the first of the path.
fn python() -> Option<String> {
    let named = std::env::var("MISTRAL_OPENAI_PYTHON").ok();
    let python = named.unwrap_or_else(|| "python3".to_owned());
    let mut command = Command::new(&python);
    command.args(["-c", "import openai"]).stderr(Stdio::null());
    command
        .status()
        .is_ok_and(|status| status.success())
        .then_some(python)
}

#[test]
fn the_project_passes_its_own_tests() {
    let mut tests = cargo(built().0.path(), &["test"]);
    tests.env("LOAD_MODEL", workspace().join("assets/tiny-mixtral"));
    succeeds(tests);
}

#[test]
fn an_openai_client_is_answered() {
    let Some(python) = python() else {
        println!(
            "skipped: no python3 with the openai package, and MISTRAL_OPENAI_PYTHON is not set"
        );
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    support::write_model(folder.path());
    let server = Server::start(folder.path());
    let alphabet: String = "defghijklmnopqrstuvwxyzabcdefghijk"
        .chars()
        .take(30)
        .collect();
    let known = json!({"reply": support::REPLY.concat(), "alphabet": alphabet});
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openai_client.py");
    let output = Command::new(python)
        .arg(script)
        .args([
            &format!("http://{}/v1", server.address),
            KEY,
            NAME,
            &known.to_string(),
        ])
        .output()
        .expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        said.trim(),
        "ok",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let page = server.metrics();
    assert!(page.contains("mistral_num_requests_running 0\n"), "{page}");
}

#[test]
fn hostile_clients_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    support::write_model(folder.path());
    let server = Server::start(folder.path());
    let rows = [
        (KEY, "x".repeat(1 << 20), 413, "body_too_large"),
        (KEY, "{\"prompt\": ".to_owned(), 400, "invalid_json"),
        (KEY, "[".repeat(60_000), 400, "invalid_json"),
        (KEY, "\u{0}\u{1}".to_owned(), 400, "invalid_json"),
        (
            "",
            json!({"prompt": "a"}).to_string(),
            401,
            "invalid_api_key",
        ),
        (
            "wrong",
            json!({"prompt": "a"}).to_string(),
            401,
            "invalid_api_key",
        ),
        (
            KEY,
            json!({"prompt": "a".repeat(2000)}).to_string(),
            400,
            "context_length_exceeded",
        ),
        (
            KEY,
            json!({"prompt": [u32::MAX]}).to_string(),
            400,
            "token ids below",
        ),
        (
            KEY,
            json!({"prompt": [9999]}).to_string(),
            400,
            "token ids below",
        ),
        (KEY, json!({"prompt": []}).to_string(), 400, "invalid_value"),
        (
            KEY,
            json!({"prompt": "a", "stop": vec!["b"; 100]}).to_string(),
            400,
            "stop",
        ),
        (
            KEY,
            json!({"prompt": "a", "seed": 1e300}).to_string(),
            400,
            "seed",
        ),
    ];
    let mut failures = Vec::new();
    for (key, body, status, part) in &rows {
        let found = server.post(key, body);
        if found.0 != *status || !found.1.contains(part) {
            failures.push(format!(
                "{body:.60}: expected {status} {part}, found {found:?}"
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));

    let start = Instant::now();
    let late = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n\
         connection: close\r\ncontent-length: 50\r\n\r\n{{\"prompt\""
    );
    let (status, text) = server.send(late.as_bytes());
    assert_eq!(
        (status, text.contains("body_timeout")),
        (408, true),
        "{text}"
    );
    server.send(b"POST /v1/completions HTTP/1.1\r\nhost: ");
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "slow clients are cut off"
    );

    // After all that it still answers, and an answer whose client has left is given up.
    let endless = json!({"prompt": "abc", "stream": true}).to_string();
    let length = endless.len();
    let mut gone = TcpStream::connect(&server.address).expect("connects");
    write!(
        gone,
        "POST /v1/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n\
         content-length: {length}\r\n\r\n{endless}"
    )
    .expect("sends");
    gone.read_exact(&mut [0; 32]).expect("begins");
    drop(gone);
    let (status, text) = server.post(KEY, &json!({"prompt": "a", "max_tokens": 3}).to_string());
    assert_eq!((status, text.contains("\"bcd\"")), (200, true), "{text}");
}

#[test]
fn the_model_of_this_repository_is_served() {
    let model = workspace().join("assets/tiny-mixtral");
    if !model.join("model.safetensors").is_file() {
        println!("skipped: no model in assets/tiny-mixtral");
        return;
    }
    let mut server = Server::start(&model);
    let ask = |body: Value| {
        let (status, text) = server.post(KEY, &body.to_string());
        assert_eq!(status, 200, "{text}");
        let body = text.split_once("\r\n\r\n").expect("a head").1;
        serde_json::from_str::<Value>(body).expect("JSON")
    };
    let body = json!({"prompt": "KING HENRY:\n", "temperature": 0, "max_tokens": 40});
    let (once, again) = (ask(body.clone()), ask(body));
    assert_eq!(
        once["choices"], again["choices"],
        "the cache of the first changes nothing"
    );
    assert_eq!(once["usage"]["completion_tokens"], 40);
    assert!(
        once["choices"][0]["text"]
            .as_str()
            .is_some_and(|text| text.len() > 40),
        "{once}"
    );

    // Asked to end, it does so in peace.
    let pid = server.child.id().to_string();
    if Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .is_ok_and(|status| status.success())
    {
        assert!(server.child.wait().expect("waits").success());
    }
}

#[test]
fn released_weights_become_the_file_that_is_served() {
    let released = workspace().join("assets/tiny-mixtral");
    if !released.join("model.safetensors").is_file() {
        println!("skipped: no model in assets/tiny-mixtral");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let quantize = |to: &str| {
        let out = Command::new(&built().1)
            .arg("--quantize")
            .arg(&released)
            .current_dir(folder.path())
            .env("MODEL_PATH", to)
            .output()
            .expect("starts");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        (out.status.success(), said)
    };
    // An empty variable is none: the plan's own folder is refused then.
    for (to, found) in [("a folder", "\"a folder\""), ("", "\"model\"")] {
        let (made, said) = quantize(to);
        assert!(
            !made && said.contains(found) && said.contains("GGUF"),
            "{said}"
        );
    }
    let (made, said) = quantize("new/model.gguf");
    assert!(made, "{said}");
    let file = folder.path().join("new/model.gguf");
    let ask = |model: &Path| {
        let body = json!({"prompt": "KING HENRY:\n", "temperature": 0, "max_tokens": 20});
        let (status, text) = Server::start(model).post(KEY, &body.to_string());
        assert_eq!(status, 200, "{text}");
        let body = text.split_once("\r\n\r\n").expect("a head").1;
        let answer: Value = serde_json::from_str(body).expect("JSON");
        answer["choices"][0]["text"].clone()
    };
    // The project's plan is in f32, so that nothing was rounded.
    assert_eq!(ask(&file), ask(&released));
}

#[test]
fn a_quantised_plan_makes_its_file_of_released_weights() {
    let quantised = |name: &str| {
        let model = json!({"id": "test", "hf_repo": name});
        let plan = plan(&[("/model", model), ("/precision", json!("q4_k_m"))]);
        let files = generate(Target::Rust, &plan, &options()).expect("made");
        let text = |path: &str| files.get(path).expect(path).contents.clone();
        (text("src/plan.rs"), text("README.md"))
    };
    let (constants, readme) = quantised("mistralai/Mistral-7B");
    assert!(constants.contains("\"model/Mistral-7B-Q4_K_M.gguf\""));
    assert!(constants.contains("PRECISION: &str = \"q4_k_m\""));
    assert!(readme.contains("--quantize model/released"), "{readme}");
    let (constants, readme) = quantised("someone/Mistral-7B-GGUF");
    assert!(constants.contains("MODEL_PATH: &str = \"model\""));
    assert!(!readme.contains("--quantize"), "{readme}");
}

/// A book goes with the server when it has something for the plan's precision.
#[test]
fn schedules_go_with_the_server() {
    let found = |precision: &str| {
        json!({
            "machine": {"cpu": "a processor", "isa": "avx2", "threads": 2},
            "shapes": {"dim": 64, "hidden_dim": 128, "experts": 0, "precision": precision},
            "schedule": serde_json::to_value(Schedule::default()).expect("plain data"),
            "gain": 1.1, "command": "tune kernels", "date": "2026-11-24",
        })
    };
    let made = |book: Value| {
        let options = Options {
            schedules: serde_json::from_value(book).expect("a book"),
            ..options()
        };
        generate(Target::Rust, &plan(&[]), &options).expect("made")
    };
    let files = made(json!({"schema": 1, "found": [found("f32"), found("q4_k_m")]}));
    let text = &files.get("schedules.json").expect("the book").contents;
    let book: ScheduleBook = serde_json::from_str(text).expect("a book");
    let precisions: Vec<_> = book.found.iter().map(|f| f.shapes.precision).collect();
    assert_eq!(precisions, [Precision::F32]);
    let constants = |files: &FileSet| files.get("src/plan.rs").expect("made").contents.clone();
    assert!(constants(&files).contains("Some(\"schedules.json\")"));
    assert!((files.get("Dockerfile").expect("made").contents).contains("COPY schedules.json"));
    assert!((files.get(".dockerignore").expect("made").contents).contains("!schedules.json"));

    let files = made(json!({"schema": 1, "found": [found("q4_k_m")]}));
    assert!(files.get("schedules.json").is_none());
    assert!(constants(&files).contains("SCHEDULES: Option<&str> = None"));
    assert!(!(files.get("Dockerfile").expect("made").contents).contains("schedules"));
}

/// Answers are asked for under schemas, and each is looked at.
#[test]
fn answers_keep_to_their_schema() {
    let model = workspace().join("assets/tiny-mixtral");
    if !model.join("model.safetensors").is_file() {
        println!("skipped: no model in assets/tiny-mixtral");
        return;
    }
    let server = Server::start(&model);
    let name = json!({"type": "string", "maxLength": 12});
    type Holds = fn(&Value) -> bool;
    let rows: [(Value, Holds); 5] = [
        (
            json!({"type": "object", "properties": {"king": {"enum": ["HENRY", "RICHARD"]}},
                "required": ["king"], "additionalProperties": false}),
            |v| v["king"] == "HENRY" || v["king"] == "RICHARD",
        ),
        (
            json!({"type": "object", "properties": {"age": {"type": "integer", "minimum": 3,
                "maximum": 99}}, "required": ["age"], "additionalProperties": false}),
            |v| v["age"].as_i64().is_some_and(|age| (3..=99).contains(&age)),
        ),
        (
            json!({"type": "object", "properties": {"names": {"type": "array", "items": name,
                "minItems": 2, "maxItems": 3}}, "required": ["names"],
                "additionalProperties": false}),
            |v| {
                let names = v["names"].as_array().map_or(&[][..], Vec::as_slice);
                let short = |name: &Value| name.as_str().is_some_and(|n| n.chars().count() <= 12);
                (2..=3).contains(&names.len()) && names.iter().all(short)
            },
        ),
        (
            json!({"type": "object", "properties": {"who": {"$ref": "#/$defs/who"}},
                "required": ["who"], "additionalProperties": false,
                "$defs": {"who": {"anyOf": [{"type": "boolean"}, {"const": "nobody"}]}}}),
            |v| v["who"].is_boolean() || v["who"] == "nobody",
        ),
        (
            json!({"type": "object", "properties": {"day": {"type": "string", "format": "date"}},
                "required": ["day"], "additionalProperties": false}),
            |v| v["day"].as_str().is_some_and(|day| day.len() == 10),
        ),
    ];
    let mut failures = Vec::new();
    for (schema, holds) in &rows {
        for (temperature, seed) in [(0.0, 0), (1.0, 1), (1.5, 2), (2.0, 3)] {
            let body = json!({
                "prompt": "KING HENRY:\n", "temperature": temperature, "seed": seed,
                "max_tokens": 200,
                "response_format": {
                    "type": "json_schema", "json_schema": {"name": "a", "schema": schema},
                },
            });
            let (status, text) = server.post(KEY, &body.to_string());
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let answer: Value = serde_json::from_str(body).unwrap_or_default();
            let text = answer["choices"][0]["text"].as_str().unwrap_or_default();
            let kept = serde_json::from_str(text).is_ok_and(|value| holds(&value));
            if status != 200 || !kept || answer["choices"][0]["finish_reason"] != "stop" {
                failures.push(format!("{schema} at {temperature}: {status} {answer}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));

    for schema in [
        json!({"type": "array", "uniqueItems": true}),
        json!({"not": {"type": "string"}}),
        json!({"type": "string", "pattern": "("}),
        json!({"$ref": "https://example.com/schema.json"}),
        json!({"type": "object", "required": ["a"], "properties": {"a": false}}),
    ] {
        let body = json!({"prompt": "a", "response_format": {
            "type": "json_schema", "json_schema": {"name": "a", "schema": schema},
        }});
        let (status, text) = server.post(KEY, &body.to_string());
        assert_eq!(
            (status, text.contains("response_format")),
            (400, true),
            "{schema}: {text}"
        );
    }
}

#[test]
fn a_demanded_call_is_one_of_the_tool() {
    let folder = tempfile::tempdir().expect("a folder");
    support::write_model(folder.path());
    let server = Server::start(folder.path());
    let days = json!({"enum": ["Monday", "Sunday"]});
    let function = json!({"name": "opening_hours", "parameters": {
        "type": "object", "properties": {"day": days}, "required": ["day"],
        "additionalProperties": false,
    }});
    for choice in [
        json!("required"),
        json!({"type": "function", "function": {"name": "opening_hours"}}),
    ] {
        let body = json!({
            "messages": [{"role": "user", "content": "Hello"}],
            "tools": [{"type": "function", "function": function}],
            "tool_choice": choice, "parallel_tool_calls": false, "max_tokens": 400,
        })
        .to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
             authorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let (status, text) = server.send(&[head.as_bytes(), body.as_bytes()].concat());
        assert_eq!(status, 200, "{text}");
        let answer = text.split_once("\r\n\r\n").expect("a head").1;
        let answer: Value = serde_json::from_str(answer).expect("JSON");
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
        let call = &choice["message"]["tool_calls"][0]["function"];
        assert_eq!(call["name"], "opening_hours");
        let arguments = call["arguments"].as_str().expect("a text");
        let arguments: Value = serde_json::from_str(arguments).expect("JSON");
        assert!(
            arguments["day"] == "Monday" || arguments["day"] == "Sunday",
            "{arguments}"
        );
    }
}

#[test]
fn a_program_has_the_model_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model");
    support::write_model(&model);
    let greedy = [("/sampling", json!({"temperature": 0.0, "top_p": 1.0}))];
    let files = generate(Target::RustEmbed, &plan(&greedy), &options()).expect("made");
    files.write(folder.path()).expect("written");
    let lock = workspace().join("Cargo.lock");
    std::fs::copy(lock, folder.path().join("Cargo.lock")).expect("copied");
    let mut run = cargo(folder.path(), &["run", "--quiet"]);
    // An empty variable is none: the plan names the model.
    run.args(["--", "When is the café open?"])
        .env("MODEL_PATH", "");
    let output = run.output().expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        said.trim_end(),
        support::REPLY.concat(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_start_is_refused_without_what_it_needs() {
    let program = &built().1;
    let rows: &[(&[(&str, &str)], &str)] = &[
        (&[], "set CODEGEN_TEST_KEY"),
        (&[(KEY_VARIABLE, "")], "set CODEGEN_TEST_KEY"),
        (
            &[(KEY_VARIABLE, "k"), ("MODEL_PATH", "no such folder")],
            "no such folder",
        ),
        (
            &[(KEY_VARIABLE, "k"), ("PORT", "99999")],
            "PORT: expected u16",
        ),
        (&[(KEY_VARIABLE, "k"), ("HOST", "a; b")], "HOST: expected"),
    ];
    for (variables, part) in rows {
        let output = Command::new(program)
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .expect("starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(part),
            "{variables:?}: {said}"
        );
    }
}

#[test]
fn plans_that_the_server_can_not_keep_are_refused_by_name() {
    let rows = [
        ("/precision", json!("fp8"), "precision is fp8"),
        ("/tokenizer", json!("gguf"), "tokenizer"),
        ("/kv_precision", json!("fp8"), "kv_precision"),
        ("/limits/context_tokens", json!(0), "limits.context_tokens"),
        ("/limits/concurrency", json!(0), "limits.concurrency"),
        ("/placement/threads", json!(0), "placement.threads"),
        ("/model/local_path", json!("a\nb"), "model.local_path"),
        (
            "/sampling",
            json!({"temperature": 3.0, "top_p": 1.0}),
            "sampling.temperature",
        ),
        (
            "/sampling",
            json!({"temperature": 1.0, "top_p": 0.0}),
            "sampling.top_p",
        ),
        (
            "/serve/served_name",
            json!("a\u{1b}[0m"),
            "serve.served_name",
        ),
    ];
    for (field, value, part) in rows {
        let error = generate(Target::Rust, &plan(&[(field, value.clone())]), &options());
        let text = error.expect_err(field).to_string();
        assert!(text.contains(part), "{field} = {value}: {text}");
    }
}

/// Hostile and long names keep `plan.rs` formatted and mean themselves.
#[test]
fn constants_are_formatted() {
    if Command::new("rustfmt").arg("--version").output().is_err() {
        println!("skipped: no rustfmt");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let names = ["é\u{202e}\"\\'{}".to_owned(), "'".repeat(7)];
    let lengths = (50..110).map(|length| "x".repeat(length));
    for name in lengths.chain(names) {
        let changes = [
            ("/serve/served_name", json!(name)),
            ("/model/local_path", json!(name)),
        ];
        let files = generate(Target::Rust, &plan(&changes), &options()).expect("made");
        let text = &files.get("src/plan.rs").expect("plan.rs").contents;
        let path = folder.path().join("plan.rs");
        std::fs::write(&path, text).expect("written");
        let check = Command::new("rustfmt")
            .args(["--check", "--edition", "2024"])
            .arg(&path)
            .output();
        let check = check.expect("starts");
        assert!(
            check.status.success(),
            "{}",
            String::from_utf8_lossy(&check.stdout)
        );
        let begin = text
            .split_once("SERVED_NAME: &str =")
            .expect("the constant")
            .1;
        let literal = begin.split_once(';').expect("its end").0.trim();
        if !name.contains(';') {
            let literal: syn::LitStr = syn::parse_str(literal).expect("a literal");
            assert_eq!(literal.value(), name);
        }
    }
}
