//! A server that answers as an OpenAPI document says, for clients to be run against.
//!
//! It reads the document at run time, checks every request's body against the document's schema,
//! makes answers that follow the schema of answers (and checks them too), and fails as it is told:
//! see [`Act`]. It listens on loopback, and it is no model: it repeats what it is told, calls the
//! first function that it is offered, and makes up values for a schema.

mod answer;
mod api;
mod http;

use std::collections::VecDeque;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

pub use api::Api;

use http::{Head, Stream};

/// What is done with a request that is valid; the last of a list is done with all that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Answers.
    Answer,
    /// Says 429, with the seconds to wait.
    TooMany(u64),
    /// Says this status.
    Fail(u16),
    /// Waits so long before the answer, and before each event of a stream.
    Slow(Duration),
    /// Ends the connection after so many events, or in the middle of the answer.
    Cut(usize),
    /// Answers with something that isn't JSON.
    Garbage,
}

/// A text that names no [`Act`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected answer, 429:SECONDS, slow:MILLISECONDS, cut:EVENTS, garbage or a status, found {found:?}"
)]
pub struct UnknownAct {
    /// The text, at most 64 characters of it.
    pub found: String,
}

impl FromStr for Act {
    type Err = UnknownAct;

    fn from_str(text: &str) -> Result<Self, UnknownAct> {
        let (name, number) = text.split_once(':').unwrap_or((text, ""));
        let unknown = || UnknownAct {
            found: text.chars().take(64).collect(),
        };
        match (name, number.parse::<u32>()) {
            ("answer", Err(_)) if number.is_empty() => Ok(Self::Answer),
            ("garbage", Err(_)) if number.is_empty() => Ok(Self::Garbage),
            ("429", Ok(seconds)) => Ok(Self::TooMany(u64::from(seconds))),
            ("slow", Ok(ms)) => Ok(Self::Slow(Duration::from_millis(u64::from(ms)))),
            ("cut", Ok(events)) => Ok(Self::Cut(events as usize)),
            (status, Err(_)) if number.is_empty() => {
                let status = status.parse().ok().filter(|s| (400..600).contains(s));
                status.map(Self::Fail).ok_or_else(unknown)
            }
            _ => Err(unknown()),
        }
    }
}

/// A request as it came, and the status that it got.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The body; null where it wasn't JSON.
    pub body: Value,
    /// The status.
    pub status: u16,
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Mock {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    api: Arc<Api>,
    key: String,
    acts: Mutex<VecDeque<Act>>,
    seen: Mutex<Vec<Seen>>,
    stopped: AtomicBool,
}

impl Mock {
    /// Starts on loopback, port 0 for any that is free. Clients have to send `key`; an empty one asks
    /// for none.
    ///
    /// # Errors
    /// When the port can't be bound.
    pub fn start(
        api: Arc<Api>,
        key: &str,
        acts: impl IntoIterator<Item = Act>,
        port: u16,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            api,
            key: key.to_owned(),
            acts: Mutex::new(acts.into_iter().collect()),
            seen: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || serve(&listener, &shared));
        Ok(Self {
            address,
            state,
            thread: Some(thread),
        })
    }

    /// The address that clients take as base, up to and with `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What was asked so far, but for what was taken.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    /// What was asked since this was last called. A server that runs for long has to be asked, since
    /// it keeps every request until then.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *lock(&self.state.seen))
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes the loop that waits for a connection.
        let woken = TcpStream::connect(self.address);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            // The loop has nothing to report.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(listener: &TcpListener, state: &Arc<State>) {
    for connection in listener.incoming() {
        if state.stopped.load(Ordering::Relaxed) {
            return;
        }
        let Ok(connection) = connection else { continue };
        let state = Arc::clone(state);
        // A client that leaves in the middle is what is being tested: nothing to report.
        std::thread::spawn(move || {
            let _ = state.converse(&connection);
        });
    }
}

impl State {
    fn converse(&self, connection: &TcpStream) -> std::io::Result<()> {
        connection.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut reader = BufReader::new(connection);
        let Some((head, body)) = http::read(&mut reader)? else {
            return Ok(());
        };
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let refused = self.refused(&head, &body);
        let act = match refused {
            Some(_) => Act::Answer,
            None => self.next_act(),
        };
        let status = match (&refused, act) {
            (Some((status, _)), _) => *status,
            (None, Act::TooMany(_)) => 429,
            (None, Act::Fail(status)) => status,
            (None, _) => 200,
        };
        lock(&self.seen).push(Seen {
            body: body.clone(),
            status,
        });
        let mut out = connection;
        match (refused, act) {
            (Some((status, said)), _) => http::respond(&mut out, status, &[], &said.to_string()),
            (None, Act::TooMany(seconds)) => {
                let wait = ("retry-after", seconds.to_string());
                let said = json!({"message": "Requests rate limit exceeded"});
                http::respond(&mut out, 429, &[wait], &said.to_string())
            }
            (None, Act::Fail(status)) => {
                let said = json!({"message": "told to fail"});
                http::respond(&mut out, status, &[], &said.to_string())
            }
            (None, Act::Garbage) => http::respond(&mut out, 200, &[], "<html>no answer</html>"),
            (None, act) => self.answer(&mut out, &body, act),
        }
    }

    fn next_act(&self) -> Act {
        let mut acts = lock(&self.acts);
        match acts.len() {
            0 => Act::Answer,
            1 => acts[0],
            _ => acts.pop_front().unwrap_or(Act::Answer),
        }
    }

    /// The status and body for a request that isn't valid.
    fn refused(&self, head: &Head, body: &Value) -> Option<(u16, Value)> {
        let wrong = |status, message: &str| Some((status, json!({"message": message})));
        let key = &self.key;
        if !key.is_empty() && head.authorization != format!("Bearer {key}") {
            return wrong(401, "Unauthorized");
        }
        if head.path != api::PATH {
            return wrong(404, "no such path");
        }
        if head.method != "POST" {
            return wrong(405, "POST only");
        }
        let found = self.api.flaw(body)?;
        let detail = json!({"loc": ["body"], "msg": found, "type": "schema"});
        Some((422, json!({"detail": [detail]})))
    }

    fn answer(&self, out: &mut impl std::io::Write, body: &Value, act: Act) -> std::io::Result<()> {
        let pause = match act {
            Act::Slow(pause) => pause,
            _ => Duration::ZERO,
        };
        if body["stream"] != true {
            let (status, said) = match self.api.response(body) {
                Ok(answer) => (200, answer.to_string()),
                Err(flaw) => (500, json!({"message": flaw}).to_string()),
            };
            std::thread::sleep(pause);
            return match act {
                Act::Cut(_) => http::half(out, &said),
                _ => http::respond(out, status, &[], &said),
            };
        }
        let events = match self.api.events(body) {
            Ok(events) => events,
            Err(flaw) => {
                return http::respond(out, 500, &[], &json!({"message": flaw}).to_string());
            }
        };
        let mut stream = Stream::begin(out)?;
        for (index, event) in events.iter().enumerate() {
            if matches!(act, Act::Cut(after) if index >= after) {
                return Ok(());
            }
            std::thread::sleep(pause);
            stream.send(&format!("data: {event}\n\n"))?;
        }
        stream.send("data: [DONE]\n\n")?;
        stream.end()
    }
}
