//! Why something was chosen: a rule's name and the facts that it read.
//!
//! A reason holds no sentence. Whoever shows it renders it, so that a page, a terminal and a
//! French user can each have their own words for the same facts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One value that a rule read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fact {
    /// A yes or a no.
    Bool(bool),
    /// An amount, in the unit that the fact's name ends with.
    Number(f64),
    /// A name, a date, a licence.
    Text(String),
}

impl From<bool> for Fact {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}
impl From<f64> for Fact {
    fn from(v: f64) -> Self {
        Self::Number(v)
    }
}
impl From<u32> for Fact {
    fn from(v: u32) -> Self {
        Self::Number(f64::from(v))
    }
}
impl From<usize> for Fact {
    fn from(v: usize) -> Self {
        // Counts of tokens, devices and layers stay far below 2^53.
        Self::Number(v as f64)
    }
}
impl From<u64> for Fact {
    fn from(v: u64) -> Self {
        // Bytes of the largest models stay far below 2^53.
        Self::Number(v as f64)
    }
}
impl From<&str> for Fact {
    fn from(v: &str) -> Self {
        Self::Text(v.to_owned())
    }
}
impl From<String> for Fact {
    fn from(v: String) -> Self {
        Self::Text(v)
    }
}

/// A rule that fired, with what it saw and where that is written.
///
/// ```
/// use mistral_core::reason::Reason;
/// let r = Reason::new("fits_memory").fact("needs_gb", 15.2).fact("has_gb", 24.0).source("sizing");
/// assert_eq!(r.rule, "fits_memory");
/// assert_eq!(r.facts.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// The rule's name, in snake case; stable, so that a renderer can have a sentence for it.
    pub rule: String,
    /// What the rule read, by name; a number's name ends with its unit.
    pub facts: BTreeMap<String, Fact>,
    /// Where the facts come from: a document, a measured row's id, a formula's name.
    #[serde(default)]
    pub sources: Vec<String>,
}

impl Reason {
    /// A reason without facts yet.
    #[must_use]
    pub fn new(rule: &str) -> Self {
        Self {
            rule: rule.to_owned(),
            facts: BTreeMap::new(),
            sources: Vec::new(),
        }
    }

    /// Adds a fact; a second one of the same name replaces the first.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<Fact>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a source, once.
    #[must_use]
    pub fn source(mut self, source: &str) -> Self {
        if !self.sources.iter().any(|s| s == source) {
            self.sources.push(source.to_owned());
        }
        self
    }
}
