//! Crates made for the purpose, read as `cargo doc` would list them.
#![cfg(feature = "rust")]

#[path = "support/write.rs"]
mod write;

use mistral_docgen::DocgenError;
use mistral_docgen::extract::{self, Extraction, Limits, SkipReason};
use mistral_docgen::facts::{FactStore, Symbol, SymbolKind};
use std::fs;
use std::path::Path;
use write::write;

fn read(files: &[(&str, &str)]) -> Extraction {
    let folder = tempfile::tempdir().expect("a folder");
    write(
        folder.path(),
        &[("Cargo.toml", "[package]\nname = \"my-crate\"\n")],
    );
    write(folder.path(), files);
    extract::rust::read(folder.path(), &Limits::default()).expect("it is read")
}

fn store(files: &[(&str, &str)]) -> FactStore {
    FactStore::new(read(files).facts)
}

fn one<'a>(store: &'a FactStore, path: &str) -> &'a Symbol {
    let found: Vec<_> = store.at(path).collect();
    assert_eq!(found.len(), 1, "{path}: {found:?}");
    found[0]
}

fn paths(store: &FactStore) -> Vec<&str> {
    store
        .symbols()
        .iter()
        .map(|symbol| symbol.path.as_str())
        .collect()
}

#[test]
fn public_names_are_followed_through_files_and_reexports() {
    let store = store(&[
        (
            "src/lib.rs",
            "mod inner; pub mod shown; #[path = \"odd.rs\"] pub mod other; pub use inner::*; pub use self::inner::Deep as Renamed;\n\
             #[doc(hidden)] pub mod secret { pub fn f() {} } pub(crate) fn own() {} #[cfg(test)] mod tests { pub fn t() {} }",
        ),
        (
            "src/inner/mod.rs",
            "mod below; pub use below::Deep; pub struct Wide { pub a: u8, b: u8 } struct Own;",
        ),
        (
            "src/inner/below.rs",
            "pub struct Deep; impl super::Wide { pub fn new() -> Self { loop {} } fn own() {} }",
        ),
        (
            "src/shown.rs",
            "pub use crate::Wide; #[doc(hidden)] pub fn g() {} pub fn h() {}",
        ),
        ("src/odd.rs", "#![cfg(unix)] pub const N: usize = 3;"),
    ]);
    let expected = [
        "my_crate",
        "my_crate::Deep",
        "my_crate::Wide",
        "my_crate::Wide::a",
        "my_crate::Wide::new",
        "my_crate::other",
        "my_crate::other::N",
        "my_crate::shown",
        "my_crate::shown::h",
    ];
    assert_eq!(paths(&store), expected);
    assert_eq!(one(&store, "my_crate::Renamed").path, "my_crate::Deep");
    assert_eq!(
        one(&store, "my_crate::Wide").aliases,
        ["my_crate::shown::Wide"]
    );
    assert_eq!(one(&store, "my_crate::other::N").cfg, ["unix"]);
    assert_eq!(
        one(&store, "my_crate::Wide::new").span.file,
        "src/inner/below.rs"
    );
}

