//! The log: one line of JSON for each request, on standard output. Prompts and answers are never in
//! it.

use std::fmt;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// Where lines go.
pub type Sink = Arc<dyn Fn(&str) + Send + Sync>;

/// Standard output. A reader that has left costs the lines, never the server.
#[must_use]
pub fn stdout() -> Sink {
    Arc::new(|line| {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    })
}

/// Says something about the process, not a request, on standard error.
pub fn note(what: &str, detail: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{what}: {detail}");
}

/// One request's line, which is written when the last one who knows more of the request is done.
#[derive(Clone)]
pub struct Entry(Arc<Inner>);

struct Inner {
    id: String,
    route: &'static str,
    begin: Instant,
    told: Mutex<Told>,
    sink: Sink,
}

#[derive(Default)]
struct Told {
    status: u16,
    prompt_tokens: Option<usize>,
    completion_tokens: usize,
    first_token: Option<Duration>,
    finish: Option<&'static str>,
    error: Option<(&'static str, Option<String>)>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&self.0.id).finish()
    }
}

impl Entry {
    /// The line of a request that has just come.
    #[must_use]
    pub fn new(sink: Sink, id: String, route: &'static str) -> Self {
        Self(Arc::new(Inner {
            id,
            route,
            begin: Instant::now(),
            told: Mutex::default(),
            sink,
        }))
    }

    /// The request's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status that was sent.
    pub fn status(&self, status: u16) {
        self.told().status = status;
    }

    /// Tokens of the prompt.
    pub fn prompt(&self, tokens: usize) {
        self.told().prompt_tokens = Some(tokens);
    }

    /// A token of the answer.
    pub fn token(&self) {
        let mut told = self.told();
        told.completion_tokens += 1;
        told.first_token
            .get_or_insert_with(|| self.0.begin.elapsed());
    }

    /// Why the answer ended; without it the client left.
    pub fn finish(&self, why: &'static str) {
        self.told().finish = Some(why);
    }

    /// What went wrong, by its code and, for us alone, its detail.
    pub fn error(&self, code: &'static str, detail: Option<String>) {
        self.told().error = Some((code, detail));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let told = self.told.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut line = Map::new();
        let mut put = |name: &str, value: Value| drop(line.insert(name.to_owned(), value));
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        put("time_s", json!(now.map_or(0.0, rounded_s)));
        put("request_id", json!(self.id));
        put("route", json!(self.route));
        put("status", json!(told.status));
        put("total_s", json!(rounded_s(self.begin.elapsed())));
        if let Some(tokens) = told.prompt_tokens {
            put("prompt_tokens", json!(tokens));
            put("completion_tokens", json!(told.completion_tokens));
            put("finish", json!(told.finish.unwrap_or("client_left")));
        }
        if let Some(first) = told.first_token {
            put("first_token_s", json!(rounded_s(first)));
        }
        if let Some((code, detail)) = &told.error {
            put("error", json!(code));
            if let Some(detail) = detail {
                put("detail", json!(detail));
            }
        }
        (self.sink)(&Value::Object(line).to_string());
    }
}

/// Seconds, to a tenth of a millisecond.
fn rounded_s(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 1e4
}
