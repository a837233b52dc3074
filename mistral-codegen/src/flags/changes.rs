//! What became of flags that later versions of an engine don't have.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One flag, or some of its values, and what replaces it. Exactly one of the ways is taken: by
/// value (`values`), another name for the same value (`to`), fixed words instead of it (`set`), a
/// person's work (`manual`), else it is left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Change {
    pub(super) flag: String,
    /// Value -> the words that say the same.
    pub(super) values: BTreeMap<String, Vec<String>>,
    pub(super) to: Option<String>,
    pub(super) set: Vec<String>,
    pub(super) manual: Option<String>,
    pub(super) why: String,
}

/// What a change makes of a flag with its values.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// These words; none when it is left out.
    Words(Vec<String>),
    /// Nothing that could be written by rule.
    Manual(String),
}

impl Change {
    /// A flag that its engine's own page says was removed.
    pub(super) fn removed(flag: String, instead: &str) -> Self {
        let mut change = Self {
            flag,
            ..Self::default()
        };
        if instead.is_empty() {
            change.manual = Some("the engine's page names what replaced it".to_owned());
        } else {
            change.to = Some(instead.to_owned());
            change.why = "renamed".to_owned();
        }
        change
    }

    pub(super) fn is_about(&self, flag: &str) -> bool {
        self.flag == flag || (flag.contains('_') && self.flag == flag.replace('_', "-"))
    }

    /// What to do, for people.
    pub(super) fn advice(&self) -> String {
        match (&self.manual, &self.to) {
            (Some(manual), _) => manual.clone(),
            (None, Some(to)) => format!("use {to} ({})", self.why),
            (None, None) if !self.set.is_empty() => {
                format!("use {} ({})", self.set.join(" "), self.why)
            }
            (None, None) if !self.values.is_empty() => {
                let pair = |(value, words): (&String, &Vec<String>)| {
                    format!("{value} is {}", words.join(" "))
                };
                let pairs: Vec<String> = self.values.iter().map(pair).collect();
                format!("{} ({})", self.why, pairs.join(", "))
            }
            (None, None) => format!("leave it out ({})", self.why),
        }
    }

    /// What becomes of the flag with `values`.
    pub(super) fn applied(&self, values: &[String]) -> Becomes {
        if let Some(manual) = &self.manual {
            return Becomes::Manual(manual.clone());
        }
        if let [value] = values
            && let Some(words) = self.values.get(value)
        {
            return Becomes::Words(words.clone());
        }
        if let Some(to) = &self.to {
            let mut words = vec![to.clone()];
            words.extend(values.iter().cloned());
            return Becomes::Words(words);
        }
        if !self.values.is_empty() {
            return Becomes::Manual(self.advice());
        }
        Becomes::Words(self.set.clone())
    }
}