#[test]
fn declarations_are_read_with_what_they_take_and_fail_with() {
    let source = r#"
/// What goes wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No such thing.
    #[error("expected {0}, found none")]
    Missing(String),
    #[error(transparent)]
    Other { source: std::io::Error },
}
/// Short.
pub type Result<T, E = Fault> = std::result::Result<T, E>;
use std::io;
/// Adds.
///
/// ```no_run
/// my_crate::add(1, 2);
/// ```
#[deprecated(since = "0.3", note = "use `sum`")]
pub fn add<T: Copy>(
    a: T,
    mut b: &'static [T],
) -> Result<T> where T: Send { loop {} }
pub fn disk() -> io::Result<()> { loop {} }
pub fn own() -> Result<(), u8> { loop {} }
pub fn none(n: usize) {}
pub async unsafe fn odd(&(a, b): &(u8, u8)) -> std::result::Result<u8, Box<dyn Send>> { loop {} }
pub struct Pair<T = u8>(pub T, u8);
pub trait Shape: Clone + Send where Self: Sized {
    const N: usize = 2;
    type Out: Copy;
    fn area(self: &Self, f: impl Fn(u8) -> u8) -> Self::Out;
}
#[macro_export]
macro_rules! fail { ($m:literal $(,)?) => { return Err($m) }; }
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options { /// How many.
    #[serde(default)] pub max_tokens: u32, stop: Option<String>, pub model: String, #[serde(skip)] pub cache: u8 }
"#;
    let store = store(&[("src/lib.rs", source)]);
    let rows = [
        (
            "add",
            "pub fn add<T: Copy>(a: T, mut b: &'static [T]) -> Result<T> where T: Send",
            Some("Fault"),
        ),
        (
            "disk",
            "pub fn disk() -> io::Result<()>",
            Some("std::io::Error"),
        ),
        ("own", "pub fn own() -> Result<(), u8>", Some("u8")),
        ("none", "pub fn none(n: usize)", None),
        (
            "odd",
            "pub async unsafe fn odd(&(a, b): &(u8, u8)) -> std::result::Result<u8, Box<dyn Send>>",
            Some("Box<dyn Send>"),
        ),
        ("Pair", "pub struct Pair<T = u8>(pub T, _)", None),
        (
            "Shape",
            "pub trait Shape: Clone + Send where Self: Sized",
            None,
        ),
        ("Shape::N", "const N: usize = 2", None),
        ("Shape::Out", "type Out: Copy", None),
        (
            "Shape::area",
            "fn area(self: &Self, f: impl Fn(u8) -> u8) -> Self::Out",
            None,
        ),
        ("Fault::Missing", "Missing(String)", None),
        ("Fault::Other", "Other { source: std::io::Error }", None),
        (
            "fail",
            "macro_rules! fail { ($m:literal $(,)?) => { … }; }",
            None,
        ),
    ];
    for (path, signature, error) in rows {
        let symbol = one(&store, &format!("my_crate::{path}"));
        assert_eq!(symbol.signature, signature);
        assert_eq!(symbol.raises.first().map(String::as_str), error, "{path}");
    }
    let add = one(&store, "my_crate::add");
    assert_eq!(add.deprecated.as_deref(), Some("use `sum`"));
    assert_eq!(add.deprecated_since.as_deref(), Some("0.3"));
    assert_eq!(
        (add.parameters[1].name.as_str(), add.returns.as_deref()),
        ("b", Some("Result<T>"))
    );
    assert_eq!(store.examples_of("my_crate::add")[0].attributes, ["no_run"]);
    assert!(add.span.matches(source));
    let messages: Vec<_> = store
        .errors()
        .iter()
        .map(|e| (e.name.as_str(), e.message.as_deref()))
        .collect();
    let expected = [
        ("my_crate::Fault::Missing", Some("expected {0}, found none")),
        ("my_crate::Fault::Other", None),
    ];
    assert_eq!(messages, expected);
    let keys = store.keys_of("my_crate::Options");
    let keys: Vec<_> = keys
        .iter()
        .map(|k| (k.key.as_str(), k.default.as_deref(), k.help.as_deref()))
        .collect();
    let expected = [
        ("maxTokens", Some("Default::default()"), Some("How many.")),
        ("model", None, None),
        ("stop", Some("None"), None),
    ];
    assert_eq!(keys, expected);
}

#[test]
fn items_that_macros_make_stand_where_they_are_invoked() {
    let source = "pub struct T;\n\
        macro_rules! op { ($($n:ident => $d:literal),*) => { $(#[doc = $d] pub fn $n(&self) -> u8 { 0 })* } }\n\
        macro_rules! both { ($n:ident) => { pub struct $n; more!($n); } }\n\
        macro_rules! more { ($n:ident) => { impl $n { op!(cos => \"Of it.\"); } pub mod inside { pub fn f() {} } } }\n\
        impl T {\n    op!(exp => \"Power.\",\n        sin => \"Wave.\");\n}\n\
        both!(Made);\nforeign! { pub fn lost() {} }\n";
    let read = read(&[("src/lib.rs", source)]);
    let missed: Vec<_> = read
        .skipped
        .iter()
        .map(|s| (s.line, s.reason.clone()))
        .collect();
    let name = "foreign".to_owned();
    assert_eq!(missed, [(Some(10), SkipReason::Macro { name })]);
    let store = FactStore::new(read.facts);
    for path in ["T::exp", "T::sin", "Made", "Made::cos", "inside::f"] {
        one(&store, &format!("my_crate::{path}"));
    }
    let exp = one(&store, "my_crate::T::sin");
    assert_eq!((exp.span.first_line, exp.span.last_line), (6, 7));
    assert_eq!(exp.doc.as_deref(), Some("Wave."));
}

