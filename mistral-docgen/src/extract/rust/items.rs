//! Facts of what users reach in a crate.

use super::load::{Module, SourceFile, Tree};
use super::scope::{self, Scope, Target};
use super::{attrs, print, signature};
use crate::extract::examples;
use crate::facts::{ErrorCode, FactParts, Language, Span, Symbol, SymbolKind};
use std::collections::{BTreeMap, BTreeSet};
use syn::spanned::Spanned;
use syn::{Attribute, Fields, ImplItem, Item, TraitItem, Visibility};

/// Where something stands and under which paths it is reached.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) module: usize,
    file: &'a SourceFile,
    /// The shortest first.
    pub(super) paths: Vec<String>,
    cfg: Vec<String>,
}

impl Place<'_> {
    /// The place of a member.
    fn within(&self, name: &str, attrs: &[Attribute]) -> Self {
        let mut inner = self.clone();
        for path in &mut inner.paths {
            path.push_str("::");
            path.push_str(name);
        }
        inner.cfg.extend(attrs::cfg(attrs));
        inner
    }

    pub(super) fn span(&self, node: &impl Spanned) -> Span {
        let span = node.span();
        self.lines(span.start().line, span.end().line)
    }

    fn lines(&self, first: usize, last: usize) -> Span {
        Span::of(&self.file.name, &self.file.text, first, last)
    }
}

/// Collects the facts of a crate.
pub(super) struct Collector<'a> {
    pub(super) tree: &'a Tree,
    pub(super) scope: &'a Scope<'a>,
    /// Types for which the crate implements `Error` by hand.
    error_types: BTreeSet<Target>,
    pub(super) facts: FactParts,
}

/// All facts of the crate's own files.
pub(super) fn collect(tree: &Tree, scope: &Scope<'_>) -> FactParts {
    let mut collector = Collector {
        tree,
        scope,
        error_types: BTreeSet::new(),
        facts: FactParts::default(),
    };
    let reached = scope.reached();
    let impls = collector.impls();
    for (target, paths) in &reached {
        let paths: Vec<String> = paths.iter().map(|(_, path)| path.join("::")).collect();
        match *target {
            Target::Module(at) => collector.module(at, paths),
            Target::Item(at, index) => {
                let module = &tree.modules[at];
                let place = Place {
                    module: at,
                    file: &tree.files[module.file],
                    paths,
                    cfg: module.cfg.clone(),
                };
                collector.item(&place, &module.items[index], *target);
                for &(home, inherent) in impls.get(target).map_or(&[][..], Vec::as_slice) {
                    collector.inherent(&place, home, inherent);
                }
            }
        }
    }
    collector.facts
}

impl<'a> Collector<'a> {
    /// Inherent implementations by type, each with its module; notes which types implement `Error`.
    fn impls(&mut self) -> BTreeMap<Target, Vec<(usize, &'a syn::ItemImpl)>> {
        let mut found: BTreeMap<Target, Vec<_>> = BTreeMap::new();
        let tree = self.tree;
        for (at, Module { items, .. }) in tree.modules.iter().enumerate() {
            for item in items {
                let Item::Impl(item) = item else { continue };
                if attrs::is_test_only(&item.attrs) || attrs::is_hidden(&item.attrs) {
                    continue;
                }
                let targets = self.scope.resolve_type(at, &item.self_ty);
                match implemented(item) {
                    None => {
                        for target in targets {
                            found.entry(target).or_default().push((at, item));
                        }
                    }
                    Some(name) if name == "Error" => self.error_types.extend(targets),
                    Some(_) => {}
                }
            }
        }
        found
    }

