//! What names mean across modules: imports, base classes, names that are passed on.

use super::Module;
use crate::facts::Symbol;
use ruff_python_ast::{ExceptHandler, Expr, Stmt};
use std::collections::{BTreeMap, BTreeSet};

/// Imports through one another that are followed.
const MAX_HOPS: usize = 16;
/// Further paths of one symbol.
const MAX_ALIASES: usize = 8;

/// Names of all modules of a package.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By module: what its imports bring, as dotted paths from the root.
    imports: BTreeMap<String, BTreeMap<String, String>>,
    /// By class: its bases as dotted paths.
    bases: BTreeMap<String, Vec<String>>,
    /// Path under which a module passes something on, and where that is.
    passed_on: BTreeMap<String, String>,
}

/// Statements of a body with those of its conditions, `try` and `with` among them, in order.
pub(super) fn flat(body: &[Stmt]) -> Vec<&Stmt> {
    let mut all = Vec::new();
    for statement in body {
        match statement {
            Stmt::If(found) => {
                all.extend(flat(&found.body));
                for clause in &found.elif_else_clauses {
                    all.extend(flat(&clause.body));
                }
            }
            Stmt::Try(found) => {
                all.extend(flat(&found.body));
                for ExceptHandler::ExceptHandler(handler) in &found.handlers {
                    all.extend(flat(&handler.body));
                }
                all.extend(flat(&found.orelse));
                all.extend(flat(&found.finalbody));
            }
            Stmt::With(found) => all.extend(flat(&found.body)),
            Stmt::For(found) => {
                all.extend(flat(&found.body));
                all.extend(flat(&found.orelse));
            }
            Stmt::While(found) => {
                all.extend(flat(&found.body));
                all.extend(flat(&found.orelse));
            }
            Stmt::Match(found) => {
                for case in &found.cases {
                    all.extend(flat(&case.body));
                }
            }
            other => all.push(other),
        }
    }
    all
}

/// `a.b.c` of names and attributes; nothing for anything else.
pub(super) fn dotted(expr: &Expr) -> Option<String> {
    let mut parts = Vec::new();
    let mut expr = expr;
    loop {
        match expr {
            Expr::Attribute(found) => {
                parts.push(found.attr.as_str());
                expr = &found.value;
            }
            Expr::Name(found) => {
                parts.push(found.id.as_str());
                parts.reverse();
                return Some(parts.join("."));
            }
            _ => return None,
        }
    }
}

impl Names {
    pub(super) fn of(modules: &[Module]) -> Self {
        let mut names = Self::default();
        let by_path: BTreeMap<&str, &Module> = modules
            .iter()
            .map(|module| (module.path.as_str(), module))
            .collect();
        for module in modules {
            let imports = imports(module, &by_path);
            names.imports.insert(module.path.clone(), imports);
        }
        for module in modules {
            names.classes(&module.path, &module.path, &module.body);
            let listed = listed(&module.body);
            if !module.is_package && listed.is_none() {
                continue;
            }
            for (name, target) in &names.imports[&module.path] {
                let shown = match &listed {
                    Some(listed) => listed.contains(name),
                    None => !name.starts_with('_'),
                };
                if shown {
                    let path = format!("{}.{name}", module.path);
                    names.passed_on.insert(path, target.clone());
                }
            }
        }
        names
    }

    fn classes(&mut self, module: &str, owner: &str, body: &[Stmt]) {
        for statement in flat(body) {
            let Stmt::ClassDef(class) = statement else {
                continue;
            };
            let path = format!("{owner}.{}", class.name);
            let bases = class.bases().iter().filter_map(|base| match base {
                Expr::Subscript(generic) => dotted(&generic.value),
                other => dotted(other),
            });
            let bases = bases.map(|base| self.resolve(module, &base)).collect();
            self.bases.insert(path.clone(), bases);
            self.classes(module, &path, &class.body);
        }
    }

    /// The dotted path from the root that `name` has in `module`; names that nothing brings are the module's own or
    /// built in, which only [`Names::descends`] tells apart.
    pub(super) fn resolve(&self, module: &str, name: &str) -> String {
        let (first, rest) = name
            .split_once('.')
            .map_or((name, None), |(a, b)| (a, Some(b)));
        let imported = self.imports.get(module).and_then(|names| names.get(first));
        let start = match imported {
            Some(target) => target.clone(),
            None => format!("{module}.{first}"),
        };
        match rest {
            Some(rest) => format!("{start}.{rest}"),
            None => start,
        }
    }

    /// Where `path` is defined: names that are passed on are followed.
    fn origin(&self, path: &str) -> String {
        let mut path = path.to_owned();
        for _ in 0..MAX_HOPS {
            let Some(next) = self.passed_on.get(&path) else {
                break;
            };
            path.clone_from(next);
        }
        path
    }

