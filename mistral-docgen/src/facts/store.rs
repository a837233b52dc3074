//! All facts in one order, with lookups.

use super::{ConfigKey, ErrorCode, Example, Symbol};
use crate::DocgenError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the serialised form. Another one is refused.
pub const SCHEMA: u32 = 1;

/// Facts before they are put in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactParts {
    /// [`SCHEMA`] when written by this version.
    pub schema: u32,
    /// What has a name.
    pub symbols: Vec<Symbol>,
    /// What is set.
    pub config_keys: Vec<ConfigKey>,
    /// What goes wrong.
    pub errors: Vec<ErrorCode>,
    /// What is shown.
    pub examples: Vec<Example>,
}

impl FactParts {
    /// Adds all facts of `other`.
    pub fn append(&mut self, other: FactParts) {
        self.symbols.extend(other.symbols);
        self.config_keys.extend(other.config_keys);
        self.errors.extend(other.errors);
        self.examples.extend(other.examples);
    }
}

/// Facts in a fixed order: the same facts give the same bytes, whatever the order they came in. Only examples of
/// one definition keep the order among themselves in which they came.
///
/// Invariant: each list is sorted and without repetition, identifiers are unique, and the two maps
/// point at every symbol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "FactParts", into = "FactParts")]
pub struct FactStore {
    parts: FactParts,
    by_path: BTreeMap<String, Vec<usize>>,
    by_id: BTreeMap<String, usize>,
}

impl FactStore {
    /// Sorts, drops repetitions and numbers the identifiers of what is defined more than once.
    pub fn new(mut parts: FactParts) -> Self {
        parts.schema = SCHEMA;
        for symbol in &mut parts.symbols {
            symbol.id = identifier(symbol);
            symbol.aliases.sort();
            symbol.aliases.dedup();
            symbol.aliases.retain(|alias| *alias != symbol.path);
        }
        parts.symbols.sort_by(|a, b| {
            (&a.path, a.language, a.kind, &a.span, &a.signature).cmp(&(
                &b.path,
                b.language,
                b.kind,
                &b.span,
                &b.signature,
            ))
        });
        parts.symbols.dedup();
        number(&mut parts.symbols);
        parts
            .config_keys
            .sort_by(|a, b| (&a.owner, &a.key, &a.span).cmp(&(&b.owner, &b.key, &b.span)));
        parts.config_keys.dedup();
        parts
            .errors
            .sort_by(|a, b| (&a.name, &a.span, &a.message).cmp(&(&b.name, &b.span, &b.message)));
        parts.errors.dedup();
        // Stable: several examples of one definition keep the order in which its text has them.
        parts
            .examples
            .sort_by(|a, b| (&a.of, &a.span).cmp(&(&b.of, &b.span)));
        parts.examples.dedup();
        let mut by_path: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut by_id = BTreeMap::new();
        for (at, symbol) in parts.symbols.iter().enumerate() {
            by_id.insert(symbol.id.clone(), at);
            for path in std::iter::once(&symbol.path).chain(&symbol.aliases) {
                by_path.entry(path.clone()).or_default().push(at);
            }
        }
        Self {
            parts,
            by_path,
            by_id,
        }
    }

    /// All symbols, by path.
    pub fn symbols(&self) -> &[Symbol] {
        &self.parts.symbols
    }

    /// All configuration keys, by owner and key.
    pub fn config_keys(&self) -> &[ConfigKey] {
        &self.parts.config_keys
    }

    /// All errors, by name.
    pub fn errors(&self) -> &[ErrorCode] {
        &self.parts.errors
    }

    /// All examples, by what they belong to.
    pub fn examples(&self) -> &[Example] {
        &self.parts.examples
    }

    /// The symbol with this identifier.
    pub fn symbol(&self, id: &str) -> Option<&Symbol> {
        self.by_id.get(id).map(|&at| &self.parts.symbols[at])
    }

    /// Symbols that this path names, also by an alias; several where the language has several name
    /// spaces, or where the definition depends on a `cfg`.
    pub fn at(&self, path: &str) -> impl Iterator<Item = &Symbol> {
        let found = self.by_path.get(path).map_or(&[][..], Vec::as_slice);
        found.iter().map(|&at| &self.parts.symbols[at])
    }

