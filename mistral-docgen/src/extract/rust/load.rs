//! The modules of a crate: which files they are in and what is in them.

use super::super::files::Folder;
use super::super::{Limits, SkipReason};
use super::{attrs, expand};
use proc_macro2::TokenStream;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;

/// Modules within each other that are followed.
const MAX_MODULE_DEPTH: usize = 64;

/// A file that was parsed.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Relative to the folder.
    pub(super) name: String,
    pub(super) text: String,
}

/// A module with its items; those of its inline modules are in modules of their own.
pub(super) struct Module {
    pub(super) name: String,
    /// Index of the file.
    pub(super) file: usize,
    pub(super) parent: Option<usize>,
    pub(super) children: BTreeMap<String, Vec<usize>>,
    pub(super) items: Vec<syn::Item>,
    /// Of the declaration and of the file, in this order.
    pub(super) attrs: Vec<syn::Attribute>,
    pub(super) public: bool,
    /// Conditions of this module and of those around it.
    pub(super) cfg: Vec<String>,
    /// First and last line.
    pub(super) lines: (usize, usize),
}

/// All modules of a crate; the first is its root.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) files: Vec<SourceFile>,
    pub(super) modules: Vec<Module>,
    /// Invocations of macros that were not expanded.
    pub(super) missed: Vec<expand::Missed>,
}

/// Where modules that are declared in a module have their files.
#[derive(Clone)]
struct Place {
    /// Folder of the files of child modules.
    children: PathBuf,
    /// Folder to which `#[path]` is relative.
    paths: PathBuf,
    /// Files around, each holding the next.
    within: Vec<PathBuf>,
    depth: usize,
}

/// Reads `entry` and every module that it declares, directly or not.
pub(super) fn load(folder: &mut Folder, entry: &Path) -> Tree {
    let mut tree = Tree::default();
    let parent = entry.parent().unwrap_or(entry).to_owned();
    let place = Place {
        children: parent.clone(),
        paths: parent,
        within: vec![entry.to_owned()],
        depth: 0,
    };
    let Some(root) = read(folder, &mut tree, entry) else {
        return tree;
    };
    let cfg = attrs::cfg(&root.attrs);
    tree.modules.push(Module {
        public: true,
        cfg,
        ..root
    });
    let mut places = vec![place];
    follow(folder, &mut tree, 0, &mut places);
    let limits = *folder.limits();
    tree.missed = expand::all(&mut tree, &limits, |tree, at| {
        follow(folder, tree, at, &mut places);
    });
    for missed in &tree.missed {
        let file = &tree.files[tree.modules[missed.module].file].name;
        let name = missed.name.clone();
        folder.skip(file, Some(missed.line), SkipReason::Macro { name });
    }
    tree
}

/// Adds all modules below module `at` whose declarations are among its items; `places` has one place a module.
fn follow(folder: &mut Folder, tree: &mut Tree, at: usize, places: &mut Vec<Place>) {
    let mut open = vec![at];
    while let Some(at) = open.pop() {
        let place = places[at].clone();
        let mut found = Vec::new();
        declared(folder, tree, at, &place, &mut found);
        for (child, place) in found {
            debug_assert_eq!(child, places.len());
            places.push(place);
            open.push(child);
        }
    }
}

