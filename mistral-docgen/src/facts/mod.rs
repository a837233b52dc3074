//! What is true about a code base: symbols, configuration keys, errors and examples, each with the
//! lines that it was read from.
//!
//! Facts hold what the source says and no text of ours.

mod span;
mod store;

pub use span::{Span, hash_lines};
pub use store::{FactParts, FactStore, SCHEMA};

use serde::{Deserialize, Serialize};

/// Programming language of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Language {
    /// Rust; paths are joined by `::`.
    Rust,
    /// Python; paths are joined by `.`.
    Python,
}

impl Language {
    /// What stands between the parts of a path: `::` or `.`.
    pub fn separator(self) -> &'static str {
        match self {
            Self::Rust => "::",
            Self::Python => ".",
        }
    }

    /// The name in identifiers and behind code fences: `rust`, `python`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
        }
    }
}

/// What a symbol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SymbolKind {
    /// A module, package or crate root.
    Module,
    /// A Rust struct.
    Struct,
    /// A Rust union.
    Union,
    /// A Rust enum.
    Enum,
    /// A variant of an enum.
    Variant,
    /// A named field of a struct, union or variant.
    Field,
    /// A Rust trait.
    Trait,
    /// A type inside a trait.
    AssociatedType,
    /// A Python class.
    Class,
    /// A function of a module.
    Function,
    /// A function of a type, trait or class.
    Method,
    /// A Python property, cached or not.
    Property,
    /// A value of a Python module, of a class or of its instances.
    Attribute,
    /// A constant of a module, type or trait.
    Constant,
    /// A static.
    Static,
    /// Another name of a type.
    TypeAlias,
    /// A macro.
    Macro,
}

impl SymbolKind {
    /// The name in identifiers, as serde writes it: `type-alias`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Struct => "struct",
            Self::Union => "union",
            Self::Enum => "enum",
            Self::Variant => "variant",
            Self::Field => "field",
            Self::Trait => "trait",
            Self::AssociatedType => "associated-type",
            Self::Class => "class",
            Self::Function => "function",
            Self::Method => "method",
            Self::Property => "property",
            Self::Attribute => "attribute",
            Self::Constant => "constant",
            Self::Static => "static",
            Self::TypeAlias => "type-alias",
            Self::Macro => "macro",
        }
    }
}

/// How an argument reaches a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ParameterKind {
    /// `self` or `cls`: what stands before the dot.
    Receiver,
    /// By its place alone.
    Positional,
    /// By its place or by its name.
    PositionalOrKeyword,
    /// All further places: `*args`, C's `...`.
    VarPositional,
    /// By its name alone.
    Keyword,
    /// All further names: `**kwargs`.
    VarKeyword,
}

/// One parameter of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Name, or the pattern where Rust has one.
    pub name: String,
    /// Type as written.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// Default as written.
    pub default: Option<String>,
    /// Whether a call without it is refused.
    pub required: bool,
    /// How an argument reaches it.
    pub kind: ParameterKind,
    /// What the documentation of the function says of it.
    #[serde(default)]
    pub doc: Option<String>,
}

/// Something with a name that users can write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbol {
    /// `language:kind:path`, with `#2` and so on behind it where the same is defined more than
    /// once, for instance under several `cfg`.
    pub id: String,
    /// What it is.
    pub kind: SymbolKind,
    /// Its language.
    pub language: Language,
    /// Where users find it. Rust: the shortest public path, the first by alphabet of equally short ones. Python: where it
    /// is defined.
    pub path: String,
    /// Further public paths, sorted.
    pub aliases: Vec<String>,
    /// Its declaration without body and on one line.
    pub signature: String,
    /// Parameters in order; empty where there are none to have.
    pub parameters: Vec<Parameter>,
    /// What it returns, as written; for a constant, field or alias its type.
    pub returns: Option<String>,
    /// Rust: the error type of its result. Python: what it raises itself, by name, sorted.
    pub raises: Vec<String>,
    /// Why it should no longer be used; empty text where the source gives no reason.
    pub deprecated: Option<String>,
    /// The version since which it is deprecated, where the source says so.
    #[serde(default)]
    pub deprecated_since: Option<String>,
    /// Decorators of Python, as written and without `@`.
    pub decorators: Vec<String>,
    /// The condition under which it is there: the text within `#[cfg(…)]`, outer ones first.
    pub cfg: Vec<String>,
    /// Its documentation as in the source, without indentation.
    pub doc: Option<String>,
    /// Its definition.
    pub span: Span,
}

/// A field that users set: of a dataclass, a pydantic model, or a struct that serde reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigKey {
    /// Path of the class or struct.
    pub owner: String,
    /// Name under which it is set.
    pub key: String,
    /// Type as written.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// Default as written; `None` where a value is required.
    pub default: Option<String>,
    /// Lowest value as written, from `ge` or `gt`.
    pub min: Option<String>,
    /// Highest value as written, from `le` or `lt`.
    pub max: Option<String>,
    /// What it is for.
    pub help: Option<String>,
    /// Its definition.
    pub span: Span,
}

/// An error that users can meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCode {
    /// Path of the variant, struct or class.
    pub name: String,
    /// The message with its place holders, where the definition has one.
    pub message: Option<String>,
    /// Its documentation.
    pub doc: Option<String>,
    /// Its definition.
    pub span: Span,
}

/// Code within documentation, or a function of a test or example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What stands behind the fence (`rust`, `python`, `text`), or the language of the file.
    pub language: String,
    /// Further words behind the fence: `no_run`, `ignore`, `should_panic`. Of Python's prompts `doctest`, of a
    /// function in another file the folder of that file: `tests`, `examples`.
    pub attributes: Vec<String>,
    /// The code, lines that rustdoc hides included.
    pub code: String,
    /// The definition whose documentation it is in, or the function that uses it.
    pub span: Span,
    /// Path of the symbol that it belongs to.
    pub of: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_serde_writes() {
        use SymbolKind::*;
        for kind in [
            Module,
            Struct,
            Union,
            Enum,
            Variant,
            Field,
            Trait,
            AssociatedType,
            Class,
            Function,
            Method,
            Property,
            Attribute,
            Constant,
            Static,
            TypeAlias,
            Macro,
        ] {
            let written = serde_json::to_value(kind).expect("a name");
            assert_eq!(written, kind.name());
        }
        for language in [Language::Rust, Language::Python] {
            let written = serde_json::to_value(language).expect("a name");
            assert_eq!(written, language.name());
        }
    }
}
