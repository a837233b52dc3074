//! Packages made for the purpose, read without being imported.
#![cfg(feature = "python")]

#[path = "support/write.rs"]
mod write;

use mistral_docgen::DocgenError;
use mistral_docgen::extract::{self, Extraction, Limits, SkipReason};
use mistral_docgen::facts::{FactStore, ParameterKind, Symbol, SymbolKind};
use std::fs;
use write::write;

fn read(files: &[(&str, &str)]) -> Extraction {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("pkg"), files);
    extract::python::read(&folder.path().join("pkg"), &Limits::default()).expect("it is read")
}

fn store(files: &[(&str, &str)]) -> FactStore {
    let read = read(files);
    assert_eq!(read.skipped, []);
    FactStore::new(read.facts)
}

fn one<'a>(store: &'a FactStore, path: &str) -> &'a Symbol {
    let found: Vec<_> = store.at(path).collect();
    assert_eq!(found.len(), 1, "{path}: {found:?}");
    found[0]
}

const MODULE: &str = r#""""About it."""
from functools import cached_property
import typing
from typing import overload
from warnings import deprecated

LIMIT: int = 3
"""The most."""
first, *rest = 1, 2

@overload
def load(path: str) -> int: ...
@overload
def load(path: bytes) -> str: ...
def load(path):
    return path

@deprecated("use load")
async def fetch(
    url: str, /, retries: int = 3, *parts: str,  # why
    timeout: float | None = None, **more: typing.Any,
) -> dict[str, int]:
    """Fetches.

    Args:
        url: Where from.
        timeout: Seconds,
            none for ever.

    Raises:
        TimeoutError: When it takes long.

    >>> fetch("a")
    {}
    """
    if retries:
        raise ValueError("no")
    def inner():
        raise KeyError
    error = OSError()
    raise error

class Thing(Base["T"], metaclass=Meta):
    """A thing."""
    size: int
    kind = "a"

    def __init__(self, size: int):
        self.size = size
        """How large."""
        if size:
            self.extra: str = "x"

    @property
    def area(self) -> int:
        return 1

    @area.setter
    def area(self, value): ...

    @cached_property
    def late(self): ...

    @staticmethod
    def make(size): ...

    class Inner:
        def deep(self): ...
"#;

#[test]
fn modules_classes_and_functions_are_read() {
    let store = store(&[("__init__.py", ""), ("a.py", MODULE)]);
    let kinds: Vec<(&str, &str)> = store
        .symbols()
        .iter()
        .map(|s| (s.path.as_str(), s.kind.name()))
        .collect();
    let expected = [
        ("pkg", "module"),
        ("pkg.a", "module"),
        ("pkg.a.LIMIT", "attribute"),
        ("pkg.a.Thing", "class"),
        ("pkg.a.Thing.Inner", "class"),
        ("pkg.a.Thing.Inner.deep", "method"),
        ("pkg.a.Thing.__init__", "method"),
        ("pkg.a.Thing.area", "property"),
        ("pkg.a.Thing.extra", "attribute"),
        ("pkg.a.Thing.kind", "attribute"),
        ("pkg.a.Thing.late", "property"),
        ("pkg.a.Thing.make", "method"),
        ("pkg.a.Thing.size", "attribute"),
        ("pkg.a.fetch", "function"),
        ("pkg.a.first", "attribute"),
        ("pkg.a.load", "function"),
        ("pkg.a.load", "function"),
        ("pkg.a.load", "function"),
        ("pkg.a.rest", "attribute"),
    ];
    assert_eq!(kinds, expected);
    let signatures = [
        ("LIMIT", "LIMIT: int = 3"),
        ("Thing", "class Thing(Base[\"T\"], metaclass=Meta)"),
        ("Thing.size", "size: int"),
        ("Thing.area", "def area(self) -> int"),
        (
            "fetch",
            "async def fetch(url: str, /, retries: int = 3, *parts: str, timeout: float | None = None, **more: typing.Any) -> dict[str, int]",
        ),
    ];
    for (path, signature) in signatures {
        assert_eq!(one(&store, &format!("pkg.a.{path}")).signature, signature);
    }
    assert_eq!(one(&store, "pkg.a.LIMIT").doc.as_deref(), Some("The most."));
    assert_eq!(
        one(&store, "pkg.a.Thing.size").doc.as_deref(),
        Some("How large.")
    );
    let fetch = one(&store, "pkg.a.fetch");
    assert_eq!(fetch.raises, ["TimeoutError", "ValueError"]);
    assert_eq!(fetch.deprecated.as_deref(), Some("use load"));
    assert!(fetch.span.matches(MODULE));
    use ParameterKind::*;
    let parameters: Vec<_> = fetch
        .parameters
        .iter()
        .map(|p| (p.name.as_str(), p.kind, p.required, p.doc.as_deref()))
        .collect();
    let expected = [
        ("url", Positional, true, Some("Where from.")),
        ("retries", PositionalOrKeyword, false, None),
        ("parts", VarPositional, false, None),
        ("timeout", Keyword, false, Some("Seconds, none for ever.")),
        ("more", VarKeyword, false, None),
    ];
    assert_eq!(parameters, expected);
    assert_eq!(
        one(&store, "pkg.a.Thing.Inner.deep").parameters[0].kind,
        Receiver
    );
    assert_eq!(
        one(&store, "pkg.a.Thing.make").parameters[0].kind,
        PositionalOrKeyword
    );
    assert_eq!(store.examples_of("pkg.a.fetch")[0].code, "fetch(\"a\")\n");
}

