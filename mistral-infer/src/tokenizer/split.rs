//! Cutting a text into the pieces that byte-pair merging works on.
//!
//! A `tekken.json` names a regular expression. All of Mistral's files have the same one, for which
//! there is a scanner by hand, some ten times faster than a regex engine; any other pattern runs
//! on `fancy-regex` with a limit on its steps.

use std::ops::Range;

use fancy_regex::{Expr, Regex, RegexBuilder};

use super::classes::{Classes, LOWER, MARK, NEWLINE, NUMBER, OTHER_LETTER, SPACE, UPPER};
use super::error::TokenizerError;
use super::limits::{MAX_PATTERN_BYTES, MAX_PATTERN_STEPS};

/// The pattern of Mistral's tekken files (versions v3 to v15), which they carry in
/// `config.pattern`.
pub const TEKKEN_PATTERN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Depth of groups in a pattern beyond which it is refused.
const MAX_DEPTH: usize = 64;

/// A pre-tokenizer: a pattern ready to run.
pub(super) enum Splitter {
    /// [`TEKKEN_PATTERN`], by the scanner.
    Tekken(&'static Classes),
    /// Any other pattern.
    Foreign(Box<Regex>),
}

impl Splitter {
    /// Compiles a pattern.
    pub(super) fn new(pattern: &str) -> Result<Self, TokenizerError> {
        if pattern == TEKKEN_PATTERN {
            return Ok(Self::Tekken(Classes::get()));
        }
        Ok(Self::Foreign(Box::new(compile(pattern)?)))
    }

    /// Calls `piece` with each match, in order. Text between matches belongs to no piece, as in
    /// tiktoken.
    pub(super) fn split(
        &self,
        text: &str,
        mut piece: impl FnMut(Range<usize>),
    ) -> Result<(), TokenizerError> {
        match self {
            Self::Tekken(classes) => {
                let mut at = 0;
                while at < text.len() {
                    let end = tekken_end(classes, text, at);
                    piece(at..end);
                    at = end;
                }
                Ok(())
            }
            Self::Foreign(regex) => {
                let mut end = 0;
                for found in regex.find_iter(text) {
                    let found = found.map_err(|_| TokenizerError::PatternSteps {
                        offset: end,
                        limit: MAX_PATTERN_STEPS,
                    })?;
                    end = found.end();
                    if !found.range().is_empty() {
                        piece(found.range());
                    }
                }
                Ok(())
            }
        }
    }
}

/// Compiles a pattern from a tokenizer file, unless it is too long, nests too deep, or may
/// backtrack without end.
///
/// A pattern without look-around and back references runs in linear time whatever it is. One with
/// them runs on a backtracking machine, so there no unbounded repeat may stand in another one.
pub(super) fn compile(pattern: &str) -> Result<Regex, TokenizerError> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(TokenizerError::too_large(
            "regular expression in bytes",
            pattern.len(),
            MAX_PATTERN_BYTES,
        ));
    }
    check_nesting(pattern)?;
    let refuse = |e: fancy_regex::Error| TokenizerError::Pattern {
        reason: e.to_string(),
    };
    let tree = Expr::parse_tree(pattern).map_err(refuse)?;
    if is_hard(&tree.expr) && nested_repeat(&tree.expr, false) {
        return Err(TokenizerError::Pattern {
            reason: "an unbounded repeat inside another one, beside look-around or back references"
                .to_owned(),
        });
    }
    RegexBuilder::new(pattern)
        .backtrack_limit(MAX_PATTERN_STEPS)
        .delegate_size_limit(4 << 20)
        .delegate_dfa_size_limit(16 << 20)
        .build()
        .map_err(refuse)
}

/// Refuses deep nesting before the recursive parser sees it.
fn check_nesting(pattern: &str) -> Result<(), TokenizerError> {
    let mut depth = 0usize;
    let mut escaped = false;
    for byte in pattern.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(TokenizerError::too_large(
                "nesting of a regular expression",
                depth,
                MAX_DEPTH,
            ));
        }
    }
    Ok(())
}

/// Whether the pattern needs a backtracking machine.
fn is_hard(expr: &Expr) -> bool {
    match expr {
        Expr::Empty | Expr::Any { .. } | Expr::Assertion(_) | Expr::Literal { .. } => false,
        Expr::Delegate { .. } => false,
        Expr::Concat(parts) | Expr::Alt(parts) => parts.iter().any(is_hard),
        Expr::Group(inner) => is_hard(inner),
        Expr::Repeat { child, .. } => is_hard(child),
        _ => true,
    }
}

/// Whether an unbounded repeat stands in another one.
fn nested_repeat(expr: &Expr, inside: bool) -> bool {
    match expr {
        Expr::Repeat { child, hi, .. } => {
            let unbounded = *hi > 1;
            (unbounded && inside) || nested_repeat(child, inside || unbounded)
        }
        Expr::Concat(parts) | Expr::Alt(parts) => parts.iter().any(|p| nested_repeat(p, inside)),
        Expr::Group(inner) | Expr::LookAround(inner, _) | Expr::AtomicGroup(inner) => {
            nested_repeat(inner, inside)
        }
        Expr::Conditional {
            condition,
            true_branch,
            false_branch,
        } => [condition, true_branch, false_branch]
            .into_iter()
            .any(|p| nested_repeat(p, inside)),
        // A subroutine may call itself.
        Expr::SubroutineCall(_) | Expr::UnresolvedNamedSubroutineCall { .. } => true,
        _ => false,
    }
}