/// Adds the child modules of module `at`.
fn declared(
    folder: &mut Folder,
    tree: &mut Tree,
    at: usize,
    place: &Place,
    open: &mut Vec<(usize, Place)>,
) {
    let file = tree.modules[at].file;
    let (mods, items) = std::mem::take(&mut tree.modules[at].items)
        .into_iter()
        .partition::<Vec<_>, _>(|item| matches!(item, syn::Item::Mod(_)));
    tree.modules[at].items = items;
    for item in mods {
        let syn::Item::Mod(item) = item else { continue };
        if attrs::is_test_only(&item.attrs) {
            continue;
        }
        let line = item.ident.span().start().line;
        let name = attrs::unraw(&item.ident);
        let mut cfg = tree.modules[at].cfg.clone();
        cfg.extend(attrs::cfg(&item.attrs));
        if place.depth >= MAX_MODULE_DEPTH {
            let limits = *folder.limits();
            let file = tree.files[file].name.clone();
            folder.skip(&file, Some(line), deep(&limits));
            continue;
        }
        let lines = (item.span().start().line, item.span().end().line);
        let public = matches!(item.vis, syn::Visibility::Public(_));
        let (module, inner) = match item.content {
            Some((_, items)) => {
                let module = Module {
                    name: name.clone(),
                    file,
                    parent: Some(at),
                    children: BTreeMap::new(),
                    items: expand::normalised(items),
                    attrs: item.attrs,
                    public,
                    cfg,
                    lines,
                };
                (module, inline_place(place, &name))
            }
            None => {
                let found = locate(place, &name, attrs::path(&item.attrs).as_deref());
                if place.within.contains(&found.0) {
                    let file = folder.name(&found.0);
                    folder.skip(&file, None, SkipReason::Cycle);
                    continue;
                }
                let Some(mut module) = read(folder, tree, &found.0) else {
                    continue;
                };
                module.name.clone_from(&name);
                module.parent = Some(at);
                module.public = public;
                cfg.extend(attrs::cfg(&module.attrs));
                let mut all = item.attrs;
                all.append(&mut module.attrs);
                module.attrs = all;
                module.cfg = cfg;
                (module, file_place(place, found))
            }
        };
        let child = tree.modules.len();
        tree.modules.push(module);
        tree.modules[at]
            .children
            .entry(name)
            .or_default()
            .push(child);
        open.push((child, inner));
    }
}

fn inline_place(place: &Place, name: &str) -> Place {
    Place {
        children: place.children.join(name),
        paths: place.children.join(name),
        within: place.within.clone(),
        depth: place.depth + 1,
    }
}

fn file_place(place: &Place, (path, children): (PathBuf, PathBuf)) -> Place {
    let mut within = place.within.clone();
    within.push(path.clone());
    Place {
        children,
        paths: path.parent().map(Path::to_owned).unwrap_or_default(),
        within,
        depth: place.depth + 1,
    }
}

/// The file of a declared module, and the folder of its child modules.
fn locate(place: &Place, name: &str, given: Option<&str>) -> (PathBuf, PathBuf) {
    if let Some(given) = given {
        let path = place.paths.join(given);
        let children = path.parent().map(Path::to_owned).unwrap_or_default();
        return (path, children);
    }
    let children = place.children.join(name);
    let own = place.children.join(format!("{name}.rs"));
    let nested = children.join("mod.rs");
    if !own.exists() && nested.exists() {
        (nested, children)
    } else {
        (own, children)
    }
}

/// Parses a file; name, parent, children, visibility and conditions are the caller's to set.
fn read(folder: &mut Folder, tree: &mut Tree, path: &Path) -> Option<Module> {
    let text = folder.text(path)?;
    let name = folder.name(path);
    let limits = *folder.limits();
    match parse(&text, &limits) {
        Ok(parsed) => {
            let file = tree.files.len();
            let lines = (1, text.lines().count().max(1));
            tree.files.push(SourceFile { name, text });
            Some(Module {
                name: String::new(),
                file,
                parent: None,
                children: BTreeMap::new(),
                items: expand::normalised(parsed.items),
                attrs: parsed.attrs,
                public: false,
                cfg: Vec::new(),
                lines,
            })
        }
        Err((line, reason)) => {
            folder.read.remove(&name);
            folder.skip(&name, Some(line), reason);
            None
        }
    }
}

/// The items of a file, or the line and the reason why there are none.
pub(super) fn parse(text: &str, limits: &Limits) -> Result<syn::File, (usize, SkipReason)> {
    let at = |span: proc_macro2::Span, message: String| {
        (span.start().line.max(1), SkipReason::Syntax { message })
    };
    // A first line `#!/…` is for the system; its bytes stay, so that places stay.
    let commented;
    let text = if text.starts_with("#!") && !text[2..].trim_start().starts_with('[') {
        commented = format!("//{}", &text[2..]);
        &commented
    } else {
        text
    };
    let tokens: TokenStream = text
        .parse()
        .map_err(|e: proc_macro2::LexError| at(e.span(), e.to_string()))?;
    if let Some(line) = super::depth::too_deep(tokens.clone(), limits) {
        return Err((line, deep(limits)));
    }
    syn::parse2(tokens).map_err(|e| at(e.span(), e.to_string()))
}

fn deep(limits: &Limits) -> SkipReason {
    SkipReason::TooDeep {
        nesting: limits.nesting,
        tokens: limits.tokens,
    }
}
