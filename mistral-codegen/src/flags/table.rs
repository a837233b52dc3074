//! The flags of one version of one engine.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::changes::Change;
use super::takes::Takes;
use crate::CodegenError;

/// The flags of one version of one engine.
#[derive(Debug, Clone)]
pub struct FlagTable {
    /// The engine's name.
    pub engine: String,
    /// The version that the table was read from.
    pub version: String,
    /// What it was read from.
    pub source: String,
    /// When it was read, as `YYYY-MM-DD`.
    pub date: String,
    /// The container image of that version.
    pub image: String,
    /// The environment variable that the engine takes its API key from; empty when it has none.
    pub api_key_env: String,
    /// Flags with what they take.
    pub(super) flags: BTreeMap<String, Takes>,
    /// Other names of flags.
    pub(super) also: BTreeMap<String, String>,
    /// Flags that later versions drop, with what replaces them where the engine says so.
    pub(super) deprecated: BTreeMap<String, String>,
    /// Narrower kinds, for the commands that are generated here.
    refine: BTreeMap<String, Takes>,
    /// `--disable-x` turns `--enable-x` off, and the other way round.
    inverses: bool,
    pub(super) style: Style,
    pub(super) changes: Vec<Change>,
}

/// How the engine reads the names of flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Style {
    /// `_` is read as `-`.
    pub(super) underscores: bool,
    /// `--flag.key value` sets a part of a JSON value.
    pub(super) dotted: bool,
    /// The beginning of a name stands for it when no other name begins so.
    pub(super) abbreviations: bool,
}

/// What a reader prints of a package.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    engine: String,
    version: String,
    source: String,
    date: String,
    #[serde(default)]
    inverses: bool,
    flags: BTreeMap<String, Takes>,
    also: BTreeMap<String, String>,
    deprecated: BTreeMap<String, String>,
    removed: BTreeMap<String, String>,
}

/// What is kept by hand for all versions of an engine.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    engine: String,
    image: String,
    api_key_env: String,
    style: Style,
    refine: BTreeMap<String, Takes>,
    changes: Vec<Change>,
}

/// A name as an argument has it, found in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// The flag.
    pub(super) flag: String,
    /// Whether it was written as its opposite, such as `--no-…`.
    pub(super) negated: bool,
    /// The part of a JSON value that is set, with its dot.
    pub(super) part: String,
    /// Whether only its beginning was written.
    pub(super) abbreviated: bool,
}

impl FlagTable {
    /// A table from what a reader printed (`read`) and what is kept by hand (`kept`).
    ///
    /// # Errors
    /// [`CodegenError::Table`] for a file that isn't of this form, or of another engine.
    pub fn from_json(read: &str, kept: &str) -> Result<Self, CodegenError> {
        let table = |reason: String| CodegenError::Table { reason };
        let read: Read = serde_json::from_str(read).map_err(|e| table(e.to_string()))?;
        let kept: Kept = serde_json::from_str(kept).map_err(|e| table(e.to_string()))?;
        if read.engine != kept.engine {
            return Err(table(format!(
                "expected flags of {}, found those of {}",
                kept.engine, read.engine
            )));
        }
        let mut changes = kept.changes;
        changes.extend(
            read.removed
                .into_iter()
                .map(|(flag, instead)| Change::removed(flag, &instead)),
        );
        Ok(Self {
            image: kept.image.replace("{version}", &read.version),
            engine: read.engine,
            version: read.version,
            source: read.source,
            date: read.date,
            api_key_env: kept.api_key_env,
            inverses: read.inverses,
            flags: read.flags,
            also: read.also,
            deprecated: read.deprecated,
            refine: kept.refine,
            style: kept.style,
            changes,
        })
    }

    /// How many flags it has, other names not counted.
    #[must_use]
    pub fn flag_count(&self) -> usize {
        self.flags.len()
    }

    /// The flag that `written` names, in any of the spellings that the engine reads.
    pub(super) fn find(&self, written: &str) -> Option<Name> {
        let (head, part) = match written.split_once('.') {
            Some((head, _)) if self.style.dotted => (head, &written[head.len()..]),
            _ => (written, ""),
        };
        let head = if self.style.underscores && head.starts_with("--") {
            head.replace('_', "-")
        } else {
            head.to_owned()
        };
        let named = |flag: &str, negated, abbreviated| Name {
            flag: flag.to_owned(),
            negated,
            part: part.to_owned(),
            abbreviated,
        };
        if let Some(flag) = self.exact(&head) {
            return Some(named(flag, false, false));
        }
        if let Some(base) = head.strip_prefix("--no-") {
            let base = format!("--{base}");
            if let Some(flag) = self.exact(&base).filter(|f| self.flags[*f].is_toggle()) {
                return Some(named(flag, true, false));
            }
        }
        let inverse = match (
            head.strip_prefix("--disable-"),
            head.strip_prefix("--enable-"),
        ) {
            _ if !self.inverses => None,
            (Some(rest), _) => Some(format!("--enable-{rest}")),
            (None, Some(rest)) => Some(format!("--disable-{rest}")),
            (None, None) => None,
        };
        if let Some(base) = inverse
            && let Some(flag) = self.exact(&base).filter(|f| self.flags[*f].is_toggle())
        {
            return Some(named(flag, true, false));
        }
        if self.style.abbreviations && head.len() > 3 && head.starts_with("--") {
            let names = self.flags.keys().chain(self.also.keys());
            let mut found: Vec<&str> = names
                .filter(|name| name.starts_with(&head))
                .filter_map(|name| self.exact(name))
                .collect();
            found.dedup();
            if let [flag] = found[..] {
                return Some(named(flag, false, true));
            }
        }
        None
    }

    fn exact(&self, name: &str) -> Option<&str> {
        let main = self.also.get(name).map_or(name, String::as_str);
        self.flags
            .get_key_value(main)
            .map(|(flag, _)| flag.as_str())
    }

    /// Checks a flag and its value as generated commands have them: by its own name or another
    /// whole one, with a value of a kind that may be narrower than what the engine reads.
    ///
    /// # Errors
    /// [`CodegenError::UnknownFlag`] or [`CodegenError::FlagValue`].
    pub fn check(&self, flag: &str, value: Option<&str>) -> Result<(), CodegenError> {
        let name = self.find(flag).filter(|name| !name.abbreviated);
        let Some(name) = name else {
            return Err(self.unknown(flag));
        };
        let narrow = self
            .refine
            .get(flag)
            .or_else(|| self.refine.get(&name.flag));
        let takes = narrow.unwrap_or(&self.flags[&name.flag]);
        let fits = if name.part.is_empty() {
            takes.accepts(value)
        } else {
            takes.has_parts() && value.is_some()
        };
        if fits {
            return match value.and_then(|value| takes.settings(value)) {
                Some(settings) => self.check_settings(&name.flag, &settings),
                None => Ok(()),
            };
        }
        Err(CodegenError::FlagValue {
            engine: self.engine.clone(),
            version: self.version.clone(),
            flag: flag.to_owned(),
            expected: takes.expected(),
            found: value.unwrap_or("no value").chars().take(80).collect(),
        })
    }

    /// The error for a flag that this version doesn't have, with what is known of it.
    pub(super) fn unknown(&self, flag: &str) -> CodegenError {
        let hint = match self.changes.iter().find(|change| change.is_about(flag)) {
            Some(change) => format!(": it was removed; {}", change.advice()),
            None => String::new(),
        };
        CodegenError::UnknownFlag {
            engine: self.engine.clone(),
            version: self.version.clone(),
            flag: flag.chars().take(80).collect(),
            hint,
        }
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