    fn module(&mut self, at: usize, paths: Vec<String>) {
        let module = &self.tree.modules[at];
        let place = Place {
            module: at,
            file: &self.tree.files[module.file],
            paths,
            cfg: module.cfg.clone(),
        };
        let name = place.paths[0].rsplit("::").next().unwrap_or_default();
        let signature = match at {
            0 => format!("crate {name}"),
            _ => format!("pub mod {name}"),
        };
        let span = place.lines(module.lines.0, module.lines.1);
        self.add(&place, SymbolKind::Module, signature, &module.attrs, span);
    }

    /// Adds a symbol and the examples of its documentation.
    fn add(
        &mut self,
        place: &Place<'_>,
        kind: SymbolKind,
        signature: String,
        attrs: &[Attribute],
        span: Span,
    ) -> &mut Symbol {
        let (deprecated, deprecated_since) = attrs::deprecated(attrs).unzip();
        let doc = attrs::doc(attrs);
        let path = place.paths[0].clone();
        if let Some(doc) = &doc {
            let found = examples::examples(doc, Language::Rust, &path, &span);
            self.facts.examples.extend(found);
        }
        self.facts.symbols.push(Symbol {
            id: String::new(),
            kind,
            language: Language::Rust,
            path,
            aliases: place.paths[1..].to_vec(),
            signature,
            parameters: Vec::new(),
            returns: None,
            raises: Vec::new(),
            deprecated,
            deprecated_since: deprecated_since.flatten(),
            decorators: Vec::new(),
            cfg: place.cfg.clone(),
            doc,
            span,
        });
        let last = self.facts.symbols.len() - 1;
        &mut self.facts.symbols[last]
    }

    fn item(&mut self, place: &Place<'_>, item: &Item, target: Target) {
        let mut place = place.clone();
        let attrs = scope::item_attrs(item).unwrap_or_default();
        place.cfg.extend(attrs::cfg(attrs));
        let span = place.span(item);
        match item {
            Item::Fn(item) => {
                let text = signature::function(&item.vis, &item.sig);
                let home = place.module;
                self.function(
                    &place,
                    home,
                    SymbolKind::Function,
                    (text, &item.sig),
                    &item.attrs,
                    span,
                );
            }
            Item::Struct(item) => {
                let name = attrs::unraw(&item.ident);
                let fields = Some(&item.fields);
                let text = signature::container(&item.vis, "struct", &name, &item.generics, fields);
                self.add(&place, SymbolKind::Struct, text, attrs, span);
                self.fields(&place, &item.fields, Some(&item.vis));
                self.config_keys(&place, item);
                self.error_struct(&place, item, target);
            }
            Item::Union(item) => {
                let name = attrs::unraw(&item.ident);
                let text = signature::container(&item.vis, "union", &name, &item.generics, None);
                self.add(&place, SymbolKind::Union, text, attrs, span);
                self.fields(&place, &Fields::Named(item.fields.clone()), Some(&item.vis));
            }
            Item::Enum(item) => {
                let name = attrs::unraw(&item.ident);
                let text = signature::container(&item.vis, "enum", &name, &item.generics, None);
                self.add(&place, SymbolKind::Enum, text, attrs, span);
                self.variants(&place, item, target);
            }
            Item::Trait(item) => self.trait_(&place, item, span),
            Item::Const(item) => {
                let name = attrs::unraw(&item.ident);
                let text = signature::value(&item.vis, "const", &name, &item.ty, Some(&item.expr));
                self.add(&place, SymbolKind::Constant, text, attrs, span)
                    .returns = Some(print::of(&item.ty));
            }
            Item::Static(item) => {
                let name = attrs::unraw(&item.ident);
                let text = signature::value(&item.vis, "static", &name, &item.ty, None);
                self.add(&place, SymbolKind::Static, text, attrs, span)
                    .returns = Some(print::of(&item.ty));
            }
            Item::Type(item) => {
                let mut bare = item.clone();
                bare.attrs.clear();
                let text = print::of(&bare).trim_end_matches(';').to_owned();
                self.add(&place, SymbolKind::TypeAlias, text, attrs, span)
                    .returns = Some(print::of(&item.ty));
            }
            Item::Macro(item) => {
                let name = item.ident.as_ref().map(attrs::unraw).unwrap_or_default();
                let rules = super::rules::Rules::parse(item.mac.tokens.clone());
                let arms: Vec<String> = rules
                    .iter()
                    .flat_map(|rules| rules.matchers())
                    .map(|matcher| format!("({}) => {{ … }};", print::tokens(matcher.clone())))
                    .collect();
                let text = format!("macro_rules! {name} {{ {} }}", arms.join(" "));
                self.add(&place, SymbolKind::Macro, text, attrs, span);
            }
            _ => {}
        }
    }

