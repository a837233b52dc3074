//! Names within a crate: what a path in a module means, and under which paths users reach it.

use super::attrs;
use super::load::Tree;
use std::collections::{BTreeMap, BTreeSet};
use syn::{Item, UseTree, Visibility};

/// Re-exports through one another that are followed.
const MAX_HOPS: usize = 64;
/// Public paths of one module that are followed.
const MAX_PATHS: usize = 8;
/// Parts of a public path.
const MAX_PARTS: usize = 32;

/// Something with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Module(usize),
    /// Module, and which of its items.
    Item(usize, usize),
}

/// One name that a `use` brings, or a glob.
#[derive(Debug, Clone)]
struct Use {
    public: bool,
    hidden: bool,
    parts: Vec<String>,
    /// `None` for a glob.
    name: Option<String>,
}

/// Names of all modules.
pub(super) struct Scope<'a> {
    tree: &'a Tree,
    crate_name: &'a str,
    own: Vec<BTreeMap<String, Vec<Target>>>,
    uses: Vec<Vec<Use>>,
}

/// Where users reach things: all paths, the shortest first.
pub(super) type Reached = BTreeMap<Target, BTreeSet<(usize, Vec<String>)>>;

impl<'a> Scope<'a> {
    pub(super) fn new(tree: &'a Tree, crate_name: &'a str) -> Self {
        let mut own = Vec::new();
        let mut uses = Vec::new();
        for (at, module) in tree.modules.iter().enumerate() {
            let mut names: BTreeMap<String, Vec<Target>> = BTreeMap::new();
            for (name, children) in &module.children {
                let targets = children.iter().map(|&child| Target::Module(child));
                names.entry(name.clone()).or_default().extend(targets);
            }
            let mut brought = Vec::new();
            for (index, item) in module.items.iter().enumerate() {
                if let Some(name) = name(item) {
                    let target = Target::Item(at, index);
                    names.entry(name).or_default().push(target);
                }
                if let Item::Use(item) = item {
                    let leaf = Use {
                        public: is_public(&item.vis),
                        hidden: attrs::is_hidden(&item.attrs),
                        parts: Vec::new(),
                        name: None,
                    };
                    if !attrs::is_test_only(&item.attrs) {
                        flatten(&item.tree, leaf, &mut brought);
                    }
                }
            }
            own.push(names);
            uses.push(brought);
        }
        Self {
            tree,
            crate_name,
            own,
            uses,
        }
    }

    /// What `parts` means in `module`; nothing where it is another crate's.
    pub(super) fn resolve(&self, module: usize, parts: &[String]) -> Vec<Target> {
        self.follow(module, parts, &mut BTreeSet::new(), 0)
    }

    /// What the type of an implementation means: its path through groups and aliases of the crate.
    pub(super) fn resolve_type(&self, module: usize, ty: &syn::Type) -> Vec<Target> {
        let mut found = self.resolve_path(module, ty);
        // `type Short = Long; impl Short { … }`
        for _ in 0..MAX_HOPS {
            let mut next = Vec::new();
            let mut aliased = false;
            for target in found {
                match self.alias(target) {
                    Some((home, alias)) => {
                        aliased = true;
                        next.extend(self.resolve_path(home, &alias.ty));
                    }
                    None => next.push(target),
                }
            }
            found = next;
            if !aliased {
                break;
            }
        }
        found
    }

    fn resolve_path(&self, module: usize, ty: &syn::Type) -> Vec<Target> {
        match ty {
            syn::Type::Group(group) => self.resolve_path(module, &group.elem),
            syn::Type::Paren(inner) => self.resolve_path(module, &inner.elem),
            syn::Type::Path(path) if path.qself.is_none() => {
                let parts = path.path.segments.iter().map(|s| attrs::unraw(&s.ident));
                let found = self.resolve(module, &parts.collect::<Vec<_>>());
                let types = found.into_iter().filter(|target| match *target {
                    Target::Module(_) => false,
                    Target::Item(module, index) => matches!(
                        self.tree.modules[module].items[index],
                        Item::Struct(_)
                            | Item::Enum(_)
                            | Item::Union(_)
                            | Item::Trait(_)
                            | Item::Type(_)
                    ),
                });
                types.collect()
            }
            syn::Type::TraitObject(object) => {
                let bound = object.bounds.iter().find_map(|bound| match bound {
                    syn::TypeParamBound::Trait(bound) => Some(&bound.path),
                    _ => None,
                });
                let parts = bound.map(|path| path.segments.iter().map(|s| attrs::unraw(&s.ident)));
                let parts: Vec<String> = parts.into_iter().flatten().collect();
                self.resolve(module, &parts)
            }
            _ => Vec::new(),
        }
    }

