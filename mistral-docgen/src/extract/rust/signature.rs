//! Declarations without their bodies, and what functions take, return and fail with.

use super::scope::Scope;
use super::{attrs, print};
use crate::facts::{Parameter, ParameterKind};
use syn::{
    Expr, Fields, FnArg, GenericArgument, Generics, PathArguments, ReturnType, Signature, Type,
    TypeParamBound, Visibility,
};

/// Longest value of a constant that its signature shows, in bytes.
const MAX_VALUE: usize = 80;

/// `pub fn name<T>(…) -> R where …`.
pub(super) fn function(visibility: &Visibility, signature: &Signature) -> String {
    join([print::of(visibility), print::of(signature)])
}

/// `pub struct Name<T> where …`, with fields where `fields` has any to show.
pub(super) fn container(
    visibility: &Visibility,
    keyword: &str,
    name: &str,
    generics: &Generics,
    fields: Option<&Fields>,
) -> String {
    let mut head = join([print::of(visibility), keyword.to_owned(), name.to_owned()]);
    head.push_str(&parameters_of(generics));
    if let Some(fields @ Fields::Unnamed(_)) = fields {
        head.push_str(&shape(fields, true));
    }
    join([head, clause(generics)])
}

/// `<T: Bound, const N: usize>` or nothing.
pub(super) fn parameters_of(generics: &Generics) -> String {
    if generics.params.is_empty() {
        return String::new();
    }
    let params: Vec<String> = generics
        .params
        .iter()
        .map(|param| {
            let mut param = param.clone();
            match &mut param {
                syn::GenericParam::Type(param) => param.attrs.clear(),
                syn::GenericParam::Lifetime(param) => param.attrs.clear(),
                syn::GenericParam::Const(param) => param.attrs.clear(),
            }
            print::of(param)
        })
        .collect();
    format!("<{}>", params.join(", "))
}

/// `where …` or nothing.
pub(super) fn clause(generics: &Generics) -> String {
    let Some(clause) = &generics.where_clause else {
        return String::new();
    };
    let predicates: Vec<String> = clause.predicates.iter().map(print::of).collect();
    if predicates.is_empty() {
        return String::new();
    }
    format!("where {}", predicates.join(", "))
}

/// Fields as a declaration has them: `(A, _)`, `{ a: A }`; private ones of a struct are `_`.
pub(super) fn shape(fields: &Fields, of_struct: bool) -> String {
    let shown = |field: &syn::Field| {
        if of_struct && !super::scope::is_public(&field.vis) {
            return "_".to_owned();
        }
        join([print::of(&field.vis), print::of(&field.ty)])
    };
    match fields {
        Fields::Unit => String::new(),
        Fields::Unnamed(fields) => {
            let all: Vec<String> = fields.unnamed.iter().map(shown).collect();
            format!("({})", all.join(", "))
        }
        Fields::Named(fields) => {
            let all: Vec<String> = fields
                .named
                .iter()
                .filter_map(|field| {
                    let name = attrs::unraw(field.ident.as_ref()?);
                    Some(format!("{name}: {}", print::of(&field.ty)))
                })
                .collect();
            format!(" {{ {} }}", all.join(", "))
        }
    }
}

/// `pub const NAME: T = value`; a long value is left out.
pub(super) fn value(
    visibility: &Visibility,
    keyword: &str,
    name: &str,
    ty: &Type,
    value: Option<&Expr>,
) -> String {
    let head = join([print::of(visibility), keyword.to_owned(), name.to_owned()]);
    let head = format!("{head}: {}", print::of(ty));
    match value.map(print::of) {
        Some(value) if value.len() <= MAX_VALUE => format!("{head} = {value}"),
        _ => head,
    }
}

/// Texts with a space between, empty ones left out.
pub(super) fn join<const N: usize>(texts: [String; N]) -> String {
    let texts = texts.into_iter().filter(|text| !text.is_empty());
    texts.collect::<Vec<_>>().join(" ")
}

