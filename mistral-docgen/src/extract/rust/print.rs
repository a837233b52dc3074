//! Tokens as text, spaced as people write Rust.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// What was printed last, as far as the space behind it depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nothing, an opening bracket, or a prefix such as `&`, `::`, `.` and `#`.
    Tight,
    /// An identifier or literal.
    Word,
    /// A word after which a bracket stands apart: `where`, `as`, `=`'s right side and the like.
    Keyword,
    /// `>` or a closing bracket.
    Close,
    /// An operator with spaces around it, a comma, a colon.
    Operator,
}

const KEYWORDS: &[&str] = &[
    "as", "const", "dyn", "else", "if", "in", "let", "match", "move", "mut", "ref", "return",
    "where", "while",
];

/// Braces are printed with spaces within; groups without delimiters vanish.
pub(super) fn tokens(tokens: TokenStream) -> String {
    let mut text = String::new();
    write(tokens, &mut text, Last::Tight);
    text
}

/// Anything of syn's as text.
pub(super) fn of(node: impl quote::ToTokens) -> String {
    tokens(node.into_token_stream())
}

fn write(tokens: TokenStream, text: &mut String, mut last: Last) -> Last {
    let mut iter = tokens.into_iter().peekable();
    while let Some(token) = iter.next() {
        last = match token {
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                if last != Last::Tight {
                    text.push(' ');
                }
                text.push_str(&word);
                if KEYWORDS.contains(&word.as_str()) {
                    Last::Keyword
                } else {
                    Last::Word
                }
            }
            TokenTree::Literal(literal) => {
                if last != Last::Tight {
                    text.push(' ');
                }
                text.push_str(&literal.to_string());
                Last::Word
            }
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                // What follows a lifetime stands apart: `&'a [T]`.
                punctuation("'", text, last);
                if let Some(TokenTree::Ident(name)) =
                    iter.next_if(|next| matches!(next, TokenTree::Ident(_)))
                {
                    text.push_str(&name.to_string());
                }
                Last::Keyword
            }
            TokenTree::Punct(punct) if punct.as_char() == '$' => {
                // A variable of a macro: `$name:kind`.
                punctuation("$", text, last);
                let mut now = Last::Tight;
                if let Some(TokenTree::Ident(name)) =
                    iter.next_if(|next| matches!(next, TokenTree::Ident(_)))
                {
                    text.push_str(&name.to_string());
                    now = Last::Word;
                }
                let colon = |next: &TokenTree| matches!(next, TokenTree::Punct(p) if p.as_char() == ':' && p.spacing() == Spacing::Alone);
                if now == Last::Word && iter.next_if(colon).is_some() {
                    text.push(':');
                    now = Last::Tight;
                }
                now
            }
            TokenTree::Punct(punct) => {
                let mut operator = String::from(punct.as_char());
                let mut joint = punct.spacing() == Spacing::Joint;
                while joint {
                    let Some(TokenTree::Punct(next)) = iter.peek() else {
                        break;
                    };
                    if !continues(&operator, next.as_char()) {
                        break;
                    }
                    operator.push(next.as_char());
                    joint = next.spacing() == Spacing::Joint;
                    iter.next();
                }
                punctuation(&operator, text, last)
            }
            TokenTree::Group(group) => bracket(&group, text, last),
        };
    }
    last
}

/// Whether `next` belongs to the operator so far; `>` and `<` of types stay single.
fn continues(operator: &str, next: char) -> bool {
    const LONG: &[&str] = &[
        "->", "=>", "::", "..", "...", "..=", "==", "!=", "<=", ">=", "&&", "||", "<<", "+=", "-=",
        "*=", "/=", "|=", "&=", "^=", "%=",
    ];
    let mut longer = operator.to_owned();
    longer.push(next);
    LONG.contains(&longer.as_str())
}

