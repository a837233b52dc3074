//! Reads a Python package by its sources, without importing it.
//!
//! Everything that is defined in modules and classes is there, names with a leading underscore too; attributes
//! of instances are those that `__init__` sets. What is only made when code runs isn't seen.

mod classes;
mod depth;
mod docstring;
mod members;
mod names;
mod source;

use super::files::Folder;
use super::{Extraction, Limits, SkipReason};
use crate::DocgenError;
use crate::facts::{FactParts, Language, Span, Symbol, SymbolKind};
use ruff_python_ast::Stmt;
use source::Source;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Folders within each other that are looked into.
const MAX_DEPTH: usize = 64;

/// A module with its statements.
struct Module {
    /// Dotted path.
    path: String,
    /// Whether it is a folder with `__init__.py`.
    is_package: bool,
    source: Source,
    body: Vec<Stmt>,
}

/// Reads the package in `folder`, or, where that has no `__init__.py`, every module and package directly in it.
///
/// Files that can't be read or parsed are listed in [`Extraction::skipped`] and the rest is read all the same.
/// A stub `.pyi` is read where no `.py` of that name is there.
///
/// # Errors
/// [`DocgenError::Io`] where the folder can't be read, [`DocgenError::NoPackage`] where it holds no module,
/// [`DocgenError::Reader`] where the parser fails by a defect of its own.
pub fn read(folder: &Path, limits: &Limits) -> Result<Extraction, DocgenError> {
    super::on_large_stack(folder, || {
        let mut opened = Folder::open(folder, *limits)?;
        let modules = modules(&mut opened);
        if opened.read.is_empty() && opened.skipped.is_empty() {
            return Err(DocgenError::NoPackage {
                path: folder.to_owned(),
            });
        }
        let facts = facts(&modules);
        Ok(opened.finish(facts))
    })
}

/// Facts of all modules; names that are passed on become aliases.
fn facts(modules: &[Module]) -> FactParts {
    let names = names::Names::of(modules);
    let mut facts = FactParts::default();
    for module in modules {
        let doc = docstring::of_body(&module.body);
        let span = module.source.span_of_lines(1, module.source.last_line());
        members::examples(&mut facts, doc.as_deref(), &module.path, &span);
        facts.symbols.push(symbol(
            SymbolKind::Module,
            &module.path,
            format!("module {}", module.path),
            doc,
            span,
        ));
        members::collect(module, &names, &mut facts);
    }
    names.add_aliases(&mut facts.symbols);
    facts
}

/// A symbol without parameters.
fn symbol(
    kind: SymbolKind,
    path: &str,
    signature: String,
    doc: Option<String>,
    span: Span,
) -> Symbol {
    let (deprecated, deprecated_since) = doc
        .as_deref()
        .and_then(docstring::deprecated)
        .map_or((None, None), |(why, since)| (Some(why), since));
    Symbol {
        id: String::new(),
        kind,
        language: Language::Python,
        path: path.to_owned(),
        aliases: Vec::new(),
        signature,
        parameters: Vec::new(),
        returns: None,
        raises: Vec::new(),
        deprecated,
        deprecated_since,
        decorators: Vec::new(),
        cfg: Vec::new(),
        doc,
        span,
    }
}

/// All modules, by path.
fn modules(folder: &mut Folder) -> Vec<Module> {
    let root = folder.root().to_owned();
    let name = root.file_name().map(|n| n.to_string_lossy().into_owned());
    let start = match name {
        Some(name) if init(&root).is_some() => name,
        _ => String::new(),
    };
    let mut modules = Vec::new();
    let mut open = VecDeque::from([(root, start, 0)]);
    while let Some((path, name, depth)) = open.pop_front() {
        if let Some(file) = init(&path) {
            modules.extend(module(folder, &file, name.clone(), true));
        }
        if depth == MAX_DEPTH {
            continue;
        }
        let entries = folder.entries(&path);
        for entry in &entries {
            let stem = entry.file_stem().map(|s| s.to_string_lossy().into_owned());
            let Some(stem) = stem.filter(|stem| is_identifier(stem)) else {
                continue;
            };
            let inner = if name.is_empty() {
                stem.clone()
            } else {
                format!("{name}.{stem}")
            };
            if entry.is_dir() {
                if entry.extension().is_none() && init(entry).is_some() {
                    open.push_back((entry.clone(), inner, depth + 1));
                }
            } else if stem != "__init__" {
                let is_source = entry.extension().is_some_and(|e| e == "py");
                let is_stub = entry.extension().is_some_and(|e| e == "pyi");
                let alone = !entries.contains(&entry.with_extension("py"));
                if is_source || (is_stub && alone) {
                    modules.extend(module(folder, entry, inner, false));
                }
            }
        }
    }
    modules.sort_by(|a, b| a.path.cmp(&b.path));
    modules
}

fn init(folder: &Path) -> Option<PathBuf> {
    let files = ["__init__.py", "__init__.pyi"].map(|name| folder.join(name));
    files.into_iter().find(|file| file.exists())
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_alphabetic())
        && chars.all(|c| c == '_' || c.is_alphanumeric())
}

fn module(folder: &mut Folder, file: &Path, path: String, is_package: bool) -> Option<Module> {
    let text = folder.text(file)?;
    let source = Source::new(folder.name(file), text);
    match parse(&source, folder.limits()) {
        Ok(body) => Some(Module {
            path,
            is_package,
            source,
            body,
        }),
        Err((line, reason)) => {
            folder.read.remove(&source.name);
            folder.skip(&source.name, line, reason);
            None
        }
    }
}

fn parse(source: &Source, limits: &Limits) -> Result<Vec<Stmt>, (Option<usize>, SkipReason)> {
    if depth::too_deep(&source.text, limits) {
        let reason = SkipReason::TooDeep {
            nesting: limits.nesting,
            tokens: limits.tokens,
        };
        return Err((None, reason));
    }
    match ruff_python_parser::parse_module(&source.text) {
        Ok(parsed) => Ok(parsed.into_suite().into_iter().collect()),
        Err(error) => {
            let line = source.line(usize::from(error.location.start()));
            let message = error.error.to_string();
            Err((Some(line), SkipReason::Syntax { message }))
        }
    }
}