/// Parameters in order.
pub(super) fn parameters(signature: &Signature) -> Vec<Parameter> {
    let mut all: Vec<Parameter> = signature
        .inputs
        .iter()
        .map(|input| match input {
            FnArg::Receiver(receiver) => Parameter {
                name: "self".to_owned(),
                type_: Some(receiver_type(receiver)),
                default: None,
                required: true,
                kind: ParameterKind::Receiver,
                doc: None,
            },
            FnArg::Typed(typed) => Parameter {
                name: match &*typed.pat {
                    syn::Pat::Ident(ident) => attrs::unraw(&ident.ident),
                    other => print::of(other),
                },
                type_: Some(print::of(&typed.ty)),
                default: None,
                required: true,
                kind: ParameterKind::Positional,
                doc: None,
            },
        })
        .collect();
    if signature.variadic.is_some() {
        all.push(Parameter {
            name: "...".to_owned(),
            type_: None,
            default: None,
            required: false,
            kind: ParameterKind::VarPositional,
            doc: None,
        });
    }
    all
}

/// `Self`, `&Self`, `&mut Self`, or the type as written.
fn receiver_type(receiver: &syn::Receiver) -> String {
    let mut bare = receiver.clone();
    bare.attrs.clear();
    let text = print::of(&bare);
    if let Some((_, ty)) = text.split_once(": ") {
        return ty.to_owned();
    }
    match text.strip_suffix("self") {
        Some("mut ") | None => "Self".to_owned(),
        Some(before) => format!("{before}Self"),
    }
}

/// The type behind `->`.
pub(super) fn returns(signature: &Signature) -> Option<String> {
    match &signature.output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => Some(print::of(ty)),
    }
}

/// The error type of a result that is returned, by itself or in a future.
pub(super) fn error_type(
    scope: &Scope<'_>,
    module: usize,
    signature: &Signature,
) -> Option<String> {
    match &signature.output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => error_of(scope, module, ty, 0),
    }
}

fn error_of(scope: &Scope<'_>, module: usize, ty: &Type, hops: usize) -> Option<String> {
    const MAX_HOPS: usize = 8;
    if hops > MAX_HOPS {
        return None;
    }
    match ty {
        Type::Group(group) => error_of(scope, module, &group.elem, hops + 1),
        Type::Paren(inner) => error_of(scope, module, &inner.elem, hops + 1),
        Type::ImplTrait(bounds) => bounds.bounds.iter().find_map(|bound| {
            let TypeParamBound::Trait(bound) = bound else {
                return None;
            };
            let PathArguments::AngleBracketed(args) = &bound.path.segments.last()?.arguments else {
                return None;
            };
            args.args.iter().find_map(|arg| match arg {
                GenericArgument::AssocType(output) if output.ident == "Output" => {
                    error_of(scope, module, &output.ty, hops + 1)
                }
                _ => None,
            })
        }),
        Type::Path(path) => error_of_path(scope, module, &path.path, hops),
        _ => None,
    }
}

fn error_of_path(
    scope: &Scope<'_>,
    module: usize,
    path: &syn::Path,
    hops: usize,
) -> Option<String> {
    let last = path.segments.last()?;
    let types: Vec<&Type> = match &last.arguments {
        PathArguments::AngleBracketed(args) => {
            let types = args.args.iter().filter_map(|arg| match arg {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            });
            types.collect()
        }
        _ => Vec::new(),
    };
    if let (true, [_, error]) = (last.ident == "Result", types.as_slice()) {
        return Some(print::of(error));
    }
    let parts: Vec<String> = path
        .segments
        .iter()
        .map(|s| attrs::unraw(&s.ident))
        .collect();
    for (home, alias) in scope.aliases(module, &parts) {
        let found = match &alias.generics.params.last() {
            // `type Result<T, E = Error>`: what stands for `E` here is its default.
            Some(syn::GenericParam::Type(param)) if types.len() < alias.generics.params.len() => {
                param.default.as_ref().map(|(_, ty)| print::of(ty))
            }
            _ => None,
        };
        let found = found.or_else(|| error_of(scope, home, &alias.ty, hops + 1));
        if found.is_some() {
            return found;
        }
    }
    if last.ident != "Result" {
        return None;
    }
    // Another crate's alias: `io::Result<T>` fails with `io::Error`.
    let mut written = scope.brought(module, &parts).unwrap_or(parts);
    written.pop();
    (!written.is_empty()).then(|| format!("{}::Error", written.join("::")))
}
