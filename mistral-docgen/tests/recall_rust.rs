//! What the reader of Rust finds beside what rustdoc finds in the same crate.
#![cfg(feature = "rust")]

use mistral_docgen::extract::{self, Limits};
use mistral_docgen::facts::{FactStore, SymbolKind};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Paths and kinds that rustdoc's JSON reaches from the root, by item.
#[derive(Default)]
struct Rustdoc {
    found: BTreeMap<u64, (BTreeSet<String>, &'static str)>,
}

fn ids(value: &Value) -> impl Iterator<Item = u64> + '_ {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
}

impl Rustdoc {
    fn read(json: &Value) -> Self {
        assert_eq!(
            json["format_version"], 57,
            "the version that this test knows"
        );
        let mut rustdoc = Self::default();
        let root = json["root"].as_u64().expect("a root");
        let name = json["index"][root.to_string()]["name"]
            .as_str()
            .expect("a name");
        rustdoc.item(json, root, name, "", &mut Vec::new());
        rustdoc
    }

    /// Notes the item `id` at `path` and follows what is within. Without tuple fields, which have no name, and
    /// items of other crates.
    fn item(&mut self, json: &Value, id: u64, path: &str, parent: &str, within: &mut Vec<u64>) {
        let item = &json["index"][id.to_string()];
        if item.is_null() || item["crate_id"] != 0 || within.contains(&id) {
            return;
        }
        let inner = item["inner"].as_object().expect("an inner item");
        let (kind, inner) = inner.iter().next().expect("its kind");
        let own = match (kind.as_str(), parent) {
            ("function", "module" | "") => "function",
            ("function", _) => "method",
            ("assoc_const" | "constant", _) => "constant",
            ("assoc_type", _) => "associated-type",
            ("struct_field", _) => "field",
            ("type_alias", _) => "type-alias",
            ("module", _) => "module",
            ("struct", _) => "struct",
            ("union", _) => "union",
            ("enum", _) => "enum",
            ("variant", _) => "variant",
            ("trait", _) => "trait",
            ("static", _) => "static",
            ("macro" | "proc_macro", _) => "macro",
            ("use", _) => return self.reexport(json, inner, path, within),
            (other, _) => panic!("an unknown kind: {other}"),
        };
        let entry = self.found.entry(id).or_insert((BTreeSet::new(), own));
        entry.0.insert(path.to_owned());
        within.push(id);
        for child in children(kind, inner) {
            let child_item = &json["index"][child.to_string()];
            let name = child_item["name"].as_str().unwrap_or_default();
            if name.bytes().all(|b| b.is_ascii_digit()) && child_item["inner"]["use"].is_null() {
                continue;
            }
            self.item(json, child, &format!("{path}::{name}"), kind, within);
        }
        for implementation in ids(&inner["impls"]) {
            let implementation = &json["index"][implementation.to_string()]["inner"]["impl"];
            if implementation["trait"].is_null() && implementation["is_synthetic"] == false {
                for child in ids(&implementation["items"]) {
                    let name = json["index"][child.to_string()]["name"].as_str();
                    let path = format!("{path}::{}", name.unwrap_or_default());
                    self.item(json, child, &path, "impl", within);
                }
            }
        }
        within.pop();
    }

    fn reexport(&mut self, json: &Value, inner: &Value, path: &str, within: &mut Vec<u64>) {
        let Some(target) = inner["id"].as_u64() else {
            return;
        };
        let parent = path.rsplit_once("::").expect("within a module").0;
        if inner["is_glob"] == true {
            let item = &json["index"][target.to_string()]["inner"];
            let all = ids(&item["module"]["items"]).chain(ids(&item["enum"]["variants"]));
            for child in all {
                let name = json["index"][child.to_string()]["name"].as_str();
                let path = format!("{parent}::{}", name.unwrap_or_default());
                self.item(json, child, &path, "module", within);
            }
        } else {
            let name = inner["name"].as_str().expect("the name it gets");
            self.item(json, target, &format!("{parent}::{name}"), "module", within);
        }
    }
}

