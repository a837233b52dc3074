//! Invocations of the crate's own `macro_rules!` among items, replaced by the items that they make.

use super::super::Limits;
use super::attrs;
use super::load::{Module, Tree};
use super::rules::{Budget, Rules};
use proc_macro2::TokenStream;
use std::collections::BTreeMap;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{ImplItem, Item, Macro, Stmt, TraitItem};

/// Steps of all expansions of a crate.
const MAX_STEPS: usize = 8_000_000;
/// Rounds in which what a macro made is expanded again.
const MAX_ROUNDS: usize = 16;

/// An invocation that stays as it is: the macro is another crate's, or doesn't match.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) module: usize,
    pub(super) name: String,
    pub(super) line: usize,
}

/// Expands as long as something changes. After each round `found` sees the modules that changed and may add others
/// for the modules that were made.
pub(super) fn all(
    tree: &mut Tree,
    limits: &Limits,
    mut found: impl FnMut(&mut Tree, usize),
) -> Vec<Missed> {
    let mut budget = Budget::new(MAX_STEPS);
    for _ in 0..MAX_ROUNDS {
        let definitions = Definitions::of(tree);
        let mut changed = Vec::new();
        for at in 0..tree.modules.len() {
            if !tree.modules[at].items.iter().any(has_invocation) {
                continue;
            }
            let items = std::mem::take(&mut tree.modules[at].items);
            let mut round = Round {
                definitions: &definitions,
                limits,
                budget: &mut budget,
                chain: chain(&tree.modules, at),
                changed: false,
            };
            let items = round.items(items);
            if round.changed {
                changed.push(at);
            }
            tree.modules[at].items = items;
        }
        if changed.is_empty() {
            break;
        }
        for at in changed {
            found(tree, at);
        }
    }
    missed(tree)
}

/// The module and those around it, the innermost first.
fn chain(modules: &[Module], at: usize) -> Vec<usize> {
    let mut chain = vec![at];
    let mut at = at;
    while let Some(parent) = modules[at].parent {
        chain.push(parent);
        at = parent;
    }
    chain
}

/// Every `macro_rules!` of the crate, by name: module, place among its items, rules.
struct Definitions {
    by_name: BTreeMap<String, Vec<(usize, usize, Rules)>>,
}

impl Definitions {
    fn of(tree: &Tree) -> Self {
        let mut by_name: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (at, module) in tree.modules.iter().enumerate() {
            for (index, item) in module.items.iter().enumerate() {
                let Item::Macro(item) = item else { continue };
                let Some(ident) = &item.ident else { continue };
                if let Some(rules) = Rules::parse(item.mac.tokens.clone()) {
                    let all = by_name.entry(ident.to_string()).or_default();
                    all.push((at, index, rules));
                }
            }
        }
        Self { by_name }
    }

    /// The last definition before `index` in the innermost module of `chain` that has one, or the only one of the
    /// crate.
    fn find(&self, name: &str, chain: &[usize], index: usize) -> Option<&Rules> {
        let all = self.by_name.get(name)?;
        for (up, module) in chain.iter().enumerate() {
            let mut here = all
                .iter()
                .filter(|(at, defined, _)| at == module && (up > 0 || *defined < index));
            if let Some((_, _, rules)) = here.next_back() {
                return Some(rules);
            }
        }
        match all.as_slice() {
            [(_, _, rules)] => Some(rules),
            _ => None,
        }
    }
}

struct Round<'a> {
    definitions: &'a Definitions,
    limits: &'a Limits,
    budget: &'a mut Budget,
    chain: Vec<usize>,
    changed: bool,
}

impl Round<'_> {
    fn items(&mut self, items: Vec<Item>) -> Vec<Item> {
        let mut all = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Item::Macro(item) if item.ident.is_none() => {
                    match self.made::<Item>(&item.mac, index) {
                        Some(mut made) => {
                            for inner in &mut made {
                                inherit(inner, &item.attrs);
                            }
                            all.extend(normalised(made));
                        }
                        None => all.push(Item::Macro(item)),
                    }
                }
                Item::Impl(mut item) => {
                    item.items = self.members(item.items, index, |member| match member {
                        ImplItem::Macro(member) => Some(&member.mac),
                        _ => None,
                    });
                    all.push(Item::Impl(item));
                }
                Item::Trait(mut item) => {
                    item.items = self.members(item.items, index, |member| match member {
                        TraitItem::Macro(member) => Some(&member.mac),
                        _ => None,
                    });
                    all.push(Item::Trait(item));
                }
                other => all.push(other),
            }
        }
        all
    }

    /// Members, and what macros among them make in place of these.
    fn members<T: Parse>(
        &mut self,
        members: Vec<T>,
        index: usize,
        invocation: impl Fn(&T) -> Option<&Macro>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for member in members {
            let made = invocation(&member).and_then(|found| self.made(found, index));
            all.extend(made.unwrap_or_else(|| vec![member]));
        }
        all
    }

    fn made<T: Parse>(&mut self, invocation: &Macro, index: usize) -> Option<Vec<T>> {
        let name = attrs::unraw(&invocation.path.segments.last()?.ident);
        let rules = self.definitions.find(&name, &self.chain, index)?;
        let made = rules.expand(invocation.tokens.clone(), invocation.span(), self.budget)?;
        if super::depth::too_deep(made.clone(), self.limits).is_some() {
            return None;
        }
        let made = many::<T>.parse2(made).ok()?;
        self.changed = true;
        Some(made)
    }
}

