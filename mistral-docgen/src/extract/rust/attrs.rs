//! What attributes say.

use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Lit, Meta};

/// A name without `r#`.
pub(super) fn unraw(ident: &proc_macro2::Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map(str::to_owned).unwrap_or(name)
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(string) => Some(string.value()),
            _ => None,
        },
        Expr::Group(group) => text(&group.expr),
        Expr::Macro(call) => made_text(&call.mac),
        _ => None,
    }
}

/// What `concat!` and `stringify!` make of literals.
fn made_text(call: &syn::Macro) -> Option<String> {
    if call.path.is_ident("stringify") {
        return Some(super::print::tokens(call.tokens.clone()));
    }
    if !call.path.is_ident("concat") {
        return None;
    }
    let separated = Punctuated::<Expr, syn::Token![,]>::parse_terminated;
    let parts = call.parse_body_with(separated).ok()?;
    parts
        .iter()
        .map(|part| match part {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(string) => Some(string.value()),
                other => Some(super::print::of(other)),
            },
            other => text(other),
        })
        .collect()
}

fn assigned(attr: &Attribute, name: &str) -> Option<String> {
    match &attr.meta {
        Meta::NameValue(pair) if pair.path.is_ident(name) => text(&pair.value),
        _ => None,
    }
}

/// Documentation without the indentation that all of its lines share.
pub(super) fn doc(attrs: &[Attribute]) -> Option<String> {
    let parts: Vec<String> = attrs.iter().filter_map(|a| assigned(a, "doc")).collect();
    if parts.is_empty() {
        return None;
    }
    let joined = parts.join("\n");
    let shared = joined
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start_matches(' ').len())
        .min()
        .unwrap_or(0);
    let lines: Vec<&str> = joined
        .lines()
        .map(|line| line.get(shared..).unwrap_or("").trim_end())
        .collect();
    let doc = lines.join("\n").trim_matches('\n').to_owned();
    (!doc.is_empty()).then_some(doc)
}

/// Words within `#[name(…)]`, with the text behind `=` where there is one.
fn words(attrs: &[Attribute], name: &str) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident(name)) {
        if !matches!(attr.meta, Meta::List(_)) {
            continue;
        }
        // Attributes of other crates have other forms within; what was read before them counts.
        let _ = attr.parse_nested_meta(|meta| {
            let key = meta.path.get_ident().map(unraw).unwrap_or_default();
            let value = match meta.value() {
                Ok(value) => text(&value.parse::<Expr>()?),
                Err(_) => None,
            };
            found.push((key, value));
            Ok(())
        });
    }
    found
}

/// Whether `#[doc(hidden)]` is there.
pub(super) fn is_hidden(attrs: &[Attribute]) -> bool {
    words(attrs, "doc").iter().any(|(key, _)| key == "hidden")
}

/// Conditions, as written.
pub(super) fn cfg(attrs: &[Attribute]) -> Vec<String> {
    attrs
        .iter()
        .filter(|attr| attr.path().is_ident("cfg"))
        .filter_map(|attr| match &attr.meta {
            Meta::List(list) => Some(super::print::tokens(list.tokens.clone())),
            _ => None,
        })
        .collect()
}

/// Whether only tests have it.
pub(super) fn is_test_only(attrs: &[Attribute]) -> bool {
    cfg(attrs)
        .iter()
        .any(|condition| super::cfg::is_test_only(condition))
}

/// The file of `#[path = "…"]`.
pub(super) fn path(attrs: &[Attribute]) -> Option<String> {
    attrs.iter().find_map(|attr| assigned(attr, "path"))
}

/// Whether `#[name]` is there, with or without something behind the name.
pub(super) fn has(attrs: &[Attribute], name: &str) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident(name))
}

/// Why it is deprecated, empty text where no note is given, and since which version.
pub(super) fn deprecated(attrs: &[Attribute]) -> Option<(String, Option<String>)> {
    if !has(attrs, "deprecated") {
        return None;
    }
    let words = words(attrs, "deprecated");
    let word = |name: &str| {
        let found = words.iter().find(|(key, _)| key == name);
        found.and_then(|(_, value)| value.clone())
    };
    let short = attrs.iter().find_map(|attr| assigned(attr, "deprecated"));
    let note = short.or_else(|| word("note")).unwrap_or_default();
    Some((note, word("since")))
}

/// Whether the last part of a derived path is `name`.
pub(super) fn derives(attrs: &[Attribute], name: &str) -> bool {
    let mut found = false;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("derive")) {
        let _ = attr.parse_nested_meta(|meta| {
            found |= meta.path.segments.last().is_some_and(|s| s.ident == name);
            Ok(())
        });
    }
    found
}

/// The format text of `#[error("…")]`; the inner value is `None` for `#[error(transparent)]` and
/// for a function.
pub(super) fn error(attrs: &[Attribute]) -> Option<Option<String>> {
    let attr = attrs.iter().find(|attr| attr.path().is_ident("error"))?;
    let Meta::List(list) = &attr.meta else {
        return Some(None);
    };
    let first = list.tokens.clone().into_iter().next()?;
    let proc_macro2::TokenTree::Literal(literal) = first else {
        return Some(None);
    };
    Some(match Lit::new(literal) {
        Lit::Str(string) => Some(string.value()),
        _ => None,
    })
}

/// What serde is told about a field or its container: words with their texts.
pub(super) fn serde(attrs: &[Attribute]) -> Vec<(String, Option<String>)> {
    words(attrs, "serde")
}