    /// Symbols whose path ends in `name`, which may have several parts: `zeros`, `Tensor::zeros`.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Symbol> {
        self.parts.symbols.iter().filter(move |symbol| {
            symbol.path.strip_suffix(name).is_some_and(|before| {
                before.is_empty() || before.ends_with(symbol.language.separator())
            })
        })
    }

    /// What stands directly within the symbol at `path`: of a type its methods, fields and variants.
    pub fn members<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Symbol> {
        self.parts.symbols.iter().filter(move |symbol| {
            symbol
                .path
                .strip_prefix(path)
                .and_then(|rest| rest.strip_prefix(symbol.language.separator()))
                .is_some_and(|rest| !rest.contains(symbol.language.separator()))
        })
    }

    /// Keys of a class or struct, by name.
    pub fn keys_of(&self, owner: &str) -> &[ConfigKey] {
        equal_range(&self.parts.config_keys, |key| key.owner.as_str().cmp(owner))
    }

    /// Errors with this path.
    pub fn errors_named(&self, name: &str) -> &[ErrorCode] {
        equal_range(&self.parts.errors, |error| error.name.as_str().cmp(name))
    }

    /// Examples of the symbol at `path`, in the order of its documentation.
    pub fn examples_of(&self, path: &str) -> &[Example] {
        equal_range(&self.parts.examples, |example| {
            example.of.as_str().cmp(path)
        })
    }
}

impl TryFrom<FactParts> for FactStore {
    type Error = DocgenError;

    fn try_from(parts: FactParts) -> Result<Self, DocgenError> {
        if parts.schema != SCHEMA {
            return Err(DocgenError::FactSchema {
                expected: SCHEMA,
                found: parts.schema,
            });
        }
        Ok(Self::new(parts))
    }
}

impl From<FactStore> for FactParts {
    fn from(store: FactStore) -> Self {
        store.parts
    }
}

fn identifier(symbol: &Symbol) -> String {
    let (language, kind) = (symbol.language.name(), symbol.kind.name());
    format!("{language}:{kind}:{}", symbol.path)
}

/// Equal identifiers stand side by side, because the order begins with what they are made of.
fn number(symbols: &mut [Symbol]) {
    let mut of: (String, usize) = (String::new(), 0);
    for symbol in symbols {
        if symbol.id == of.0 {
            of.1 += 1;
            symbol.id = format!("{}#{}", of.0, of.1);
        } else {
            of = (symbol.id.clone(), 1);
        }
    }
}

/// The elements of a sorted list for which `order` says equal.
fn equal_range<T>(sorted: &[T], order: impl Fn(&T) -> std::cmp::Ordering) -> &[T] {
    let from = sorted.partition_point(|item| order(item).is_lt());
    let to = sorted.partition_point(|item| order(item).is_le());
    &sorted[from..to]
}

#[cfg(test)]
mod tests {
    use super::super::{Language, Span, SymbolKind};
    use super::*;

    fn symbol(path: &str, kind: SymbolKind, line: usize) -> Symbol {
        Symbol {
            id: String::new(),
            kind,
            language: Language::Rust,
            path: path.to_owned(),
            aliases: Vec::new(),
            signature: String::new(),
            parameters: Vec::new(),
            returns: None,
            raises: Vec::new(),
            deprecated: None,
            deprecated_since: None,
            decorators: Vec::new(),
            cfg: Vec::new(),
            doc: None,
            span: Span::of("a.rs", "", line, line),
        }
    }

    fn parts() -> FactParts {
        let mut aliased = symbol("a::B", SymbolKind::Struct, 1);
        aliased.aliases = vec!["a::inner::B".to_owned(), "a::B".to_owned()];
        FactParts {
            schema: SCHEMA,
            symbols: vec![
                symbol("a::B::new", SymbolKind::Method, 3),
                aliased,
                symbol("a::B::new", SymbolKind::Method, 2),
                symbol("a::Bnew", SymbolKind::Function, 9),
            ],
            ..FactParts::default()
        }
    }

    #[test]
    fn the_order_of_input_does_not_show() {
        let mut reversed = parts();
        reversed.symbols.reverse();
        reversed.symbols.extend(parts().symbols);
        assert_eq!(FactStore::new(reversed), FactStore::new(parts()));
    }

    #[test]
    fn lookups_find_what_is_there() {
        let store = FactStore::new(parts());
        assert_eq!(store.symbols().len(), 4);
        let line = |id: &str| store.symbol(id).map(|symbol| symbol.span.first_line);
        assert_eq!(line("rust:method:a::B::new"), Some(2));
        assert_eq!(line("rust:method:a::B::new#2"), Some(3));
        assert_eq!(store.at("a::inner::B").count(), 1);
        assert_eq!(store.at("a::B").count(), 1);
        assert_eq!(store.named("new").count(), 2);
        assert_eq!(store.named("B::new").count(), 2);
        assert_eq!(store.members("a::B").count(), 2);
        assert_eq!(store.at("a::C").count(), 0);
    }

    #[test]
    fn facts_come_back_as_they_were_and_others_are_refused() {
        let store = FactStore::new(parts());
        let json = serde_json::to_string(&store).expect("facts are data");
        let back: FactStore = serde_json::from_str(&json).expect("just written");
        assert_eq!(back, store);
        let other = json.replacen("\"schema\":1", "\"schema\":7", 1);
        let error = serde_json::from_str::<FactStore>(&other).expect_err("another version");
        assert!(error.to_string().contains("found 7"), "{error}");
    }
}
