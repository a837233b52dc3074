//! What a client must do, and not do, when a server behaves well and badly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mistral_core::plan::Plan;
use serde_json::Value;

use super::child::Ended;
use super::mock::{Act, Api, Mock, Seen};
use crate::CodegenError;
use crate::targets::api::{asked, billed};

/// The key that clients are given, with characters that a careless script would stumble over.
const KEY: &str = "k3y-$HOME-'quoted'-*";
/// A prompt that a careless client would change.
const PROMPT: &str = "it's \"é\" 中\u{1f980} $(id) `id` ${HOME} \\n {{ x }} %s -- <b> \u{202e}";

/// A run of a client: what it is asked, how the server behaves, what must come of it.
struct Scenario {
    name: &'static str,
    command: &'static str,
    prompts: Vec<String>,
    acts: Vec<Act>,
    variables: Vec<(&'static str, String)>,
    /// Whether the key is in its variable.
    key: bool,
    exit: i32,
    /// Statuses of the requests that must have arrived, in order.
    statuses: Vec<u16>,
    holds: fn(&Run<'_>) -> bool,
}

/// What a run left.
struct Run<'r> {
    ended: &'r Ended,
    seen: &'r [Seen],
    took: Duration,
}

impl Run<'_> {
    fn said(&self, text: &str) -> bool {
        self.ended.stdout.trim_end_matches('\n') == text
    }

    fn roles(&self, request: usize) -> Vec<&str> {
        let messages = self
            .seen
            .get(request)
            .and_then(|s| s.body["messages"].as_array());
        let roles = messages.into_iter().flatten();
        roles.filter_map(|m| m["role"].as_str()).collect()
    }
}

/// Runs a client through every scenario; `start` starts it with arguments and variables. Gives back
/// what didn't hold.
///
/// # Errors
/// [`CodegenError::Io`] when the mock or the client can't be started.
pub(super) fn run(
    api: &Arc<Api>,
    plan: &Plan,
    start: impl Fn(&[&str], &[(&str, &str)]) -> Result<Option<Ended>, CodegenError>,
) -> Result<Vec<String>, CodegenError> {
    let key_name = plan.serve.api_key_env.as_deref();
    let model = asked(plan);
    let mut findings = Vec::new();
    for scenario in scenarios(plan) {
        let sent = if key_name.is_some() { KEY } else { "" };
        let mock = Mock::start(Arc::clone(api), sent, scenario.acts.iter().copied(), 0);
        let mock = mock.map_err(CodegenError::io("loopback"))?;
        let base = mock.base_url();
        let mut variables = vec![
            ("MISTRAL_BASE_URL", base.as_str()),
            // The mock takes what Mistral's document describes.
            ("MISTRAL_DIALECT", "mistral"),
        ];
        if let Some(name) = key_name.filter(|_| scenario.key) {
            variables.push((name, KEY));
        }
        let own = scenario.variables.iter();
        variables.extend(own.map(|(name, value)| (*name, value.as_str())));
        let prompts = scenario.prompts.iter().map(String::as_str);
        let arguments: Vec<&str> = [scenario.command].into_iter().chain(prompts).collect();
        let begun = Instant::now();
        let Some(ended) = start(&arguments, &variables)? else {
            return Ok(vec!["the client can't be started".to_owned()]);
        };
        let seen = mock.seen();
        let run = Run {
            ended: &ended,
            seen: &seen,
            took: begun.elapsed(),
        };
        findings.extend(finding(&scenario, &run, &model));
    }
    Ok(findings)
}

/// What didn't hold of a run.
fn finding(scenario: &Scenario, run: &Run<'_>, model: &str) -> Option<String> {
    let statuses: Vec<u16> = run.seen.iter().map(|s| s.status).collect();
    let Ended {
        status,
        late,
        stdout,
        stderr,
    } = run.ended;
    let wrong = if *status != Some(scenario.exit) || *late {
        format!("exit status {status:?}, expected {}", scenario.exit)
    } else if statuses != scenario.statuses {
        format!(
            "requests got {statuses:?}, expected {:?}",
            scenario.statuses
        )
    } else if let Some(other) = run.seen.iter().find(|s| s.body["model"] != model) {
        format!(
            "asked for the model {}, expected {model:?}",
            other.body["model"]
        )
    } else if stdout.contains(KEY) || stderr.contains(KEY) {
        "the key was printed".to_owned()
    } else if !(scenario.holds)(run) {
        format!("not as described, after {} ms", run.took.as_millis())
    } else {
        return None;
    };
    let bodies: Vec<String> = run.seen.iter().map(|s| s.body.to_string()).collect();
    Some(format!(
        "{}: {wrong}\nprinted: {stdout}\nsaid: {stderr}\nsent: {}",
        scenario.name,
        bodies.join("\n")
    ))
}

impl Scenario {
    /// A chat of one prompt that succeeds.
    fn new(name: &'static str, command: &'static str) -> Self {
        Self {
            name,
            command,
            prompts: vec![PROMPT.to_owned()],
            acts: vec![Act::Answer],
            variables: Vec::new(),
            key: true,
            exit: 0,
            statuses: vec![200],
            holds: |_| true,
        }
    }

    /// One that fails after these requests.
    fn failing(name: &'static str, command: &'static str, act: Act, statuses: &[u16]) -> Self {
        Self {
            acts: vec![act],
            exit: 1,
            statuses: statuses.to_vec(),
            ..Self::new(name, command)
        }
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.variables.push((name, value.to_string()));
        self
    }
}

