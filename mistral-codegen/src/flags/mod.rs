//! Which flags an engine's version has, and what each takes.
//!
//! The tables are data files with their source. A command is built through a table, so that an
//! unknown flag or a value of the wrong kind can't be generated.

mod command;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use serde::Deserialize;

pub use command::{Command, Explained, Why, Word, why};

use crate::CodegenError;

/// vLLM 0.33.0.
///
/// # Panics
/// Never: the embedded file is read by a test.
pub static VLLM: LazyLock<FlagTable> =
    LazyLock::new(|| embedded(include_str!("../../data/vllm-0.33.0.json")));

/// llama.cpp's server at commit 00dc805.
///
/// # Panics
/// Never: the embedded file is read by a test.
pub static LLAMA_SERVER: LazyLock<FlagTable> =
    LazyLock::new(|| embedded(include_str!("../../data/llama-server-00dc805.json")));

fn embedded(text: &str) -> FlagTable {
    serde_json::from_str(text).expect("the embedded tables are read by a test")
}

/// The flags of one version of one engine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagTable {
    /// The engine's command name.
    pub engine: String,
    /// The version that the table was read from.
    pub version: String,
    /// What it was read from.
    pub source: String,
    /// When it was read, as `YYYY-MM-DD`.
    pub date: String,
    /// The container image of that version.
    pub image: String,
    /// The environment variable that the engine takes its API key from.
    pub api_key_env: String,
    /// Flags that commands may have, with what they take.
    flags: BTreeMap<String, Takes>,
    /// Flags that exist and whose values this table doesn't describe.
    untyped: BTreeSet<String>,
    /// Flags that earlier versions had, with what to do instead (empty when nothing is needed).
    removed: BTreeMap<String, String>,
}

/// What a flag takes.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Takes {
    Kind(Kind),
    OneOf(Vec<String>),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Nothing.
    Switch,
    /// A whole number from 1.
    Count,
    /// A whole number.
    Integer,
    /// A finite number.
    Number,
    /// A number above 0, at most 1.
    Fraction,
    /// An IP address.
    Address,
    /// A TCP port.
    Port,
    /// A count, `auto` or `all`.
    Layers,
    /// A JSON object.
    Json,
    /// Any text that doesn't look like a flag.
    Text,
}

impl Kind {
    fn expected(self) -> &'static str {
        match self {
            Self::Switch => "no value",
            Self::Count => "a whole number from 1",
            Self::Integer => "a whole number",
            Self::Number => "a finite number",
            Self::Fraction => "a number above 0 and at most 1",
            Self::Address => "an IP address",
            Self::Port => "a port from 1 to 65535",
            Self::Layers => "a number of layers, auto or all",
            Self::Json => "a JSON object",
            Self::Text => "a text that doesn't begin with -",
        }
    }

    fn accepts(self, value: Option<&str>) -> bool {
        let Some(v) = value else {
            return matches!(self, Self::Switch);
        };
        match self {
            Self::Switch => false,
            Self::Count => v.parse::<u64>().is_ok_and(|n| n > 0),
            Self::Integer => v.parse::<i64>().is_ok(),
            Self::Number => v.parse::<f64>().is_ok_and(f64::is_finite),
            Self::Fraction => v.parse::<f64>().is_ok_and(|x| x > 0.0 && x <= 1.0),
            Self::Address => v.parse::<IpAddr>().is_ok(),
            Self::Port => v.parse::<u16>().is_ok_and(|p| p > 0),
            Self::Layers => matches!(v, "auto" | "all") || v.parse::<u32>().is_ok(),
            Self::Json => {
                serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(v).is_ok()
            }
            Self::Text => !v.is_empty() && !v.starts_with('-'),
        }
    }
}