    fn function(
        &mut self,
        place: &Place<'_>,
        home: usize,
        kind: SymbolKind,
        (text, sig): (String, &syn::Signature),
        attrs: &[Attribute],
        span: Span,
    ) {
        let raises = signature::error_type(self.scope, home, sig);
        let symbol = self.add(place, kind, text, attrs, span);
        symbol.parameters = signature::parameters(sig);
        symbol.returns = signature::returns(sig);
        symbol.raises = raises.into_iter().collect();
    }

    /// Named fields that users see: the public ones, or all of a variant (`of_type` is `None`).
    fn fields(&mut self, place: &Place<'_>, fields: &Fields, of_type: Option<&Visibility>) {
        for field in fields {
            let Some(ident) = &field.ident else { continue };
            let shown = of_type.is_none() || scope::is_public(&field.vis);
            if !shown || attrs::is_hidden(&field.attrs) || attrs::is_test_only(&field.attrs) {
                continue;
            }
            let name = attrs::unraw(ident);
            let inner = place.within(&name, &field.attrs);
            let ty = print::of(&field.ty);
            let text = signature::join([print::of(&field.vis), format!("{name}: {ty}")]);
            let span = inner.span(field);
            self.add(&inner, SymbolKind::Field, text, &field.attrs, span)
                .returns = Some(ty);
        }
    }

    fn variants(&mut self, place: &Place<'_>, item: &syn::ItemEnum, target: Target) {
        let is_error = attrs::derives(&item.attrs, "Error") || self.error_types.contains(&target);
        for variant in &item.variants {
            if attrs::is_hidden(&variant.attrs) || attrs::is_test_only(&variant.attrs) {
                continue;
            }
            let name = attrs::unraw(&variant.ident);
            let inner = place.within(&name, &variant.attrs);
            let mut text = format!("{name}{}", signature::shape(&variant.fields, false));
            if let Some((_, value)) = &variant.discriminant {
                text.push_str(&format!(" = {}", print::of(value)));
            }
            let span = inner.span(variant);
            let message = attrs::error(&variant.attrs);
            if is_error || message.is_some() {
                self.facts.errors.push(ErrorCode {
                    name: inner.paths[0].clone(),
                    message: message.flatten(),
                    doc: attrs::doc(&variant.attrs),
                    span: span.clone(),
                });
            }
            self.add(&inner, SymbolKind::Variant, text, &variant.attrs, span);
            self.fields(&inner, &variant.fields, None);
        }
    }

    fn error_struct(&mut self, place: &Place<'_>, item: &syn::ItemStruct, target: Target) {
        let message = attrs::error(&item.attrs);
        if message.is_some() || self.error_types.contains(&target) {
            self.facts.errors.push(ErrorCode {
                name: place.paths[0].clone(),
                message: message.flatten(),
                doc: attrs::doc(&item.attrs),
                span: place.span(item),
            });
        }
    }