fn scenarios(plan: &Plan) -> Vec<Scenario> {
    let mut list = well_behaved();
    list.extend(ill_behaved());
    if plan.serve.api_key_env.is_some() {
        list.push(Scenario {
            key: false,
            exit: 2,
            statuses: Vec::new(),
            ..Scenario::new("a missing key is asked for before anything is sent", "chat")
        });
    }
    list.extend(guarded(plan));
    list
}

fn well_behaved() -> Vec<Scenario> {
    vec![
        Scenario {
            holds: |run| run.said(&format!("You said: {PROMPT}")),
            ..Scenario::new("a chat", "chat")
        },
        Scenario {
            prompts: vec![PROMPT.to_owned(), "And now?".to_owned()],
            statuses: vec![200, 200],
            holds: |run| {
                run.said(&format!("You said: {PROMPT}\nYou said: And now?"))
                    && run.roles(1) == ["user", "assistant", "user"]
            },
            ..Scenario::new("prompts are turns of one conversation", "chat")
        },
        Scenario {
            holds: |run| {
                run.said(&format!("You said: {PROMPT}")) && run.seen[0].body["stream"] == true
            },
            ..Scenario::new("a streamed answer", "stream")
        },
        Scenario {
            statuses: vec![200, 200],
            holds: |run| {
                let result = run.ended.stdout.strip_prefix("The result is ");
                let result = result.and_then(|r| serde_json::from_str::<Value>(r).ok());
                result.is_some_and(|r| r["words"] == 1)
                    && run.roles(1) == ["user", "assistant", "tool"]
                    && run.seen[1].body["messages"][2]["tool_call_id"] == "abcDEF123"
            },
            ..Scenario::new("a function is called and its result sent back", "tools")
        },
        Scenario {
            holds: |run| {
                let made: Value = serde_json::from_str(&run.ended.stdout).unwrap_or_default();
                let format = &run.seen[0].body["response_format"];
                made["mood"] == "good"
                    && made["keywords"].as_array().is_some_and(|k| k.len() == 1)
                    && format["json_schema"]["strict"] == true
            },
            ..Scenario::new("an answer that follows a schema", "schema")
        },
        Scenario {
            acts: vec![Act::TooMany(1), Act::Answer],
            statuses: vec![429, 200],
            holds: |run| run.took >= Duration::from_secs(1) && run.took < Duration::from_secs(8),
            ..Scenario::new("Retry-After is waited for", "chat")
        },
        Scenario {
            acts: vec![Act::Fail(503), Act::Fail(502), Act::Answer],
            statuses: vec![503, 502, 200],
            holds: |run| run.said(&format!("You said: {PROMPT}")),
            ..Scenario::new("a stream is asked for again while none has begun", "stream")
        },
    ]
}

fn ill_behaved() -> Vec<Scenario> {
    vec![
        Scenario {
            holds: |run| run.ended.stderr.contains("500") && run.took > Duration::from_millis(700),
            ..Scenario::failing("it gives up in the end", "chat", Act::Fail(500), &[500; 3])
        }
        .with("MISTRAL_RETRIES", 2),
        Scenario {
            holds: |run| run.ended.stderr.contains("400"),
            ..Scenario::failing(
                "a bad request isn't repeated",
                "chat",
                Act::Fail(400),
                &[400],
            )
        },
        Scenario::failing(
            "a wait of days isn't waited",
            "chat",
            Act::TooMany(172_800),
            &[429],
        ),
        Scenario {
            holds: |run| {
                // The first event has no text, the others five characters each.
                run.ended.stdout.starts_with("You said: ") && run.ended.stderr.contains("cut")
            },
            ..Scenario::failing("a cut stream is an error", "stream", Act::Cut(4), &[200])
        },
        Scenario::failing("half an answer is an error", "chat", Act::Cut(0), &[200])
            .with("MISTRAL_RETRIES", 0),
        Scenario::failing("what isn't JSON is an error", "chat", Act::Garbage, &[200])
            .with("MISTRAL_RETRIES", 0),
        Scenario {
            holds: |run| run.took < Duration::from_secs(4),
            ..Scenario::failing(
                "a late answer isn't waited for",
                "chat",
                Act::Slow(Duration::from_secs(6)),
                &[200],
            )
        }
        .with("MISTRAL_TIMEOUT_S", 1)
        .with("MISTRAL_RETRIES", 0),
        Scenario {
            holds: |run| run.took < Duration::from_secs(8),
            ..Scenario::failing(
                "a slow stream isn't waited for",
                "stream",
                Act::Slow(Duration::from_millis(400)),
                &[200],
            )
        }
        .with("MISTRAL_TIMEOUT_S", 1)
        .with("MISTRAL_RETRIES", 0),
        Scenario {
            prompts: Vec::new(),
            exit: 2,
            statuses: Vec::new(),
            ..Scenario::new("a call without a prompt is refused", "chat")
        },
    ]
}

/// Limits in dollars: one that no request keeps, and one that the first request keeps whatever its
/// language writes around the prompt, and the second can't. A server that bills nothing has none.
fn guarded(plan: &Plan) -> Vec<Scenario> {
    let Some((prompt, answer)) = billed(plan) else {
        return Vec::new();
    };
    let later = answer + 6000.0 * prompt;
    vec![
        Scenario {
            exit: 3,
            statuses: Vec::new(),
            ..Scenario::new("the first request may cost too much", "chat")
        }
        .with("MISTRAL_USD_LIMIT", "0.000000001"),
        Scenario {
            prompts: vec![PROMPT.to_owned(), "x".repeat(1 << 16)],
            exit: 3,
            holds: |run| run.said(&format!("You said: {PROMPT}")),
            ..Scenario::new("the second request may cost too much", "stream")
        }
        .with("MISTRAL_USD_LIMIT", format!("{later:.12}")),
    ]
}