fn many<T: Parse>(input: ParseStream) -> syn::Result<Vec<T>> {
    let mut all = Vec::new();
    while !input.is_empty() {
        all.push(input.parse()?);
    }
    Ok(all)
}

fn has_invocation(item: &Item) -> bool {
    match item {
        Item::Macro(item) => item.ident.is_none(),
        Item::Impl(item) => item.items.iter().any(|i| matches!(i, ImplItem::Macro(_))),
        Item::Trait(item) => item.items.iter().any(|i| matches!(i, TraitItem::Macro(_))),
        _ => false,
    }
}

/// What is left among items and members.
fn missed(tree: &Tree) -> Vec<Missed> {
    let mut all = Vec::new();
    for (module, Module { items, .. }) in tree.modules.iter().enumerate() {
        let mut add = |invocation: &Macro| {
            all.push(Missed {
                module,
                name: super::print::of(&invocation.path),
                line: invocation.span().start().line,
            });
        };
        for item in items {
            match item {
                Item::Macro(item) if item.ident.is_none() => add(&item.mac),
                Item::Impl(item) => item.items.iter().for_each(|member| {
                    if let ImplItem::Macro(member) = member {
                        add(&member.mac);
                    }
                }),
                Item::Trait(item) => item.items.iter().for_each(|member| {
                    if let TraitItem::Macro(member) = member {
                        add(&member.mac);
                    }
                }),
                _ => {}
            }
        }
    }
    all
}

/// Conditions of an invocation hold for all that it makes.
fn inherit(item: &mut Item, outer: &[syn::Attribute]) {
    let attrs = match item {
        Item::Const(item) => &mut item.attrs,
        Item::Enum(item) => &mut item.attrs,
        Item::Fn(item) => &mut item.attrs,
        Item::Impl(item) => &mut item.attrs,
        Item::Macro(item) => &mut item.attrs,
        Item::Mod(item) => &mut item.attrs,
        Item::Static(item) => &mut item.attrs,
        Item::Struct(item) => &mut item.attrs,
        Item::Trait(item) => &mut item.attrs,
        Item::Type(item) => &mut item.attrs,
        Item::Union(item) => &mut item.attrs,
        Item::Use(item) => &mut item.attrs,
        _ => return,
    };
    let conditions = outer.iter().filter(|attr| attr.path().is_ident("cfg"));
    attrs.splice(0..0, conditions.cloned());
}

/// Items with those of `const _: () = { … };` and of `extern` blocks among them, which users reach as if they stood
/// outside.
pub(super) fn normalised(items: Vec<Item>) -> Vec<Item> {
    let mut all = Vec::new();
    for item in items {
        match item {
            Item::Const(item) if item.ident == "_" => {
                if let syn::Expr::Block(block) = *item.expr {
                    all.extend(block.block.stmts.into_iter().filter_map(|stmt| match stmt {
                        Stmt::Item(inner @ Item::Impl(_)) => Some(inner),
                        _ => None,
                    }));
                }
            }
            Item::ForeignMod(block) => {
                all.extend(block.items.iter().filter_map(|item| foreign(&block, item)));
            }
            other => all.push(other),
        }
    }
    all
}

fn foreign(block: &syn::ItemForeignMod, item: &syn::ForeignItem) -> Option<Item> {
    let tokens: TokenStream = match item {
        syn::ForeignItem::Fn(item) => {
            let (attrs, vis, sig, abi) = (&item.attrs, &item.vis, &item.sig, &block.abi);
            let conditions = block
                .attrs
                .iter()
                .filter(|attr| attr.path().is_ident("cfg"));
            let mut sig = sig.clone();
            if !matches!(sig.safety, syn::Safety::Safe(_)) {
                sig.safety = syn::Safety::Unsafe(syn::Token![unsafe](sig.fn_token.span));
            }
            sig.abi = Some(abi.clone());
            quote::quote_spanned!(item.span()=> #(#conditions)* #(#attrs)* #vis #sig {})
        }
        syn::ForeignItem::Static(item) => {
            let (attrs, vis, name, ty) = (&item.attrs, &item.vis, &item.ident, &item.ty);
            let conditions = block
                .attrs
                .iter()
                .filter(|attr| attr.path().is_ident("cfg"));
            quote::quote_spanned!(item.span()=> #(#conditions)* #(#attrs)* #vis static #name: #ty = ();)
        }
        _ => return None,
    };
    syn::parse2(tokens).ok()
}