    fn alias(&self, target: Target) -> Option<(usize, &'a syn::ItemType)> {
        match target {
            Target::Item(module, index) => match &self.tree.modules[module].items[index] {
                Item::Type(alias) => Some((module, alias)),
                _ => None,
            },
            Target::Module(_) => None,
        }
    }

    /// Type aliases that `parts` means in `module`, each with the module that defines it.
    pub(super) fn aliases(
        &self,
        module: usize,
        parts: &[String],
    ) -> Vec<(usize, &'a syn::ItemType)> {
        let found = self.resolve(module, parts);
        found
            .into_iter()
            .filter_map(|target| self.alias(target))
            .collect()
    }

    /// `parts` with its first part replaced by what a `use` in `module` says it is.
    pub(super) fn brought(&self, module: usize, parts: &[String]) -> Option<Vec<String>> {
        let (first, rest) = parts.split_first()?;
        let mut uses = self.uses[module].iter();
        let found = uses.find(|brought| brought.name.as_ref() == Some(first))?;
        Some(found.parts.iter().chain(rest).cloned().collect())
    }

    fn follow(
        &self,
        module: usize,
        parts: &[String],
        seen: &mut BTreeSet<(usize, String)>,
        hops: usize,
    ) -> Vec<Target> {
        let Some((first, rest)) = parts.split_first() else {
            return Vec::new();
        };
        let parent = self.tree.modules[module].parent;
        let mut found = match first.as_str() {
            "crate" | "$crate" => vec![Target::Module(0)],
            "self" => vec![Target::Module(module)],
            "super" => parent.map(Target::Module).into_iter().collect(),
            name => self.lookup(module, name, seen, hops),
        };
        if found.is_empty() && first == self.crate_name {
            found.push(Target::Module(0));
        }
        for part in rest {
            let modules = found.into_iter().filter_map(|target| match target {
                Target::Module(module) => Some(module),
                Target::Item(..) => None,
            });
            let next = modules.map(|module| match part.as_str() {
                "self" => vec![Target::Module(module)],
                "super" => {
                    let parent = self.tree.modules[module].parent;
                    parent.map(Target::Module).into_iter().collect()
                }
                name => self.lookup(module, name, seen, hops),
            });
            found = next.collect::<Vec<_>>().concat();
        }
        found
    }

    fn lookup(
        &self,
        module: usize,
        name: &str,
        seen: &mut BTreeSet<(usize, String)>,
        hops: usize,
    ) -> Vec<Target> {
        if hops > MAX_HOPS || !seen.insert((module, name.to_owned())) {
            return Vec::new();
        }
        let mut found = self.own[module].get(name).cloned().unwrap_or_default();
        for brought in &self.uses[module] {
            if brought.name.as_deref() == Some(name) {
                found.extend(self.follow(module, &brought.parts, seen, hops + 1));
            }
        }
        if found.is_empty() {
            for glob in self.uses[module].iter().filter(|u| u.name.is_none()) {
                for target in self.follow(module, &glob.parts, &mut seen.clone(), hops + 1) {
                    if let Target::Module(inner) = target {
                        found.extend(self.lookup(inner, name, seen, hops + 1));
                    }
                }
            }
        }
        seen.remove(&(module, name.to_owned()));
        found.sort();
        found.dedup();
        found
    }

    /// Everything that users reach, without members of types. Shorter paths are found first.
    pub(super) fn reached(&self) -> Reached {
        let mut reached = Reached::new();
        let root = vec![self.crate_name.to_owned()];
        let mut open = std::collections::VecDeque::from([(0, root.clone(), vec![0])]);
        insert(&mut reached, Target::Module(0), root.clone());
        while let Some((module, path, within)) = open.pop_front() {
            for (name, target) in self.public_names(module) {
                let mut full = path.clone();
                full.push(name);
                let paths = reached.get(&target).map_or(0, BTreeSet::len);
                if full.len() > MAX_PARTS || paths >= MAX_PATHS {
                    continue;
                }
                match target {
                    Target::Module(inner) if within.contains(&inner) => {}
                    Target::Module(inner) => {
                        if insert(&mut reached, target, full.clone()) {
                            let mut chain = within.clone();
                            chain.push(inner);
                            open.push_back((inner, full, chain));
                        }
                    }
                    Target::Item(..) => {
                        insert(&mut reached, target, full);
                    }
                }
            }
        }
        for (at, module) in self.tree.modules.iter().enumerate() {
            for (index, item) in module.items.iter().enumerate() {
                if let (Some(name), true) = (name(item), is_exported_macro(item)) {
                    let path = vec![root[0].clone(), name];
                    insert(&mut reached, Target::Item(at, index), path);
                }
            }
        }
        reached
    }

