//! Settings from the environment.

use std::time::Duration;

use crate::{Error, plan};

/// What differs between servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Mistral's API: `random_seed`, tokens counted in every stream.
    Mistral,
    /// Other servers: `seed`, tokens of a stream counted when asked for.
    OpenAi,
}

/// Where requests go and what they may take.
#[derive(Clone)]
pub struct Settings {
    /// Address up to and with `/v1`.
    pub base_url: String,
    /// The key, for servers that ask for one.
    pub key: Option<String>,
    /// How the server names things.
    pub dialect: Dialect,
    /// Dollars that a process may spend.
    pub limit_usd: f64,
    /// Time for a request, its streamed answer included.
    pub timeout: Duration,
    /// Further tries after a failed one.
    pub retries: u32,
}

/// Shows everything but the key.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("base_url", &self.base_url)
            .field("key", &self.key.as_ref().map(|_| "…"))
            .field("dialect", &self.dialect)
            .field("limit_usd", &self.limit_usd)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .finish()
    }
}

impl Settings {
    /// Settings from variables such as `|name| std::env::var(name).ok()` finds, the plan's where
    /// there are none.
    ///
    /// # Errors
    /// [`Error::Setting`] for a missing key and for values that can't be meant.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let key = match plan::KEY_VARIABLE {
            None => None,
            Some(name) => Some(key(name, get(name))?),
        };
        let url = get("MISTRAL_BASE_URL").unwrap_or_else(|| plan::BASE_URL.to_owned());
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(wrong(
                "MISTRAL_BASE_URL",
                "an address that begins with https:// or http://",
            ));
        }
        let dialect = get("MISTRAL_DIALECT").unwrap_or_else(|| plan::DIALECT.to_owned());
        let dialect = match dialect.as_str() {
            "mistral" => Dialect::Mistral,
            "openai" => Dialect::OpenAi,
            _ => return Err(wrong("MISTRAL_DIALECT", "mistral or openai")),
        };
        let number = |name, otherwise| match get(name) {
            None => Ok(otherwise),
            Some(text) => match text.parse::<f64>() {
                Ok(number) if (0.0..=1e9).contains(&number) => Ok(number),
                _ => Err(wrong(name, "a number from 0 to 1e9")),
            },
        };
        Ok(Self {
            base_url: url.trim_end_matches('/').to_owned(),
            key,
            dialect,
            limit_usd: number("MISTRAL_USD_LIMIT", plan::USD_LIMIT)?,
            timeout: Duration::from_secs_f64(number("MISTRAL_TIMEOUT_S", 300.0)?.max(0.001)),
            retries: number("MISTRAL_RETRIES", 4.0)? as u32,
        })
    }
}

/// A key that fits a header.
fn key(name: &str, value: Option<String>) -> Result<String, Error> {
    let value = value.ok_or_else(|| wrong(name, "the key; the variable is not set"))?;
    if !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong(name, "a key of printable characters without spaces"));
    }
    Ok(value)
}

fn wrong(name: &str, expected: &'static str) -> Error {
    Error::Setting {
        name: name.to_owned(),
        expected,
    }
}
