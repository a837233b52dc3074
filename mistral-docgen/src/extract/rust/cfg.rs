//! Conditions of `#[cfg(…)]`.

use std::collections::BTreeSet;
use syn::punctuated::Punctuated;
use syn::{Expr, Lit, Meta, Token};

/// Conditions within each other that are looked at.
const MAX_DEPTH: usize = 32;

/// Whether `condition`, the text within `#[cfg(…)]`, holds where exactly `set` is set: names such as `unix` and
/// pairs such as `feature = "cuda"`. `None` where it can't be read.
pub fn holds(condition: &str, set: &BTreeSet<String>) -> Option<bool> {
    let meta = syn::parse_str::<Meta>(condition).ok()?;
    evaluate(&meta, &|name| Some(set.contains(name)), 0)
}

/// Whether nothing can make `condition` hold outside of tests.
pub(super) fn is_test_only(condition: &str) -> bool {
    let known = |name: &str| match name {
        "test" | "doctest" => Some(false),
        _ => None,
    };
    let Ok(meta) = syn::parse_str::<Meta>(condition) else {
        return false;
    };
    evaluate(&meta, &known, 0) == Some(false)
}

/// Three-valued: `None` where it depends on what `known` doesn't know.
fn evaluate(meta: &Meta, known: &dyn Fn(&str) -> Option<bool>, depth: usize) -> Option<bool> {
    if depth > MAX_DEPTH {
        return None;
    }
    match meta {
        Meta::Path(path) if path.is_ident("true") => Some(true),
        Meta::Path(path) if path.is_ident("false") => Some(false),
        Meta::Path(path) => known(&path.get_ident()?.to_string()),
        Meta::NameValue(pair) => {
            let Expr::Lit(literal) = &pair.value else {
                return None;
            };
            let Lit::Str(value) = &literal.lit else {
                return None;
            };
            known(&format!("{} = {:?}", pair.path.get_ident()?, value.value()))
        }
        Meta::List(list) => {
            let inner = list
                .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
                .ok()?;
            let mut values = inner.iter().map(|meta| evaluate(meta, known, depth + 1));
            if list.path.is_ident("not") {
                return values.next()?.map(|value| !value);
            }
            let decides = list.path.is_ident("any");
            if !decides && !list.path.is_ident("all") {
                return None;
            }
            let values: Vec<_> = values.collect();
            if values.contains(&Some(decides)) {
                Some(decides)
            } else if values.contains(&None) {
                None
            } else {
                Some(!decides)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_as_the_compiler_says() {
        let set = ["unix", "feature = \"a\""].map(str::to_owned);
        let set = BTreeSet::from(set);
        let rows = [
            ("unix", Some(true)),
            ("not(unix)", Some(false)),
            ("feature = \"a\"", Some(true)),
            ("feature=\"b\"", Some(false)),
            ("all(unix, feature = \"b\")", Some(false)),
            ("any(feature = \"b\", unix)", Some(true)),
            ("all()", Some(true)),
            ("any()", Some(false)),
            ("some(unix)", None),
            ("(", None),
        ];
        for (condition, expected) in rows {
            assert_eq!(holds(condition, &set), expected, "{condition}");
        }
    }

    #[test]
    fn what_only_tests_have_is_seen_through_other_conditions() {
        let rows = [
            ("test", true),
            ("all(test, unix)", true),
            ("any(test, unix)", false),
            ("not(test)", false),
            ("any(test, doctest)", true),
        ];
        for (condition, expected) in rows {
            assert_eq!(is_test_only(condition), expected, "{condition}");
        }
    }
}