    /// What a module shows to users under its own path.
    fn public_names(&self, module: usize) -> BTreeSet<(String, Target)> {
        let mut names = BTreeSet::new();
        self.collect_public(module, &mut names, &mut BTreeSet::new());
        names
    }

    fn collect_public(
        &self,
        module: usize,
        names: &mut BTreeSet<(String, Target)>,
        seen: &mut BTreeSet<usize>,
    ) {
        let mut open = vec![module];
        while let Some(module) = open.pop() {
            if !seen.insert(module) {
                continue;
            }
            let mut here = BTreeSet::new();
            for (name, targets) in &self.own[module] {
                let shown = targets.iter().filter(|target| self.is_shown(**target));
                here.extend(shown.map(|target| (name.clone(), *target)));
            }
            let shown = self.uses[module].iter().filter(|u| u.public && !u.hidden);
            for brought in shown {
                let targets = self.resolve(module, &brought.parts);
                match &brought.name {
                    Some(name) => {
                        let visible = targets.into_iter().filter(|t| !self.is_hidden(*t));
                        here.extend(visible.map(|target| (name.clone(), target)));
                    }
                    None => open.extend(targets.into_iter().filter_map(|target| match target {
                        Target::Module(inner) => Some(inner),
                        Target::Item(..) => None,
                    })),
                }
            }
            names.extend(here);
        }
    }

    fn is_hidden(&self, target: Target) -> bool {
        match target {
            Target::Module(module) => attrs::is_hidden(&self.tree.modules[module].attrs),
            Target::Item(module, index) => {
                item_attrs(&self.tree.modules[module].items[index]).is_some_and(attrs::is_hidden)
            }
        }
    }

    /// Whether it is public where it is defined.
    fn is_shown(&self, target: Target) -> bool {
        let public = match target {
            Target::Module(module) => self.tree.modules[module].public,
            Target::Item(module, index) => {
                visibility(&self.tree.modules[module].items[index]).is_some_and(is_public)
            }
        };
        public && !self.is_hidden(target)
    }
}

fn insert(reached: &mut Reached, target: Target, path: Vec<String>) -> bool {
    let paths = reached.entry(target).or_default();
    paths.insert((path.len(), path))
}

fn flatten(tree: &UseTree, leaf: Use, into: &mut Vec<Use>) {
    match tree {
        UseTree::Path(path) => {
            let mut leaf = leaf;
            leaf.parts.push(attrs::unraw(&path.ident));
            flatten(&path.tree, leaf, into);
        }
        UseTree::Name(name) => {
            let mut leaf = leaf;
            let ident = attrs::unraw(&name.ident);
            if ident == "self" {
                leaf.name = leaf.parts.last().cloned();
            } else {
                leaf.parts.push(ident.clone());
                leaf.name = Some(ident);
            }
            into.push(leaf);
        }
        UseTree::Rename(rename) => {
            let mut leaf = leaf;
            let ident = attrs::unraw(&rename.ident);
            if ident != "self" {
                leaf.parts.push(ident);
            }
            leaf.name = Some(attrs::unraw(&rename.rename));
            into.push(leaf);
        }
        UseTree::Glob(_) => into.push(leaf),
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, leaf.clone(), into);
            }
        }
    }
}

pub(super) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// `#[macro_export]`, which shows a macro at the root whatever module it is in.
fn is_exported_macro(item: &Item) -> bool {
    match item {
        Item::Macro(item) => {
            attrs::has(&item.attrs, "macro_export") && !attrs::is_hidden(&item.attrs)
        }
        _ => false,
    }
}

/// The name of an item; none for what has no name or only passes names on.
fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    let test_only = item_attrs(item).is_some_and(attrs::is_test_only);
    (!test_only && ident != "_").then(|| attrs::unraw(ident))
}

fn visibility(item: &Item) -> Option<&Visibility> {
    Some(match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Static(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Union(item) => &item.vis,
        _ => return None,
    })
}

pub(super) fn item_attrs(item: &Item) -> Option<&[syn::Attribute]> {
    Some(match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        _ => return None,
    })
}
