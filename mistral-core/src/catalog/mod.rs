//! Mistral's released models: what they are, what they can do, where their weights are.
//!
//! One data file a model lies in `data/models/`; every fact has its source, and what no document
//! confirms is marked ([`Sourced::unverified`]). The files are compiled in and parsed on first
//! use.

mod embedded;
mod model;

use std::collections::BTreeMap;
use std::sync::OnceLock;

pub use crate::sourced::Sourced;
pub use model::{ApiPrice, Benchmark, CatalogModel, ParameterCounts, Status, Weights};

/// What is wrong with a catalogue's data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// A file isn't a model.
    #[error("model file {index}: not a model description")]
    File {
        /// Position among the files handed in.
        index: usize,
        /// The parser's finding, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// Two models claim one name.
    #[error("{name:?} names both {first} and {second}")]
    Ambiguous {
        /// The name, in its compared form.
        name: String,
        /// Id of the first.
        first: String,
        /// Id of the second.
        second: String,
    },
}

/// Models by id, and their other names.
///
/// Invariant: every name leads to one model.
#[derive(Debug, Clone)]
pub struct Catalog {
    models: BTreeMap<String, CatalogModel>,
    /// Compared form of every id, alias, repository and API name, to the id.
    names: BTreeMap<String, String>,
}

impl Catalog {
    /// The catalogue that ships with this crate.
    ///
    /// ```
    /// use mistral_core::catalog::Catalog;
    /// let nemo = Catalog::embedded().find("mistralai/Mistral-Nemo-Instruct-2407").expect("listed");
    /// assert_eq!(nemo.id, "mistral-nemo-12b");
    /// assert_eq!(nemo.parameters().expect("known").total, 12_247_782_400);
    /// ```
    #[must_use]
    pub fn embedded() -> &'static Catalog {
        static CATALOG: OnceLock<Catalog> = OnceLock::new();
        CATALOG.get_or_init(|| {
            Catalog::parse(embedded::FILES.iter().copied()).expect("a test parses the same files")
        })
    }

    /// Reads model files.
    ///
    /// # Errors
    /// [`CatalogError`] when a file isn't a model or two models share a name.
    pub fn parse<'a>(files: impl IntoIterator<Item = &'a str>) -> Result<Self, CatalogError> {
        let mut catalog = Self {
            models: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        for (index, text) in files.into_iter().enumerate() {
            let model: CatalogModel = serde_json::from_str(text)
                .map_err(|source| CatalogError::File { index, source })?;
            for name in model.names() {
                catalog.claim(compared(name), &model.id)?;
            }
            catalog.models.insert(model.id.clone(), model);
        }
        Ok(catalog)
    }

    fn claim(&mut self, name: String, id: &str) -> Result<(), CatalogError> {
        match self.names.get(&name) {
            Some(first) if first != id => Err(CatalogError::Ambiguous {
                name,
                first: first.clone(),
                second: id.to_owned(),
            }),
            Some(_) => Ok(()),
            None => {
                self.names.insert(name, id.to_owned());
                Ok(())
            }
        }
    }

    /// The model of this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&CatalogModel> {
        self.models.get(id)
    }

    /// The model of this id, alias, repository or API name; case and punctuation don't matter.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&CatalogModel> {
        self.models
            .get(name)
            .or_else(|| self.models.get(self.names.get(&compared(name))?))
    }

    /// The models, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &CatalogModel> {
        self.models.values()
    }

    /// Every name in its compared form with the id it leads to, in order.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.names.iter().map(|(n, id)| (n.as_str(), id.as_str()))
    }
}

/// A name without case and punctuation, a dot between digits kept: `Mistral 7B v0.3` and
/// `mistral-7b-v0.3` are one, `mistral-small-3.1` and `mistral-small-31` are two.
#[must_use]
pub fn compared(name: &str) -> String {
    let chars: Vec<char> = name.chars().take(256).collect();
    let digit = |i: Option<usize>| {
        i.and_then(|i| chars.get(i))
            .is_some_and(char::is_ascii_digit)
    };
    chars
        .iter()
        .enumerate()
        .filter(|&(i, c)| {
            c.is_alphanumeric() || (*c == '.' && digit(i.checked_sub(1)) && digit(Some(i + 1)))
        })
        .flat_map(|(_, c)| c.to_lowercase())
        .collect()
}

#[cfg(test)]
mod tests;
