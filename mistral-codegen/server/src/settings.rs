//! What the environment decides: the address, the key, the model's place, the limits.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::plan;

/// Connections at once, when the environment doesn't say.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not 0");

/// Requests that wait for each that is answered, when the environment doesn't say.
const WAITING_PER_SLOT: usize = 4;

/// How the server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address to bind (`HOST`).
    pub host: IpAddr,
    /// Port to bind (`PORT`).
    pub port: u16,
    /// The model's folder or GGUF file (`MODEL_PATH`).
    pub model: PathBuf,
    /// Schedules that a search found for the kernels (`SCHEDULES`): a `ScheduleBook`'s file.
    pub schedules: Option<PathBuf>,
    /// Threads that run the model (`THREADS`); `None` takes all.
    pub threads: Option<usize>,
    /// The key that clients must send, from the plan's variable.
    pub key: Option<String>,
    /// Largest body of a request, in bytes (`MAX_BODY_BYTES`).
    pub body_bytes: usize,
    /// Time for an answer, its wait in the queue included (`ANSWER_SECONDS`).
    pub answer_time: Duration,
    /// Time for a request's body (`BODY_SECONDS`).
    pub body_time: Duration,
    /// Time for a request's head, and for an idle connection (`HEADER_SECONDS`).
    pub header_time: Duration,
    /// Largest head of a request, in bytes.
    pub header_bytes: usize,
    /// Connections at once (`MAX_CONNECTIONS`).
    pub connections: NonZeroUsize,
    /// Answers that are made at the same moment (`SLOTS`).
    pub slots: NonZeroUsize,
    /// Requests that wait for a slot (`MAX_WAITING`); one more is refused.
    pub waiting: usize,
    /// Time for answers that are being given when the server is asked to stop
    /// (`SHUTDOWN_SECONDS`).
    pub shutdown_time: Duration,
    /// Time in which a client has to take something of what was sent to it (`WRITE_SECONDS`).
    pub write_time: Duration,
}

/// Why the server doesn't start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSetting(String);

impl std::fmt::Display for BadSetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadSetting {}

impl Settings {
    /// Settings from an environment such as `std::env::var` reads it; an empty value counts as
    /// absent.
    ///
    /// # Errors
    /// [`BadSetting`] for a value out of range, a key that is missing, or an address that others
    /// can reach without one.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, BadSetting> {
        let get = |name: &str| given(&variable, name);
        let key = match plan::KEY_VARIABLE {
            None => None,
            Some(name) => {
                let missing =
                    || BadSetting(format!("set {name} to the key that clients must send"));
                Some(get(name).ok_or_else(missing)?)
            }
        };
        let default: IpAddr = parse("the plan's address", plan::HOST)?;
        let host = number(&get, "HOST", default)?;
        if key.is_none() && !host.is_loopback() {
            let message = "refused to listen beyond this machine without a key: bind a loopback \
                           address, or plan a variable for the key";
            return Err(BadSetting(message.to_owned()));
        }
        let slots = NonZeroUsize::new(plan::CONCURRENCY).unwrap_or(NonZeroUsize::MIN);
        let slots = number(&get, "SLOTS", slots)?;
        // A token is at most a few bytes of text and rarely more than six of JSON.
        let body_bytes = plan::CONTEXT_TOKENS
            .saturating_mul(16)
            .saturating_add(1 << 16);
        let seconds = |name, default| Ok(Duration::from_secs(number(&get, name, default)?));
        Ok(Self {
            host,
            port: number(&get, "PORT", plan::PORT)?,
            model: model_path(&variable),
            schedules: get("SCHEDULES")
                .or_else(|| plan::SCHEDULES.map(str::to_owned))
                .map(PathBuf::from),
            threads: match get("THREADS") {
                None => plan::THREADS,
                Some(text) => Some(parse("THREADS", &text)?),
            },
            key,
            body_bytes: number(&get, "MAX_BODY_BYTES", body_bytes)?,
            answer_time: seconds("ANSWER_SECONDS", 600)?,
            body_time: seconds("BODY_SECONDS", 30)?,
            header_time: seconds("HEADER_SECONDS", 15)?,
            header_bytes: 1 << 16,
            connections: number(&get, "MAX_CONNECTIONS", CONNECTIONS)?,
            waiting: number(
                &get,
                "MAX_WAITING",
                slots.get().saturating_mul(WAITING_PER_SLOT),
            )?,
            slots,
            shutdown_time: seconds("SHUTDOWN_SECONDS", 30)?,
            write_time: seconds("WRITE_SECONDS", 30)?,
        })
    }
}

/// The model's folder or GGUF file: what `MODEL_PATH` names in such an environment, else the plan's.
pub fn model_path(variable: impl Fn(&str) -> Option<String>) -> PathBuf {
    let named = given(&variable, "MODEL_PATH");
    named.map_or_else(|| plan::MODEL_PATH.into(), PathBuf::from)
}

/// A variable's value; an empty one counts as absent.
fn given(variable: &impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    variable(name).filter(|value| !value.is_empty())
}

fn number<T: FromStr>(
    get: &impl Fn(&str) -> Option<String>,
    name: &str,
    default: T,
) -> Result<T, BadSetting> {
    get(name).map_or(Ok(default), |text| parse(name, &text))
}

fn parse<T: FromStr>(name: &str, text: &str) -> Result<T, BadSetting> {
    let kind = std::any::type_name::<T>()
        .rsplit("::")
        .next()
        .unwrap_or("value");
    text.trim()
        .parse()
        .map_err(|_| BadSetting(format!("{name}: expected {kind}, found {text:?}")))
}