fn punctuation(operator: &str, text: &mut String, last: Last) -> Last {
    let prefix = matches!(last, Last::Tight | Last::Operator | Last::Keyword);
    match operator {
        "," | ";" => {
            text.push_str(operator);
            Last::Operator
        }
        ":" => {
            text.push(':');
            Last::Operator
        }
        "?" | "." | ".." | "..=" | "..." if !prefix || operator.starts_with('.') => {
            if prefix && last != Last::Tight {
                text.push(' ');
            }
            text.push_str(operator);
            if operator == "?" {
                Last::Close
            } else {
                Last::Tight
            }
        }
        "::" => {
            if prefix && last != Last::Tight {
                text.push(' ');
            }
            text.push_str("::");
            Last::Tight
        }
        "<" => {
            if prefix && last != Last::Tight {
                text.push(' ');
            }
            text.push('<');
            Last::Tight
        }
        ">" => {
            text.push('>');
            Last::Close
        }
        "!" if last == Last::Word => {
            text.push('!');
            Last::Word
        }
        "'" | "#" | "$" | "~" => {
            if last != Last::Tight {
                text.push(' ');
            }
            text.push_str(operator);
            Last::Tight
        }
        "&" | "&&" | "*" | "-" | "!" | "?" if prefix => {
            if last != Last::Tight {
                text.push(' ');
            }
            text.push_str(operator);
            Last::Tight
        }
        _ => {
            if !text.is_empty() && last != Last::Tight {
                text.push(' ');
            }
            text.push_str(operator);
            Last::Operator
        }
    }
}

fn bracket(group: &proc_macro2::Group, text: &mut String, last: Last) -> Last {
    let (open, close) = match group.delimiter() {
        Delimiter::Parenthesis => ('(', ')'),
        Delimiter::Bracket => ('[', ']'),
        Delimiter::None => return write(group.stream(), text, last),
        Delimiter::Brace => {
            if last != Last::Tight {
                text.push(' ');
            }
            if group.stream().is_empty() {
                text.push_str("{}");
            } else {
                text.push_str("{ ");
                write(without_last_comma(group.stream()), text, Last::Tight);
                text.push_str(" }");
            }
            return Last::Close;
        }
    };
    if matches!(last, Last::Operator | Last::Keyword) {
        text.push(' ');
    }
    text.push(open);
    write(without_last_comma(group.stream()), text, Last::Tight);
    text.push(close);
    Last::Close
}

/// Takes the comma at the end away, but from `(T,)`, where it makes the tuple.
fn without_last_comma(stream: TokenStream) -> TokenStream {
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ',');
    let mut trees: Vec<TokenTree> = stream.clone().into_iter().collect();
    let commas = trees.iter().filter(|token| is_comma(token)).count();
    let colon = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ':');
    if !trees.last().is_some_and(is_comma) || (commas < 2 && !trees.iter().any(colon)) {
        return stream;
    }
    trees.pop();
    trees.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn code_reads_as_people_write_it() {
        let rows = [
            "pub fn zeros<S: Into<Shape>>(shape: S, device: &Device) -> Result<Self>",
            "fn f<'a, T>(x: &'a mut [T; 4]) -> Option<&'a T> where T: ?Sized + 'static",
            "fn g(self: Box<Self>, f: impl Fn(usize) -> Vec<Vec<u8>>) -> <T as Iterator>::Item",
            "pub const N: i32 = -1",
            "fn h(x: *const u8, y: &&str, (a, b): (u8, u8)) -> !",
            "pub unsafe extern \"C\" fn k(n: usize, ...)",
            "for<'a> fn(&'a u8) -> &'a u8",
            "type A<T> = std::result::Result<T, Error>",
            "struct S<const N: usize = { 3 + 4 }>",
            "feature = \"cuda\", all(unix, not(target_arch = \"wasm32\"))",
            "fn t() -> (usize,)",
            "fn i(x: &dyn Fn(&T) -> R, y: [&str; N])",
            "fn s(&self, &mut self, mut x: &'a [u8])",
        ];
        for row in rows {
            let tokens = row.parse().expect("tokens");
            assert_eq!(super::tokens(tokens), row);
        }
        let broken = "fn f(\n    a: u8,\n    b: u8,\n)".parse().expect("tokens");
        assert_eq!(super::tokens(broken), "fn f(a: u8, b: u8)");
    }
}
