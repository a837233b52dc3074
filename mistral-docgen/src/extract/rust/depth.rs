//! How deeply tokens nest, seen before a recursive parser is let on them.

use super::super::Limits;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The line where `tokens` nest more deeply than `limits` allow, if they do.
///
/// Brackets are not all: `!!!!x`, `|a| |b| c`, `Vec<Vec<…` and `else if` nest without them. A parser
/// can go one level deeper at most with each token, and returns at a separator; so the tokens since
/// the last one are counted, with those of all brackets around.
pub(super) fn too_deep(tokens: TokenStream, limits: &Limits) -> Option<usize> {
    let mut open = vec![(tokens.into_iter().peekable(), 0_usize)];
    let mut total = 0;
    while let Some((iter, run)) = open.last_mut() {
        let Some(token) = iter.next() else {
            total -= *run;
            open.pop();
            continue;
        };
        *run += 1;
        total += 1;
        if total > limits.tokens {
            return Some(token.span().start().line);
        }
        match token {
            TokenTree::Punct(punct) if matches!(punct.as_char(), ';' | ',') => {
                total -= *run;
                *run = 0;
            }
            TokenTree::Group(group) => {
                if group.delimiter() == Delimiter::Brace && begins_anew(iter.peek()) {
                    total -= *run;
                    *run = 0;
                }
                if open.len() > limits.nesting {
                    return Some(group.span_open().start().line);
                }
                open.push((group.stream().into_iter().peekable(), 0));
            }
            _ => {}
        }
    }
    None
}

/// Whether what follows a block is a new item, statement or arm.
fn begins_anew(next: Option<&TokenTree>) -> bool {
    match next {
        None => true,
        Some(TokenTree::Ident(ident)) => ident != "else" && ident != "as",
        Some(TokenTree::Punct(punct)) => punct.as_char() == '#',
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_seen_with_and_without_brackets() {
        let limits = Limits {
            nesting: 8,
            tokens: 64,
            ..Limits::default()
        };
        let rows = [
            ("fn a() {}\n".repeat(500), false),
            ("x(1, 2);\n".repeat(500), false),
            ("(".repeat(8) + &")".repeat(8), false),
            ("(".repeat(9) + &")".repeat(9), true),
            ("!".repeat(80) + "x", true),
            ("Vec<".repeat(80), true),
            ("if a {} else ".repeat(80), true),
            ("|a| ".repeat(80), true),
        ];
        for (text, expected) in rows {
            let tokens: TokenStream = text.parse().expect("brackets are in pairs");
            assert_eq!(too_deep(tokens, &limits).is_some(), expected, "{text:.20}");
        }
    }
}