#[test]
fn names_that_are_passed_on_become_aliases_of_what_they_name() {
    let store = store(&[
        (
            "__init__.py",
            "from .sub import *\nfrom .sub.deep import Model as Short\nimport os\n",
        ),
        (
            "sub/__init__.py",
            "from pkg.sub.deep import Model, helper\n__all__ = ['Model']\n",
        ),
        (
            "sub/deep.py",
            "class Model:\n    def run(self): ...\ndef helper(): ...\n",
        ),
    ]);
    let aliases = |path: &str| one(&store, path).aliases.clone();
    assert_eq!(
        aliases("pkg.sub.deep.Model"),
        ["pkg.Model", "pkg.Short", "pkg.sub.Model"]
    );
    assert_eq!(
        aliases("pkg.sub.deep.Model.run"),
        ["pkg.Model.run", "pkg.Short.run", "pkg.sub.Model.run"]
    );
    assert!(aliases("pkg.sub.deep.helper").is_empty());
    assert_eq!(one(&store, "pkg.Short").kind, SymbolKind::Class);
}

#[test]
fn fields_of_models_and_dataclasses_are_keys_and_exceptions_are_errors() {
    let source = r#"
from dataclasses import dataclass, field
from typing import Annotated, ClassVar
from pydantic import BaseModel as Base, Field

class Own(Base):
    model_config = {}

class Request(Own):
    """Asks.

    Attributes:
        top_p: Mass.
    """
    temperature: float = Field(0.7, ge=0, le=1.5, description="How bold.")
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    model: str
    stop: list[str] = Field(default_factory=list, alias="stopWords")
    must: int = Field(...)
    shared: ClassVar[int] = 1

@dataclass(frozen=True)
class Options:
    depth: int = 2
    """How deep."""
    names: list[str] = field(default_factory=list)

class Plain:
    a: int = 1

class Broken(ValueError):
    """It broke."""
    def __init__(self, n: int):
        super().__init__(f"expected {n} parts")

class Worse(Broken):
    message: str = "worse"
"#;
    let store = store(&[("__init__.py", ""), ("m.py", source)]);
    let rows: Vec<[Option<&str>; 5]> = store
        .config_keys()
        .iter()
        .map(|k| {
            let texts = [&k.default, &k.min, &k.max, &k.help].map(|text| text.as_deref());
            [Some(k.key.as_str()), texts[0], texts[1], texts[2], texts[3]]
        })
        .collect();
    let expected = [
        [Some("depth"), Some("2"), None, None, Some("How deep.")],
        [Some("names"), Some("list()"), None, None, None],
        [Some("model"), None, None, None, None],
        [Some("must"), None, None, None, None],
        [Some("stopWords"), Some("list()"), None, None, None],
        [
            Some("temperature"),
            Some("0.7"),
            Some("0"),
            Some("1.5"),
            Some("How bold."),
        ],
        [
            Some("top_p"),
            Some("1.0"),
            Some("0.0"),
            Some("1.0"),
            Some("Mass."),
        ],
    ];
    assert_eq!(rows, expected);
    let errors: Vec<_> = store
        .errors()
        .iter()
        .map(|e| (e.name.as_str(), e.message.as_deref()))
        .collect();
    let expected = [
        ("pkg.m.Broken", Some("expected {n} parts")),
        ("pkg.m.Worse", Some("worse")),
    ];
    assert_eq!(errors, expected);
}

#[test]
fn hostile_packages_are_bounded_and_the_rest_is_read() {
    let deep = format!("a = {}{}", "[".repeat(200_000), "]".repeat(200_000));
    let long = format!("a = '{}'", "a".repeat(10 << 20));
    let blocks: String = (0..500)
        .map(|n| format!("{}if a:\n", " ".repeat(n)))
        .collect();
    let nots = format!("a = {}b", "not ".repeat(100_000));
    let read = read(&[
        (
            "__init__.py",
            "from . import round\nfrom .round import *\nfrom ......far import x\nfrom .again import A\n",
        ),
        (
            "again.py",
            "from . import A\n__all__ = ['A']\nclass B(B): pass\nclass C(D): pass\nclass D(C): pass\n",
        ),
        ("round.py", "from . import *\ndef here(): ...\n"),
        ("deep.py", &deep),
        ("long.py", &long),
        ("blocks.py", &blocks),
        ("nots.py", &nots),
        ("broken.py", "def (:\n"),
    ]);
    let reasons: Vec<String> = read
        .skipped
        .iter()
        .map(|s| format!("{} {}", s.file, s.reason))
        .collect();
    let starts = [
        "blocks.py expected at most 128",
        "broken.py",
        "deep.py expected at most 128",
        "long.py expected at most 4194304",
        "nots.py expected at most 128",
    ];
    assert_eq!(reasons.len(), starts.len(), "{reasons:?}");
    for (reason, start) in reasons.iter().zip(starts) {
        assert!(reason.starts_with(start), "{reason}");
    }
    one(&FactStore::new(read.facts), "pkg.round.here");
}

#[test]
fn other_encodings_and_folders_without_modules_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = extract::python::read(folder.path(), &Limits::default());
    assert!(matches!(refused, Err(DocgenError::NoPackage { .. })));
    fs::write(folder.path().join("a.py"), [0x61, 0xff]).expect("a file");
    fs::write(folder.path().join("b.py"), "def f(): ...").expect("a file");
    let read = extract::python::read(folder.path(), &Limits::default()).expect("read");
    assert_eq!(read.skipped[0].reason, SkipReason::NotUtf8);
    one(&FactStore::new(read.facts), "b.f");
}
