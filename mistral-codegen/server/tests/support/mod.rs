//! A server with a scripted model, and a client that sends exactly what it is told.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mistral_infer::{Constraint, InferError, Progress};
use mistral_server::backend::{Backend, Event, Finish, Form, Markers, ToolCall, Tools};
use mistral_server::connections;
use mistral_server::error::ApiError;
use mistral_server::http::App;
use mistral_server::metrics::Metrics;
use mistral_server::settings::Settings;
use mistral_server::worker::{Jobs, Queue};
use tokio::net::TcpListener;

/// The key that the server wants.
pub const KEY: &str = "a key of the test";

/// The script's context, in tokens.
pub const CONTEXT: usize = 64;

/// The token that begins tool calls.
const TOOL_TOKEN: u32 = 1;

/// Repeats its prompt a byte at a time. A prompt with `call` calls a tool when tools are offered;
/// one with `slow` never ends by itself; what stands between `<` and `>` is thought.
#[derive(Default)]
pub struct Script {
    /// Set when a slow answer was given up.
    pub gave_up: AtomicBool,
}

impl Backend for Script {
    fn context(&self) -> usize {
        CONTEXT
    }

    fn encode_chat(&self, body: &[u8], tools: Tools) -> Result<Vec<u32>, ApiError> {
        let body: serde_json::Value = serde_json::from_slice(body).expect("checked before");
        let text = body["messages"][0]["content"].as_str().unwrap_or_default();
        let mut tokens = self.encode_text(text)?;
        if tools == Tools::Offered && text.contains("call") {
            tokens.insert(0, TOOL_TOKEN);
        }
        Ok(tokens)
    }

    fn encode_text(&self, text: &str) -> Result<Vec<u32>, ApiError> {
        Ok(text.bytes().map(|byte| u32::from(byte) + 2).collect())
    }

    fn encode_fim(&self, prompt: &str, suffix: &str) -> Result<Vec<u32>, ApiError> {
        self.encode_text(&format!("{suffix}|{prompt}"))
    }

    fn vocabulary(&self) -> usize {
        258
    }

    fn markers(&self) -> Markers {
        let token = |byte: u8| u32::from(byte) + 2;
        Markers {
            calls: Some(TOOL_TOKEN),
            thought: Some((token(b'<'), token(b'>'))),
        }
    }

    fn tool_calls(&self, tokens: &[u32]) -> Option<Vec<ToolCall>> {
        let arguments = format!("{{\"tokens\": {}}}", tokens.len());
        Some(vec![ToolCall {
            id: String::new(),
            name: "count".to_owned(),
            arguments,
        }])
    }

    fn constraint(&self, form: &Form) -> Result<Option<Box<dyn Constraint>>, ApiError> {
        match form {
            Form::Free => Ok(None),
            Form::Schema(schema) if schema["type"] != "object" => Err(ApiError::invalid(
                "response_format",
                "the script knows objects",
            )),
            _ => Ok(Some(Box::new(Anything))),
        }
    }

    fn work(&self, jobs: &Jobs) {
        while let Some(mut job) = jobs.wait() {
            let byte = |token: u32| u8::try_from(token.saturating_sub(2)).unwrap_or(b'?');
            let text: Vec<u8> = job.prompt.iter().map(|&token| byte(token)).collect();
            let slow = text.windows(4).any(|word| word == b"slow");
            let held = job.constraint().is_some();
            let mut sent = 0;
            for &token in job.prompt.iter().cycle() {
                let more = slow || sent < job.prompt.len();
                if !more || sent == job.max_tokens && !slow {
                    break;
                }
                if let Some(end) = jobs.end_of(&job) {
                    self.gave_up.store(true, Ordering::Release);
                    end.tell(&job);
                    break;
                }
                sent += 1;
                // Whether it was held to a form can be seen.
                let letter = char::from(byte(token));
                let text = match held {
                    true => letter.to_ascii_uppercase(),
                    false => letter,
                };
                let text = text.to_string();
                let _ = job.events.send(Event::Piece { token, text });
                if slow {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            let finish = if sent < job.prompt.len() {
                Finish::Length
            } else {
                Finish::Stop
            };
            let _ = job.events.send(Event::Done(finish));
        }
    }
}

/// Lets everything through.
struct Anything;

impl Constraint for Anything {
    fn mask(&mut self, _: &mut [f32]) -> Result<(), InferError> {
        Ok(())
    }

    fn accept(&mut self, _: u32) -> Result<Progress, InferError> {
        Ok(Progress::Open)
    }
}

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its model.
    pub script: Arc<Script>,
    /// What it logged.
    pub lines: Arc<Mutex<Vec<String>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one on a free port, with one slot and room for one that waits; it runs until it is
    /// stopped or the test's process ends.
    pub fn start() -> Self {
        let settings = Arc::new(Settings {
            host: [127, 0, 0, 1].into(),
            port: 0,
            model: "none".into(),
            schedules: None,
            threads: None,
            key: Some(KEY.to_owned()),
            body_bytes: 4096,
            answer_time: Duration::from_secs(20),
            body_time: Duration::from_millis(300),
            header_time: Duration::from_millis(300),
            header_bytes: 1 << 14,
            connections: NonZeroUsize::new(16).expect("16 is not 0"),
            slots: NonZeroUsize::MIN,
            waiting: 1,
            shutdown_time: Duration::from_secs(1),
            write_time: Duration::from_secs(1),
        });
        let script = Arc::new(Script::default());
        let backend: Arc<dyn Backend> = Arc::clone(&script) as _;
        let metrics = Arc::new(Metrics::default());
        let (queue, _) =
            Queue::start(Arc::clone(&backend), 1, 1, Arc::clone(&metrics)).expect("starts");
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&lines);
        let app = App {
            backend,
            queue,
            settings: Arc::clone(&settings),
            metrics,
            log: Arc::new(move |line| kept.lock().expect("whole").push(line.to_owned())),
            started_s: 1,
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("builds");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
                sender
                    .send(listener.local_addr().expect("bound"))
                    .expect("waited for");
                let asked = async {
                    if stopped.await.is_err() {
                        std::future::pending().await
                    }
                };
                connections::serve(listener, app, settings, asked).await;
            });
        });
        Self {
            address: receiver.recv().expect("binds"),
            script,
            lines,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Asks it to end.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).expect("it runs");
        }
    }

    /// Waits for its end.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("ends in peace");
        }
    }

    /// Sends bytes and reads until the server closes.
    pub fn send(&self, bytes: &[u8]) -> String {
        let mut socket = self.connect();
        socket.write_all(bytes).expect("sends");
        let mut answer = Vec::new();
        // A server may close while the client still sends: what was read until then counts.
        let _ = socket.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A connection that gives up reading after a while.
    pub fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).expect("connects");
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("sets");
        socket
    }

    /// Posts JSON with the key and returns the status and the body.
    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        parts(&self.send(&request(path, KEY, body)))
    }
}

/// A request that asks the server to close afterwards.
pub fn request(path: &str, key: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {key}\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Status and body of an answer.
pub fn parts(answer: &str) -> (u16, String) {
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    (status.unwrap_or(0), body.unwrap_or_default())
}

/// Waits for something that happens on another thread.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{what} did not happen"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