fn children(kind: &str, inner: &Value) -> Vec<u64> {
    let of = |value: &Value| ids(value).collect::<Vec<_>>();
    match kind {
        "module" | "trait" => of(&inner["items"]),
        "enum" => of(&inner["variants"]),
        "union" => of(&inner["fields"]),
        "struct" => of(&inner["kind"]["plain"]["fields"]),
        "variant" => of(&inner["kind"]["struct"]["fields"]),
        _ => Vec::new(),
    }
}

/// At least 98 % of what rustdoc lists is found, by any of its paths and its kind, and at most 2 % beyond.
///
/// Needs two folders or files named by the environment; without them nothing is compared:
/// `RUSTC_BOOTSTRAP=1 cargo rustdoc --lib -- -Z unstable-options --output-format json` in a crate's folder gives the
/// JSON of its default features; then
/// `DOCGEN_CRATE=<the folder> DOCGEN_RUSTDOC_JSON=<the file> cargo test -p mistral-docgen --test recall_rust -- --ignored --nocapture`
/// here. What the reader found under a `cfg` counts where it holds with `DOCGEN_CFG` (separated by `;`), by default that
/// of Linux on x86-64 without features.
#[test]
#[ignore = "needs a crate and its rustdoc JSON"]
fn what_rustdoc_lists_is_found() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let json = std::fs::read(variable("DOCGEN_RUSTDOC_JSON")).expect("the JSON can be read");
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    let rustdoc = Rustdoc::read(&json);
    let set = std::env::var("DOCGEN_CFG").unwrap_or_else(|_| {
        "unix;doc;debug_assertions;target_os = \"linux\";target_arch = \"x86_64\";target_pointer_width = \"64\";\
         target_family = \"unix\";target_feature = \"sse2\";target_endian = \"little\""
            .to_owned()
    });
    let set: BTreeSet<String> = set.split(';').map(str::to_owned).collect();
    let start = std::time::Instant::now();
    let read = extract::rust::read(Path::new(&variable("DOCGEN_CRATE")), &Limits::default());
    let read = read.expect("the crate is read");
    let took = start.elapsed();
    for skipped in &read.skipped {
        println!(
            "skipped {}:{:?} {}",
            skipped.file, skipped.line, skipped.reason
        );
    }
    let store = FactStore::new(read.facts);
    let holds = |condition: &String| extract::rust::holds(condition, &set).unwrap_or(true);
    let ours: Vec<_> = store
        .symbols()
        .iter()
        .filter(|s| s.cfg.iter().all(holds))
        .collect();
    let mut known: BTreeSet<(&str, &str)> = BTreeSet::new();
    for symbol in &ours {
        let paths = std::iter::once(&symbol.path).chain(&symbol.aliases);
        known.extend(paths.map(|path| (path.as_str(), symbol.kind.name())));
    }
    let mut theirs: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut missed = Vec::new();
    for (paths, kind) in rustdoc.found.values() {
        theirs.extend(paths.iter().map(|path| (path.as_str(), *kind)));
        if !paths
            .iter()
            .any(|path| known.contains(&(path.as_str(), *kind)))
        {
            missed.push((paths.first().expect("a path"), kind));
        }
    }
    let extra: Vec<_> = ours
        .iter()
        .filter(|symbol| {
            let mut paths = std::iter::once(&symbol.path).chain(&symbol.aliases);
            !paths.any(|path| theirs.contains(&(path.as_str(), symbol.kind.name())))
        })
        .collect();
    for (path, kind) in missed.iter().take(40) {
        println!("missed {kind} {path}");
    }
    for symbol in extra.iter().take(40) {
        println!("extra {} {:?}", symbol.id, symbol.cfg);
    }
    let (all, methods) = (rustdoc.found.len(), |kind: SymbolKind| {
        ours.iter().filter(|symbol| symbol.kind == kind).count()
    });
    println!(
        "rustdoc {all}, missed {}; ours {} (methods {}), extra {}; {} examples, {} errors, {} keys; {took:?}",
        missed.len(),
        ours.len(),
        methods(SymbolKind::Method),
        extra.len(),
        store.examples().len(),
        store.errors().len(),
        store.config_keys().len(),
    );
    assert!(
        all > 0 && missed.len() * 100 <= all * 2,
        "more than 2 % are missed"
    );
    assert!(
        extra.len() * 100 <= ours.len() * 2,
        "more than 2 % are not there"
    );
}
