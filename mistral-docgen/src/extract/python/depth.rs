//! How deeply Python nests, seen before a recursive parser is let on it.

use super::super::Limits;
use ruff_python_ast::token::TokenKind;
use ruff_python_parser::{Mode, lexer};

/// Whether brackets, indented blocks or tokens without a separator in `text` nest more deeply than `limits` allow.
///
/// As in Rust, tokens since the last separator are counted with those of all brackets around: `not not x` and
/// `a + b + c` nest without brackets.
pub(super) fn too_deep(text: &str, limits: &Limits) -> bool {
    let mut lexer = lexer::lex(text, Mode::Module);
    let mut runs = vec![0_usize];
    let mut total = 0;
    let mut indents = 0_usize;
    loop {
        match lexer.next_token() {
            TokenKind::EndOfFile => return false,
            TokenKind::Lpar | TokenKind::Lsqb | TokenKind::Lbrace => runs.push(0),
            TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace => {
                total -= runs.pop().unwrap_or(0);
                if runs.is_empty() {
                    runs.push(0);
                }
            }
            TokenKind::Comma | TokenKind::Semi | TokenKind::Newline => {
                total -= runs.last().copied().unwrap_or(0);
                if let Some(run) = runs.last_mut() {
                    *run = 0;
                }
            }
            TokenKind::Comment | TokenKind::NonLogicalNewline => {}
            TokenKind::Indent => indents += 1,
            TokenKind::Dedent => indents = indents.saturating_sub(1),
            _ => {
                total += 1;
                if let Some(run) = runs.last_mut() {
                    *run += 1;
                }
            }
        }
        if total > limits.tokens || runs.len() + indents > limits.nesting {
            return true;
        }
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
        let blocks: String = (0..20)
            .map(|n| format!("{}if a:\n", " ".repeat(n)))
            .collect();
        let rows = [
            ("x = 1\n".repeat(500), false),
            (format!("x = [{}]", "(1, 2), ".repeat(500)), false),
            ("(".repeat(7) + &")".repeat(7), false),
            ("(".repeat(9) + &")".repeat(9), true),
            ("not ".repeat(80) + "x", true),
            ("1 + ".repeat(80) + "1", true),
            (blocks, true),
            (")".repeat(100), false),
        ];
        for (text, expected) in rows {
            assert_eq!(too_deep(&text, &limits), expected, "{text:.20}");
        }
    }
}
