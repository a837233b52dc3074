//! Reads a Rust crate by its sources, as `cargo doc` would list it, without compiling it.
//!
//! Modules are followed through files, public names through re-exports and globs, and the crate's own
//! `macro_rules!` are expanded where they make items. What depends on a `cfg` is there whatever the condition is,
//! and carries it. Not seen: what procedural and other crates' macros make (such invocations among items are
//! listed), items of other crates that are re-exported, implementations of traits.

mod attrs;
mod cfg;
mod config;
mod depth;
mod expand;
mod items;
mod load;
mod manifest;
mod print;
mod rules;
mod scope;
mod signature;
mod usage;

pub use cfg::holds;

use super::files::Folder;
use super::{Extraction, Limits};
use crate::DocgenError;
use std::path::Path;

/// Reads the crate whose `Cargo.toml` or `src` is in `folder`: its public items with their documentation,
/// configuration keys of structs that serde reads, errors, and examples from documentation and from the folders
/// `tests` and `examples`.
///
/// Files that can't be read or parsed are listed in [`Extraction::skipped`] and the rest is read all the same.
///
/// # Errors
/// [`DocgenError::Io`] where the folder can't be read, [`DocgenError::NoCrate`] where it has no root file of a
/// crate, [`DocgenError::Reader`] where a parser fails by a defect of its own.
pub fn read(folder: &Path, limits: &Limits) -> Result<Extraction, DocgenError> {
    super::on_large_stack(folder, || read_here(folder, limits))
}

fn read_here(path: &Path, limits: &Limits) -> Result<Extraction, DocgenError> {
    let mut folder = Folder::open(path, *limits)?;
    let manifest = manifest::read(&mut folder).ok_or_else(|| DocgenError::NoCrate {
        path: path.to_owned(),
    })?;
    let tree = load::load(&mut folder, &manifest.entry);
    let mut facts = crate::facts::FactParts::default();
    if !tree.modules.is_empty() {
        let scope = scope::Scope::new(&tree, &manifest.name);
        facts = items::collect(&tree, &scope);
        let used = usage::examples(&mut folder, &manifest.name, &facts.symbols);
        facts.examples.extend(used);
    }
    Ok(folder.finish(facts))
}