    fn trait_(&mut self, place: &Place<'_>, item: &syn::ItemTrait, span: Span) {
        let name = attrs::unraw(&item.ident);
        let keyword = match item.unsafety {
            Some(_) => "unsafe trait",
            None => "trait",
        };
        let mut head =
            signature::container(&item.vis, keyword, &name, &no_clause(&item.generics), None);
        if !item.supertraits.is_empty() {
            let bounds: Vec<String> = item.supertraits.iter().map(print::of).collect();
            head.push_str(&format!(": {}", bounds.join(" + ")));
        }
        let text = signature::join([head, signature::clause(&item.generics)]);
        self.add(place, SymbolKind::Trait, text, &item.attrs, span);
        for member in &item.items {
            self.trait_member(place, member);
        }
    }

    fn trait_member(&mut self, place: &Place<'_>, member: &TraitItem) {
        let (attrs, ident) = match member {
            TraitItem::Fn(item) => (&item.attrs, &item.sig.ident),
            TraitItem::Const(item) => (&item.attrs, &item.ident),
            TraitItem::Type(item) => (&item.attrs, &item.ident),
            _ => return,
        };
        if attrs::is_hidden(attrs) || attrs::is_test_only(attrs) {
            return;
        }
        let name = attrs::unraw(ident);
        let inner = place.within(&name, attrs);
        let span = inner.span(member);
        let inherited = &Visibility::Inherited;
        match member {
            TraitItem::Fn(item) => {
                let text = signature::function(inherited, &item.sig);
                let text = (text, &item.sig);
                self.function(&inner, place.module, SymbolKind::Method, text, attrs, span);
            }
            TraitItem::Const(item) => {
                let default = item.default.as_ref().map(|(_, value)| value);
                let text = signature::value(inherited, "const", &name, &item.ty, default);
                self.add(&inner, SymbolKind::Constant, text, attrs, span)
                    .returns = Some(print::of(&item.ty));
            }
            TraitItem::Type(item) => {
                let mut bare = item.clone();
                bare.attrs.clear();
                let text = print::of(&bare).trim_end_matches(';').to_owned();
                self.add(&inner, SymbolKind::AssociatedType, text, attrs, span);
            }
            _ => {}
        }
    }

    /// What an implementation in module `home` adds to the type at `place`.
    fn inherent(&mut self, place: &Place<'_>, home: usize, item: &syn::ItemImpl) {
        let module = &self.tree.modules[home];
        let mut place = Place {
            file: &self.tree.files[module.file],
            ..place.clone()
        };
        place.cfg.extend(module.cfg.iter().cloned());
        place.cfg.extend(attrs::cfg(&item.attrs));
        let mut seen = BTreeSet::new();
        place.cfg.retain(|condition| seen.insert(condition.clone()));
        for member in &item.items {
            let (attrs, vis, ident) = match member {
                ImplItem::Fn(item) => (&item.attrs, &item.vis, &item.sig.ident),
                ImplItem::Const(item) => (&item.attrs, &item.vis, &item.ident),
                _ => continue,
            };
            let hidden = attrs::is_hidden(attrs) || attrs::is_test_only(attrs);
            if hidden || !scope::is_public(vis) {
                continue;
            }
            let name = attrs::unraw(ident);
            let inner = place.within(&name, attrs);
            let span = inner.span(member);
            match member {
                ImplItem::Fn(item) => {
                    let text = (signature::function(vis, &item.sig), &item.sig);
                    self.function(&inner, home, SymbolKind::Method, text, attrs, span);
                }
                ImplItem::Const(item) => {
                    let text = signature::value(vis, "const", &name, &item.ty, Some(&item.expr));
                    self.add(&inner, SymbolKind::Constant, text, attrs, span)
                        .returns = Some(print::of(&item.ty));
                }
                _ => {}
            }
        }
    }
}

/// The last part of the trait that is implemented; `None` for an inherent implementation.
fn implemented(item: &syn::ItemImpl) -> Option<String> {
    let (path, _) = item.trait_.as_ref()?;
    path.segments.last().map(|last| attrs::unraw(&last.ident))
}

fn no_clause(generics: &syn::Generics) -> syn::Generics {
    syn::Generics {
        where_clause: None,
        ..generics.clone()
    }
}
