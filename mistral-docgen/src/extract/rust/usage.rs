//! Functions of tests and examples that use what a crate offers.

use super::super::files::Folder;
use super::attrs;
use crate::facts::{Example, Span, Symbol, SymbolKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Item, UseTree};

/// Longest function that is an example, in lines.
const MAX_LINES: usize = 60;
/// Functions that are kept for one symbol, the shortest ones.
const MAX_EXAMPLES: usize = 3;

/// Examples for `symbols` among the functions of `tests` and `examples`, which may lie in folders of their own.
pub(super) fn examples(folder: &mut Folder, crate_name: &str, symbols: &[Symbol]) -> Vec<Example> {
    let names = Names::of(symbols);
    let mut found: BTreeMap<String, Vec<(usize, Example)>> = BTreeMap::new();
    for kind in ["examples", "tests"] {
        for file in sources(folder, kind) {
            let Some(text) = folder.text(&file) else {
                continue;
            };
            let name = folder.name(&file);
            let parsed = match super::load::parse(&text, folder.limits()) {
                Ok(parsed) => parsed,
                Err((line, reason)) => {
                    folder.skip(&name, Some(line), reason);
                    continue;
                }
            };
            let mut imports = Imports::default();
            imports.items(&parsed.items, crate_name);
            for function in functions(&parsed.items) {
                let span = function.span();
                let (first, last) = (span.start().line, span.end().line);
                let length = last.saturating_sub(first) + 1;
                if length > MAX_LINES {
                    continue;
                }
                let lines = text.lines().skip(first.saturating_sub(1)).take(length);
                let code: String = lines.map(|line| format!("{line}\n")).collect();
                for of in names.used(function, &imports, crate_name) {
                    let example = Example {
                        language: "rust".to_owned(),
                        attributes: vec![kind.to_owned()],
                        code: code.clone(),
                        span: Span::of(&name, &text, first, last),
                        of: of.clone(),
                    };
                    found.entry(of).or_default().push((length, example));
                }
            }
        }
    }
    let shortest = found.into_values().flat_map(|mut all| {
        all.sort_by(|a, b| (a.0, &a.1.span).cmp(&(b.0, &b.1.span)));
        all.truncate(MAX_EXAMPLES);
        all.into_iter().map(|(_, example)| example)
    });
    shortest.collect()
}

/// Files of Rust directly within a folder and in its folders.
fn sources(folder: &mut Folder, kind: &str) -> Vec<PathBuf> {
    let root = folder.root().join(kind);
    let mut files = Vec::new();
    if !root.is_dir() {
        return files;
    }
    for path in folder.entries(&root) {
        if path.is_dir() {
            files.extend(folder.entries(&path));
        } else {
            files.push(path);
        }
    }
    files.retain(|path: &PathBuf| path.extension().is_some_and(|e| e == "rs") && is_file(path));
    files
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}

fn functions(items: &[Item]) -> Vec<&syn::ItemFn> {
    let mut found = Vec::new();
    let mut open = vec![items];
    while let Some(items) = open.pop() {
        for item in items {
            match item {
                Item::Fn(item) => found.push(item),
                Item::Mod(item) => open.extend(item.content.as_ref().map(|(_, items)| &items[..])),
                _ => {}
            }
        }
    }
    found
}

/// Names that a file takes from the crate, and whether it takes all of some module.
#[derive(Default)]
struct Imports {
    names: BTreeMap<String, String>,
    globs: BTreeSet<String>,
}

impl Imports {
    fn items(&mut self, items: &[Item], crate_name: &str) {
        let mut open = vec![items];
        while let Some(items) = open.pop() {
            for item in items {
                match item {
                    Item::Use(item) => self.tree(&item.tree, String::new(), crate_name),
                    Item::Mod(item) => {
                        open.extend(item.content.as_ref().map(|(_, items)| &items[..]));
                    }
                    _ => {}
                }
            }
        }
    }

