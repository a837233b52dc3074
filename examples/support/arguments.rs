//! A command line as positional values, `--option VALUE` pairs and `--switch`es.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// The names that a program accepts, without the leading dashes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Names followed by a value.
    pub valued: &'a [&'a str],
    /// Names that stand alone.
    pub switches: &'a [&'a str],
    /// How many positional values there may be.
    pub max_positional: usize,
}

/// Unusable arguments: what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for UsageError {}

/// A parsed command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    positional: Vec<String>,
    valued: BTreeMap<String, String>,
    switches: BTreeSet<String>,
}

impl Arguments {
    /// Sorts words into positional values, options and switches; `--name=value` works too, and after
    /// `--` every word is positional.
    ///
    /// # Errors
    /// For a name that `options` does not hold, a name given twice, an option without its value, or
    /// too many positional values.
    pub fn parse(
        words: impl IntoIterator<Item = String>,
        options: &Options,
    ) -> Result<Self, UsageError> {
        let mut parsed = Self::default();
        let mut words = words.into_iter();
        let mut only_positional = false;
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").filter(|_| !only_positional) else {
                parsed.positional.push(word);
                continue;
            };
            if flag.is_empty() {
                only_positional = true;
                continue;
            }
            let (name, inline) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let fresh = if options.valued.contains(&name) {
                let value = inline.or_else(|| words.next());
                let value = value.ok_or_else(|| UsageError(format!("--{name} wants a value")))?;
                parsed.valued.insert(name.to_owned(), value).is_none()
            } else if options.switches.contains(&name) && inline.is_none() {
                parsed.switches.insert(name.to_owned())
            } else {
                return Err(UsageError(format!("unknown option {word}")));
            };
            if !fresh {
                return Err(UsageError(format!("--{name} is given twice")));
            }
        }
        if let Some(extra) = parsed.positional.get(options.max_positional) {
            return Err(UsageError(format!("unexpected argument {extra:?}")));
        }
        Ok(parsed)
    }

    /// The positional value at `index`, if there is one.
    #[must_use]
    pub fn positional(&self, index: usize) -> Option<&str> {
        self.positional.get(index).map(String::as_str)
    }

    /// The positional value at `index`.
    ///
    /// # Errors
    /// When it is missing; the error calls it `name`.
    pub fn required(&self, index: usize, name: &str) -> Result<&str, UsageError> {
        self.positional(index)
            .ok_or_else(|| UsageError(format!("{name} is missing")))
    }

    /// The text given for an option, if it was given.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.valued.get(name).map(String::as_str)
    }

    /// The value of an option, `default` when it was not given.
    ///
    /// # Errors
    /// When the text given is no `T`.
    pub fn value<T: FromStr>(&self, name: &str, default: T) -> Result<T, UsageError> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        let kind = std::any::type_name::<T>();
        text.parse()
            .map_err(|_| UsageError(format!("--{name} {text:?} is no {kind}")))
    }

    /// Whether a switch was given.
    #[must_use]
    pub fn switch(&self, name: &str) -> bool {
        self.switches.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options {
        valued: &["gen", "prompt"],
        switches: &["json"],
        max_positional: 1,
    };

    fn parse(line: &str) -> Result<Arguments, UsageError> {
        Arguments::parse(line.split_whitespace().map(str::to_owned), &OPTIONS)
    }

    #[test]
    fn words_find_their_place() {
        let rows = [
            ("", None, 7, false),
            ("model", Some("model"), 7, false),
            ("model --gen 3 --json", Some("model"), 3, true),
            ("--gen=3 model", Some("model"), 3, false),
            ("-- --json", Some("--json"), 7, false),
        ];
        for (line, positional, generated, json) in rows {
            let arguments = parse(line).expect(line);
            assert_eq!(arguments.positional(0), positional, "{line}");
            assert_eq!(arguments.value("gen", 7), Ok(generated), "{line}");
            assert_eq!(arguments.switch("json"), json, "{line}");
        }
    }

    #[test]
    fn unusable_arguments_are_named() {
        let rows = [
            ("--gen", "--gen wants a value"),
            ("--gen 1 --gen 2", "--gen is given twice"),
            ("--unknown 1", "unknown option --unknown"),
            ("--json=1", "unknown option --json=1"),
            ("one two", "unexpected argument \"two\""),
        ];
        for (line, expected) in rows {
            assert_eq!(
                parse(line).map_err(|e| e.0),
                Err(expected.to_owned()),
                "{line}"
            );
        }
        let arguments = parse("--gen x").expect("gen has a value");
        assert!(arguments.value("gen", 1usize).is_err());
        assert!(arguments.required(0, "MODEL").is_err());
    }
}