#[test]
fn functions_of_tests_and_examples_show_what_they_use() {
    let store = store(&[
        (
            "src/lib.rs",
            "pub struct A; impl A { pub fn new() -> A { A } pub fn only(&self) {} } pub fn free() {}",
        ),
        (
            "tests/use.rs",
            "use my_crate::{A, free as run};\n#[test]\nfn uses() {\n    assert_eq!(A::new().only(), ());\n}\nfn no() { x.only(); free(); }\nfn yes() { run(); }\n",
        ),
        ("examples/one/main.rs", "fn main() { my_crate::free(); }"),
    ]);
    let found = |path: &str| {
        let all = store.examples_of(&format!("my_crate::{path}"));
        let files = all
            .iter()
            .map(|e| (e.attributes[0].as_str(), e.span.first_line));
        files.collect::<Vec<_>>()
    };
    for path in ["A", "A::new", "A::only"] {
        assert_eq!(found(path), [("tests", 2)], "{path}");
    }
    assert_eq!(found("free"), [("examples", 1), ("tests", 7)]);
}

#[test]
fn hostile_crates_are_bounded_and_the_rest_is_read() {
    let deep = format!(
        "pub const A: u8 = {}1{};",
        "(".repeat(100_000),
        ")".repeat(100_000)
    );
    let types = format!(
        "pub type A = {}u8{};",
        "Vec<".repeat(50_000),
        ">".repeat(50_000)
    );
    let long = format!("pub const A: &str = \"{}\";", "a".repeat(10 << 20));
    let bomb = "macro_rules! b { ($($x:tt)*) => { b!{ $($x $x)* $($x $x)* } } } b!{ a a a a a a a a }\n\
        macro_rules! nest { ($($x:tt)*) => { nest!{ ($($x)* $($x)*) } } } nest!{ a }\n";
    let source = "pub mod a; pub mod b; pub mod c; pub mod d; pub mod e; pub mod f; pub mod g; pub fn here() {}";
    let read = read(&[
        ("src/lib.rs", source),
        ("src/a.rs", &deep),
        ("src/b.rs", &types),
        ("src/c.rs", &long),
        ("src/d.rs", bomb),
        (
            "src/e.rs",
            "#[path = \"e.rs\"] pub mod again; #[path = \"../../../etc/passwd\"] pub mod out;",
        ),
        ("src/f.rs", "fn ("),
    ]);
    let reasons: Vec<String> = read
        .skipped
        .iter()
        .map(|s| format!("{} {}", s.file, s.reason))
        .collect();
    let all = reasons.join("\n");
    for expected in [
        "src/a.rs expected at most 128 levels",
        "src/b.rs expected at most 128 levels",
        "src/c.rs expected at most 4194304 bytes",
        "src/d.rs cannot expand b!",
        "src/d.rs cannot expand nest!",
        "src/e.rs contains itself",
        "src/g.rs expected a file",
    ] {
        assert!(all.contains(expected), "{expected}:\n{all}");
    }
    assert!(
        reasons.iter().any(|reason| reason.starts_with("src/f.rs")),
        "{all}"
    );
    let store = FactStore::new(read.facts);
    one(&store, "my_crate::here");
    assert!(
        store
            .symbols()
            .iter()
            .all(|symbol| !symbol.path.contains("out"))
    );
}

#[test]
fn what_is_no_crate_is_refused_and_other_encodings_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = extract::rust::read(folder.path(), &Limits::default());
    assert!(matches!(refused, Err(DocgenError::NoCrate { .. })));
    write(folder.path(), &[("src/lib.rs", "")]);
    fs::write(folder.path().join("src/lib.rs"), [0xff, 0xfe, 0x00]).expect("a file");
    let read = extract::rust::read(folder.path(), &Limits::default()).expect("read");
    assert_eq!(read.skipped[0].reason, SkipReason::NotUtf8);
    assert!(read.facts.symbols.is_empty());
}

#[cfg(unix)]
#[test]
fn links_are_not_followed_out_of_the_folder_or_round_and_round() {
    let outside = tempfile::tempdir().expect("a folder");
    write(outside.path(), &[("o.rs", "pub fn stolen() {}")]);
    let folder = tempfile::tempdir().expect("a folder");
    write(
        folder.path(),
        &[
            ("src/lib.rs", "pub mod o; pub fn here() {}"),
            ("tests/t.rs", "fn f() {}"),
        ],
    );
    let link = |to: &Path, name: &str| {
        std::os::unix::fs::symlink(to, folder.path().join(name)).expect("a link");
    };
    link(&outside.path().join("o.rs"), "src/o.rs");
    link(folder.path(), "tests/round");
    let read = extract::rust::read(folder.path(), &Limits::default()).expect("read");
    let reasons: Vec<_> = read
        .skipped
        .iter()
        .map(|s| (s.file.as_str(), s.reason.clone()))
        .collect();
    let expected = [
        ("src/o.rs", SkipReason::Outside),
        ("tests/round", SkipReason::Cycle),
    ];
    assert_eq!(reasons, expected);
    assert_eq!(
        read.facts
            .symbols
            .iter()
            .filter(|s| s.kind == SymbolKind::Function)
            .count(),
        1
    );
}