impl FlagTable {
    /// Checks a flag and its value.
    ///
    /// # Errors
    /// [`CodegenError::UnknownFlag`] or [`CodegenError::FlagValue`].
    pub fn check(&self, flag: &str, value: Option<&str>) -> Result<(), CodegenError> {
        let Some(takes) = self.flags.get(flag) else {
            let hint = match self.removed.get(flag) {
                Some(instead) if instead.is_empty() => ": it was removed".to_owned(),
                Some(instead) => format!(": it was removed; {instead}"),
                None if self.untyped.contains(flag) => {
                    " whose value this table describes".to_owned()
                }
                None => String::new(),
            };
            return Err(CodegenError::UnknownFlag {
                engine: self.engine.clone(),
                version: self.version.clone(),
                flag: flag.to_owned(),
                hint,
            });
        };
        let (fits, expected) = match takes {
            Takes::Kind(kind) => (kind.accepts(value), kind.expected().to_owned()),
            Takes::OneOf(names) => (
                value.is_some_and(|v| names.iter().any(|n| n == v)),
                names.join(", "),
            ),
        };
        if fits {
            return Ok(());
        }
        Err(CodegenError::FlagValue {
            engine: self.engine.clone(),
            version: self.version.clone(),
            flag: flag.to_owned(),
            expected,
            found: value.unwrap_or("no value").chars().take(80).collect(),
        })
    }

    /// Checks the arguments after the engine's command, as a generated script or file has them:
    /// positional words first, then each flag with at most one value.
    ///
    /// # Errors
    /// As [`check`](Self::check), for the first argument that doesn't fit.
    pub fn check_arguments(&self, words: &[String]) -> Result<(), CodegenError> {
        let mut words = words.iter().skip_while(|w| !w.starts_with("--")).peekable();
        while let Some(flag) = words.next() {
            // A negative number is a value; everything else that begins with - is a flag.
            let value = words.next_if(|w| !w.starts_with('-') || w.parse::<f64>().is_ok());
            self.check(flag, value.map(String::as_str))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_and_refuse_by_name() {
        let vllm = &*VLLM;
        let llama = &*LLAMA_SERVER;
        let cases: &[(&FlagTable, &str, Option<&str>, Option<&str>)] = &[
            (vllm, "--max-model-len", Some("32768"), None),
            (
                vllm,
                "--max-model-len",
                Some("0"),
                Some("a whole number from 1"),
            ),
            (vllm, "--max-model-len", None, Some("no value")),
            (vllm, "--enable-auto-tool-choice", None, None),
            (
                vllm,
                "--enable-auto-tool-choice",
                Some("yes"),
                Some("expects no value"),
            ),
            (
                vllm,
                "--tokenizer-mode",
                Some("slow"),
                Some("auto, hf, mistral"),
            ),
            (vllm, "--swap-space", Some("4"), Some("it was removed")),
            (
                vllm,
                "--guided-decoding-backend",
                Some("x"),
                Some("--structured-outputs-config"),
            ),
            (vllm, "--enable-mm", None, Some("it was removed")),
            (
                vllm,
                "--no-such-flag",
                None,
                Some("has no flag --no-such-flag"),
            ),
            (
                vllm,
                "--compilation-config",
                Some("{}"),
                Some("this table describes"),
            ),
            (
                vllm,
                "--served-model-name",
                Some("--port"),
                Some("begin with -"),
            ),
            (
                vllm,
                "--override-generation-config",
                Some("[1]"),
                Some("a JSON object"),
            ),
            (llama, "--n-gpu-layers", Some("all"), None),
            (llama, "--seed", Some("-1"), None),
            (llama, "--cache-type-k", Some("q8_0"), None),
            (llama, "--cache-type-k", Some("fp8"), Some("q8_0")),
            (llama, "--draft-max", Some("4"), Some("--spec-draft-n-max")),
        ];
        for (table, flag, value, error) in cases {
            let found = table.check(flag, *value).err().map(|e| e.to_string());
            match (error, &found) {
                (None, None) => {}
                (Some(part), Some(text)) => assert!(text.contains(part), "{flag}: {text}"),
                _ => panic!("{flag} {value:?}: expected {error:?}, found {found:?}"),
            }
        }
    }

    #[test]
    fn arguments_of_a_command_line() {
        let words = |s: &str| s.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let good = "vllm serve a/b --port 8000 --seed -1 --enable-auto-tool-choice";
        VLLM.check_arguments(&words(good)).expect("all are known");
        for bad in [
            "serve a --port 8000 --nope",
            "serve a --port 99999",
            "serve --port",
        ] {
            assert!(VLLM.check_arguments(&words(bad)).is_err(), "{bad}");
        }
    }
}