    /// Whether a class has, at any distance, a base outside of the package that `is_base` says yes to. Names that
    /// are built in come without their module.
    pub(super) fn descends(&self, class: &str, is_base: impl Fn(&str) -> bool) -> bool {
        let mut open = vec![class.to_owned()];
        let mut seen = BTreeSet::new();
        while let Some(class) = open.pop() {
            for base in self.bases.get(&class).into_iter().flatten() {
                let base = self.origin(base);
                if self.bases.contains_key(&base) {
                    if seen.insert(base.clone()) {
                        open.push(base);
                    }
                    continue;
                }
                let (module, name) = base.rsplit_once('.').unwrap_or(("", &base));
                let outside = if self.imports.contains_key(module) {
                    name
                } else {
                    &base
                };
                if is_base(outside) {
                    return true;
                }
            }
        }
        false
    }

    /// Adds the paths under which modules pass symbols on.
    pub(super) fn add_aliases(&self, symbols: &mut [Symbol]) {
        let mut by_origin: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for path in self.passed_on.keys() {
            let origin = self.origin(path);
            if origin != *path {
                by_origin.entry(origin).or_default().push(path);
            }
        }
        for symbol in symbols {
            let mut ends: Vec<usize> = symbol.path.match_indices('.').map(|(at, _)| at).collect();
            ends.push(symbol.path.len());
            for end in ends {
                let (before, behind) = symbol.path.split_at(end);
                let aliases = by_origin.get(before).into_iter().flatten();
                let room = MAX_ALIASES.saturating_sub(symbol.aliases.len());
                symbol
                    .aliases
                    .extend(aliases.take(room).map(|alias| format!("{alias}{behind}")));
            }
        }
    }
}

/// What `__all__` lists, if it is there.
fn listed(body: &[Stmt]) -> Option<BTreeSet<String>> {
    let mut found = None;
    for statement in flat(body) {
        let (target, value) = match statement {
            Stmt::Assign(assign) => (assign.targets.first(), Some(&*assign.value)),
            Stmt::AnnAssign(assign) => (Some(&*assign.target), assign.value.as_deref()),
            Stmt::AugAssign(assign) => (Some(&*assign.target), Some(&*assign.value)),
            _ => continue,
        };
        let is_all = target
            .and_then(dotted)
            .is_some_and(|name| name == "__all__");
        let elements: &[Expr] = match value {
            Some(Expr::List(list)) if is_all => &list.elts,
            Some(Expr::Tuple(tuple)) if is_all => &tuple.elts,
            _ => continue,
        };
        let all: &mut BTreeSet<String> = found.get_or_insert_default();
        all.extend(elements.iter().filter_map(|element| match element {
            Expr::StringLiteral(text) => Some(text.value.to_str().to_owned()),
            _ => None,
        }));
    }
    found
}

/// Names that the imports of a module bring, with dotted paths from the root.
fn imports(module: &Module, by_path: &BTreeMap<&str, &Module>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for statement in flat(&module.body) {
        match statement {
            Stmt::Import(import) => {
                for name in &import.names {
                    let path = name.name.to_string();
                    match &name.asname {
                        Some(short) => found.insert(short.to_string(), path),
                        None => {
                            let first = path.split('.').next().unwrap_or_default().to_owned();
                            found.insert(first.clone(), first)
                        }
                    };
                }
            }
            Stmt::ImportFrom(import) => {
                let given = import.module.as_ref().map(|name| name.as_str());
                let Some(from) = base(module, import.level, given) else {
                    continue;
                };
                for name in &import.names {
                    if name.name.as_str() == "*" {
                        if let Some(other) = by_path.get(from.as_str()) {
                            let all = star(other).into_iter();
                            found.extend(all.map(|name| (name.clone(), format!("{from}.{name}"))));
                        }
                        continue;
                    }
                    let short = name.asname.as_ref().unwrap_or(&name.name);
                    let path = if from.is_empty() {
                        name.name.to_string()
                    } else {
                        format!("{from}.{}", name.name)
                    };
                    found.insert(short.to_string(), path);
                }
            }
            _ => {}
        }
    }
    found
}

/// The module that `from ..given import` names.
fn base(module: &Module, level: u32, given: Option<&str>) -> Option<String> {
    if level == 0 {
        return given.map(str::to_owned);
    }
    let mut parts: Vec<&str> = module.path.split('.').collect();
    let up = level as usize - usize::from(module.is_package);
    if up > parts.len() {
        return None;
    }
    parts.truncate(parts.len() - up);
    parts.extend(given);
    Some(parts.join("."))
}

/// What `import *` takes from a module: its `__all__`, or what it defines without a leading underscore.
fn star(module: &Module) -> BTreeSet<String> {
    if let Some(listed) = listed(&module.body) {
        return listed;
    }
    let mut names = BTreeSet::new();
    for statement in flat(&module.body) {
        match statement {
            Stmt::FunctionDef(found) => {
                names.insert(found.name.to_string());
            }
            Stmt::ClassDef(found) => {
                names.insert(found.name.to_string());
            }
            Stmt::Assign(found) => names.extend(found.targets.iter().filter_map(dotted)),
            Stmt::AnnAssign(found) => names.extend(dotted(&found.target)),
            Stmt::ImportFrom(found) => {
                let names_of = found
                    .names
                    .iter()
                    .map(|n| n.asname.as_ref().unwrap_or(&n.name));
                names.extend(names_of.map(ToString::to_string));
            }
            _ => {}
        }
    }
    names.retain(|name| !name.starts_with('_') && !name.contains('.') && name != "*");
    names
}