    fn tree(&mut self, tree: &UseTree, before: String, crate_name: &str) {
        let join = |name: &str| match before.as_str() {
            "" => name.to_owned(),
            _ => format!("{before}::{name}"),
        };
        let ours = before.split("::").next() == Some(crate_name);
        match tree {
            UseTree::Path(path) => {
                self.tree(&path.tree, join(&attrs::unraw(&path.ident)), crate_name)
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, before.clone(), crate_name);
                }
            }
            UseTree::Name(name) if ours => {
                let name = attrs::unraw(&name.ident);
                if name == "self" {
                    let last = before.rsplit("::").next().unwrap_or_default().to_owned();
                    self.names.insert(last, before);
                } else {
                    self.names.insert(name.clone(), join(&name));
                }
            }
            UseTree::Rename(rename) if ours => {
                let path = join(&attrs::unraw(&rename.ident));
                self.names.insert(attrs::unraw(&rename.rename), path);
            }
            UseTree::Glob(_) if ours => {
                self.globs.insert(before);
            }
            _ => {}
        }
    }
}

/// Symbols by their paths; methods also by their names.
struct Names<'a> {
    by_path: BTreeMap<&'a str, &'a str>,
    /// Methods whose name no other has: path of the type, path of the method.
    methods: BTreeMap<&'a str, Option<(&'a str, &'a str)>>,
}

impl<'a> Names<'a> {
    fn of(symbols: &'a [Symbol]) -> Self {
        let mut by_path = BTreeMap::new();
        let mut methods: BTreeMap<&str, Option<(&str, &str)>> = BTreeMap::new();
        for symbol in symbols {
            if symbol.kind == SymbolKind::Module {
                continue;
            }
            for path in std::iter::once(&symbol.path).chain(&symbol.aliases) {
                by_path.insert(path.as_str(), symbol.path.as_str());
            }
            if symbol.kind == SymbolKind::Method
                && let Some(found) = symbol.path.rsplit_once("::")
            {
                let path = symbol.path.as_str();
                let entry = methods.entry(found.1).or_insert(Some((found.0, path)));
                // The same method under several conditions is one.
                if entry.is_some_and(|(_, known)| known != path) {
                    *entry = None;
                }
            }
        }
        Self { by_path, methods }
    }

    /// Paths of the symbols that a function uses.
    fn used(
        &self,
        function: &syn::ItemFn,
        imports: &Imports,
        crate_name: &str,
    ) -> BTreeSet<String> {
        let mut seen = Seen::default();
        seen.visit_item_fn(function);
        let mut used = BTreeSet::new();
        for parts in &seen.paths {
            let written = parts.join("::");
            let mut candidates = Vec::new();
            if parts[0] == crate_name {
                candidates.push(written.clone());
            } else if let Some(path) = imports.names.get(&parts[0]) {
                let rest = &parts[1..];
                candidates.push(
                    std::iter::once(path)
                        .chain(rest)
                        .cloned()
                        .collect::<Vec<_>>()
                        .join("::"),
                );
            } else {
                let globs = imports.globs.iter();
                candidates.extend(globs.map(|glob| format!("{glob}::{written}")));
            }
            for mut candidate in candidates {
                // `Type::method`, and the type itself.
                while candidate.contains("::") {
                    if let Some(path) = self.by_path.get(candidate.as_str()) {
                        used.insert((*path).to_owned());
                    }
                    candidate.truncate(candidate.rfind("::").unwrap_or(0));
                }
            }
        }
        for name in &seen.methods {
            if let Some(Some((owner, path))) = self.methods.get(name.as_str())
                && used.contains(*owner)
            {
                used.insert((*path).to_owned());
            }
        }
        used
    }
}

#[derive(Default)]
struct Seen {
    paths: BTreeSet<Vec<String>>,
    methods: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Seen {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|s| attrs::unraw(&s.ident))
            .collect();
        if !parts.is_empty() {
            self.paths.insert(parts);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.methods.insert(attrs::unraw(&call.method));
        syn::visit::visit_expr_method_call(self, call);
    }

    /// Arguments of `assert_eq!` and the like are expressions.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let separated = syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        if let Ok(parts) = call.parse_body_with(separated) {
            // Nested macros were counted as tokens when the file's nesting was checked.
            for part in &parts {
                // The visitor's lifetime is that of the tree, so a fresh one looks at what was just parsed.
                let mut inner = Seen::default();
                inner.visit_expr(part);
                self.paths.extend(inner.paths);
                self.methods.extend(inner.methods);
            }
        }
        self.visit_path(&call.path);
    }
}