const LETTER: u8 = UPPER | LOWER | OTHER_LETTER;
/// In both `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]` and `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`.
const BOTH: u8 = OTHER_LETTER | MARK;
const UPPER_SET: u8 = UPPER | BOTH;
const LOWER_SET: u8 = LOWER | BOTH;

/// Where the match of [`TEKKEN_PATTERN`] that starts at `at` ends. Every character starts a match,
/// and the alternatives are tried in the pattern's order.
fn tekken_end(classes: &Classes, text: &str, at: usize) -> usize {
    let Some((first, first_len)) = classes.at(text, at) else {
        return text.len();
    };
    let next = at + first_len;

    // Letters, with at most one character before them that is no letter, number or newline.
    if first & (LETTER | NUMBER | NEWLINE) == 0
        && let Some(end) = lower_word(classes, text, next)
    {
        return end;
    }
    if first & (LETTER | MARK) != 0
        && let Some(end) = lower_word(classes, text, at)
    {
        return end;
    }
    if first & (LETTER | NUMBER | NEWLINE) == 0
        && let Some(end) = upper_word(classes, text, next)
    {
        return end;
    }
    if first & (LETTER | MARK) != 0
        && let Some(end) = upper_word(classes, text, at)
    {
        return end;
    }
    if first & NUMBER != 0 {
        return next;
    }

    // Punctuation, with a space before it and newlines or slashes after it.
    let is_punctuation = |class: u8| class & (SPACE | LETTER | NUMBER) == 0;
    let start = if text.as_bytes()[at] == b' ' {
        next
    } else {
        at
    };
    let end = run(classes, text, start, is_punctuation);
    if end > start {
        let tail = text.as_bytes()[end..]
            .iter()
            .take_while(|b| matches!(b, b'\r' | b'\n' | b'/'));
        return end + tail.count();
    }

    white_end(classes, text, at)
}

/// The end of a match that starts with white space: up to the last newline of the run, or else all
/// but the last character when something follows.
fn white_end(classes: &Classes, text: &str, at: usize) -> usize {
    let mut end = at;
    let mut last = at;
    let mut after_newline = None;
    while let Some((class, len)) = classes.at(text, end) {
        if class & SPACE == 0 {
            break;
        }
        last = end;
        end += len;
        if class & NEWLINE != 0 {
            after_newline = Some(end);
        }
    }
    match after_newline {
        Some(end) => end,
        None if end == text.len() || last == at => end,
        None => last,
    }
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+` from `at`.
///
/// The first set takes all it can and gives back until the second has a character: that is the
/// lower-case letter behind the run, or else the last character of the run that is in both sets.
fn lower_word(classes: &Classes, text: &str, at: usize) -> Option<usize> {
    let mut end = at;
    let mut after_both = None;
    while let Some((class, len)) = classes.at(text, end) {
        if class & UPPER_SET == 0 {
            if class & LOWER != 0 {
                return Some(run(classes, text, end, |class| class & LOWER_SET != 0));
            }
            break;
        }
        end += len;
        if class & BOTH != 0 {
            after_both = Some(end);
        }
    }
    after_both
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*` from `at`.
fn upper_word(classes: &Classes, text: &str, at: usize) -> Option<usize> {
    let end = run(classes, text, at, |class| class & UPPER_SET != 0);
    (end > at).then(|| run(classes, text, end, |class| class & LOWER_SET != 0))
}

fn run(classes: &Classes, text: &str, at: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let mut end = at;
    while let Some((class, len)) = classes.at(text, end) {
        if !belongs(class) {
            break;
        }
        end += len;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(splitter: &Splitter, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        splitter
            .split(text, |piece| found.push(text[piece].to_owned()))
            .expect("no limit is near");
        found
    }

    #[test]
    fn the_scanner_equals_the_pattern() {
        let scanner = Splitter::Tekken(Classes::get());
        let regex = Splitter::Foreign(Box::new(compile(TEKKEN_PATTERN).expect("it compiles")));
        // One or more of every class, and everything that the pattern names.
        let alphabet: Vec<char> =
            "aZǅʰ你\u{301}\u{20dd}9½ \t\n\r\u{a0}\u{3000}/.!'-_😀é\u{2028}ß\u{ad}_"
                .chars()
                .collect();
        let mut state = 1u64;
        let mut next = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        for _ in 0..20_000 {
            let length = next(14);
            let text: String = (0..length)
                .map(|_| alphabet[next(alphabet.len())])
                .collect();
            assert_eq!(pieces(&scanner, &text), pieces(&regex, &text), "{text:?}");
        }
    }

    #[test]
    fn hostile_patterns_are_refused() {
        let cases: [(&str, String); 6] = [
            ("unbalanced", "(a".into()),
            ("long", "a".repeat(MAX_PATTERN_BYTES + 1)),
            ("deep", "(".repeat(2000)),
            (
                "nested repeats with look-around",
                "(?:(?:a+)+)+(?=b)".into(),
            ),
            ("back reference in repeats", r"(a*)*\1".into()),
            ("counted bomb", "(?:(?:a{1000}){1000}){1000}".into()),
        ];
        for (name, pattern) in cases {
            assert!(compile(&pattern).is_err(), "{name} was accepted");
        }
    }
}
