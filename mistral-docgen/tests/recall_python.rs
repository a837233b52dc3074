//! What the reader of Python finds beside what griffe finds in the same package.
#![cfg(feature = "python")]

use mistral_docgen::extract::{self, Limits};
use mistral_docgen::facts::{FactStore, Symbol, SymbolKind};
use std::collections::BTreeSet;
use std::path::Path;

/// griffe's word for what a symbol is; it calls a property an attribute.
fn kind(symbol: &Symbol) -> &'static str {
    match symbol.kind {
        SymbolKind::Module => "module",
        SymbolKind::Class => "class",
        SymbolKind::Function | SymbolKind::Method => "function",
        SymbolKind::Property | SymbolKind::Attribute | SymbolKind::TypeAlias => "attribute",
        other => other.name(),
    }
}

/// At least 98 % of griffe's objects (path and kind, imports left out) are found, and at most 2 % beyond.
///
/// Needs a package and the lines `path kind` that griffe 2 gives for it, written by
/// ```python
/// import sys, griffe
/// def walk(o):
///     print(o.path, o.kind.value)
///     for m in o.members.values():
///         if not m.is_alias: walk(m)
/// walk(griffe.load(sys.argv[1], allow_inspection=False))
/// ```
/// then `DOCGEN_PACKAGE=<its folder> DOCGEN_GRIFFE=<those lines> cargo test -p mistral-docgen --features python
/// --test recall_python -- --ignored --nocapture`.
#[test]
#[ignore = "needs a package and griffe's list of it"]
fn what_griffe_lists_is_found() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let listed = std::fs::read_to_string(variable("DOCGEN_GRIFFE")).expect("griffe's lines");
    let theirs: BTreeSet<(&str, &str)> = listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let start = std::time::Instant::now();
    let read = extract::python::read(Path::new(&variable("DOCGEN_PACKAGE")), &Limits::default());
    let read = read.expect("the package is read");
    let took = start.elapsed();
    for skipped in &read.skipped {
        println!(
            "skipped {}:{:?} {}",
            skipped.file, skipped.line, skipped.reason
        );
    }
    let store = FactStore::new(read.facts);
    let symbols = store.symbols().iter();
    let ours: BTreeSet<(&str, &str)> = symbols
        .map(|symbol| (symbol.path.as_str(), kind(symbol)))
        .collect();
    let missed: Vec<_> = theirs.difference(&ours).collect();
    let extra: Vec<_> = ours.difference(&theirs).collect();
    for (path, kind) in missed.iter().take(40) {
        println!("missed {kind} {path}");
    }
    for (path, kind) in extra.iter().take(40) {
        println!("extra {kind} {path}");
    }
    println!(
        "griffe {}, missed {}; ours {}, extra {}; {} examples, {} errors, {} keys; {took:?}",
        theirs.len(),
        missed.len(),
        ours.len(),
        extra.len(),
        store.examples().len(),
        store.errors().len(),
        store.config_keys().len(),
    );
    assert!(
        !theirs.is_empty() && missed.len() * 100 <= theirs.len() * 2,
        "more than 2 % are missed"
    );
    assert!(
        extra.len() * 100 <= ours.len() * 2,
        "more than 2 % are not there"
    );
}
