//! What a flag takes.

use std::net::IpAddr;

use serde::Deserialize;

use super::settings;

/// What a flag takes.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Takes {
    /// A value of a kind, or nothing.
    Kind(Kind),
    /// One of these.
    OneOf(Vec<String>),
    /// One of these; a plugin of the engine may know more.
    Known { known: Vec<String> },
    /// One value or more, each a word of its own.
    Many { many: Box<Takes> },
    /// A value or none.
    Optional { optional: Box<Takes> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Nothing.
    Switch,
    /// Nothing, and `--no-…` turns it off.
    Toggle,
    /// A whole number from 1.
    Count,
    /// A whole number.
    Integer,
    /// A finite number.
    Number,
    /// A number above 0, at most 1.
    Fraction,
    /// `true` or `false`, in the spellings of Go.
    Boolean,
    /// A whole number, which may end in k, M and so on.
    Tokens,
    /// The same, `auto` or -1.
    TokensOrAuto,
    /// An IP address.
    Address,
    /// A TCP port.
    Port,
    /// A count, `auto` or `all`.
    Layers,
    /// A JSON value.
    Json,
    /// A JSON object.
    Object,
    /// A JSON object, or a name.
    JsonOrText,
    /// A kind with its settings: a JSON object, or `kind=NAME,…`.
    Config,
    /// Any text that doesn't look like a flag.
    Text,
}

impl Takes {
    /// Whether a word that follows the flag belongs to it.
    pub(super) fn wants_value(&self) -> bool {
        !matches!(self, Self::Kind(Kind::Switch | Kind::Toggle))
    }

    /// Whether all words that follow the flag belong to it.
    pub(super) fn wants_many(&self) -> bool {
        matches!(self, Self::Many { .. })
    }

    pub(super) fn is_toggle(&self) -> bool {
        matches!(self, Self::Kind(Kind::Toggle))
    }

    /// The kind and settings that `value` gives it.
    pub(super) fn settings(&self, value: &str) -> Option<serde_json::Value> {
        matches!(self, Self::Kind(Kind::Config))
            .then(|| settings::parsed(value))
            .flatten()
    }

    /// Whether `--flag.key value` sets a part of it.
    pub(super) fn has_parts(&self) -> bool {
        matches!(
            self,
            Self::Kind(Kind::Json | Kind::Object | Kind::JsonOrText)
        )
    }

    pub(super) fn expected(&self) -> String {
        match self {
            Self::Kind(kind) => kind.expected().to_owned(),
            Self::OneOf(names) | Self::Known { known: names } => names.join(", "),
            Self::Many { many } => format!("one or more of: {}", many.expected()),
            Self::Optional { optional } => format!("nothing, or {}", optional.expected()),
        }
    }

    pub(super) fn accepts(&self, value: Option<&str>) -> bool {
        match self {
            Self::Kind(kind) => kind.accepts(value),
            Self::OneOf(names) | Self::Known { known: names } => {
                value.is_some_and(|v| names.iter().any(|name| name == v))
            }
            Self::Many { many } => many.accepts(value),
            Self::Optional { optional } => value.is_none() || optional.accepts(value),
        }
    }
}

impl Kind {
    fn expected(self) -> &'static str {
        match self {
            Self::Switch | Self::Toggle => "no value",
            Self::Count => "a whole number from 1",
            Self::Integer => "a whole number",
            Self::Number => "a finite number",
            Self::Fraction => "a number above 0 and at most 1",
            Self::Boolean => "true or false",
            Self::Tokens => "a whole number such as 4096 or 4k",
            Self::TokensOrAuto => "a whole number such as 4096 or 4k, or auto",
            Self::Address => "an IP address",
            Self::Port => "a port from 1 to 65535",
            Self::Layers => "a number of layers, auto or all",
            Self::Json => "a JSON value",
            Self::Object => "a JSON object",
            Self::JsonOrText => "a JSON object or a name",
            Self::Config => "kind=NAME with settings, or the same as a JSON object",
            Self::Text => "a text that doesn't begin with -",
        }
    }

    fn accepts(self, value: Option<&str>) -> bool {
        let Some(v) = value else {
            return matches!(self, Self::Switch | Self::Toggle);
        };
        let json = || serde_json::from_str::<serde_json::Value>(v).ok();
        match self {
            Self::Switch | Self::Toggle => false,
            Self::Count => v.parse::<u64>().is_ok_and(|n| n > 0),
            Self::Integer => v.parse::<i64>().is_ok(),
            Self::Number => v.parse::<f64>().is_ok_and(f64::is_finite),
            Self::Fraction => v.parse::<f64>().is_ok_and(|x| x > 0.0 && x <= 1.0),
            Self::Boolean => matches!(
                v,
                "1" | "t"
                    | "T"
                    | "true"
                    | "TRUE"
                    | "True"
                    | "0"
                    | "f"
                    | "F"
                    | "false"
                    | "FALSE"
                    | "False"
            ),
            Self::Tokens => is_tokens(v),
            Self::TokensOrAuto => is_tokens(v) || v == "-1" || v.eq_ignore_ascii_case("auto"),
            Self::Address => v.parse::<IpAddr>().is_ok(),
            Self::Port => v.parse::<u16>().is_ok_and(|p| p > 0),
            Self::Layers => matches!(v, "auto" | "all") || v.parse::<u32>().is_ok(),
            Self::Json => json().is_some(),
            Self::Object => json().is_some_and(|value| value.is_object()),
            Self::JsonOrText => !v.trim_start().starts_with('{') || json().is_some(),
            Self::Config => settings::parsed(v).is_some(),
            Self::Text => !v.is_empty() && !v.starts_with('-'),
        }
    }
}

/// A whole number; with k, m, g or t a decimal fraction is fine, with K, M, G or T it isn't.
fn is_tokens(text: &str) -> bool {
    let decimal = text.strip_suffix(['k', 'm', 'g', 't']);
    let binary = text.strip_suffix(['K', 'M', 'G', 'T']);
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    match (decimal, binary) {
        (Some(number), _) => match number.split_once('.') {
            Some((whole, part)) => digits(whole) && digits(part),
            None => digits(number),
        },
        (None, Some(number)) => digits(number),
        (None, None) => digits(text.strip_prefix('-').unwrap_or(text)),
    }
}
