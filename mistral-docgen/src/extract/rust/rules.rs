//! `macro_rules!` of the crate itself, expanded far enough to see the items that they make.
//!
//! Hygiene, `macro_rules!` written by procedural macros and fragments after edition rules are not modelled: what
//! doesn't match is reported as not expanded, never guessed.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use std::collections::BTreeMap;
use syn::parse::{ParseStream, Parser};

/// Tokens behind a place that the parser of a fragment is shown.
const FRAGMENT_TOKENS: usize = 4_096;

/// Steps that expansion may still take in a crate: tokens compared, copied or shown to a parser.
#[derive(Debug)]
pub(super) struct Budget {
    steps: usize,
}

impl Budget {
    pub(super) fn new(steps: usize) -> Self {
        Self { steps }
    }

    fn charge(&mut self, steps: usize) -> Option<()> {
        self.steps = self.steps.checked_sub(steps)?;
        Some(())
    }
}

/// The arms of one `macro_rules!`.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    arms: Vec<Arm>,
}

#[derive(Debug, Clone)]
struct Arm {
    matcher: TokenStream,
    pattern: Vec<Pattern>,
    template: Vec<TokenTree>,
}

#[derive(Debug, Clone)]
enum Pattern {
    Token(TokenTree),
    Group(Delimiter, Vec<Pattern>),
    Fragment(String, String),
    Repeat {
        inner: Vec<Pattern>,
        separator: Vec<TokenTree>,
        operator: char,
    },
}

/// What a variable stands for.
#[derive(Debug, Clone)]
enum Binding {
    One(Vec<TokenTree>),
    Many(Vec<Binding>),
}

type Bindings = BTreeMap<String, Binding>;

impl Rules {
    /// Reads what stands within `macro_rules! name { … }`; `None` where it isn't of that form.
    pub(super) fn parse(body: TokenStream) -> Option<Self> {
        let mut arms = Vec::new();
        let mut tokens = body.into_iter().peekable();
        while tokens.peek().is_some() {
            let TokenTree::Group(matcher) = tokens.next()? else {
                return None;
            };
            let arrow = (tokens.next()?, tokens.next()?);
            if !is_punct(&arrow.0, '=') || !is_punct(&arrow.1, '>') {
                return None;
            }
            let TokenTree::Group(template) = tokens.next()? else {
                return None;
            };
            if let Some(next) = tokens.next()
                && !is_punct(&next, ';')
            {
                return None;
            }
            arms.push(Arm {
                matcher: matcher.stream(),
                pattern: patterns(&trees(matcher.stream()))?,
                template: trees(template.stream()),
            });
        }
        Some(Self { arms })
    }

    /// What the arms match.
    pub(super) fn matchers(&self) -> impl Iterator<Item = &TokenStream> {
        self.arms.iter().map(|arm| &arm.matcher)
    }

    /// The tokens that an invocation with `input` makes, all placed at `at`; `None` where no arm matches or the
    /// budget is spent.
    pub(super) fn expand(
        &self,
        input: TokenStream,
        at: Span,
        budget: &mut Budget,
    ) -> Option<TokenStream> {
        let input = trees(input);
        for arm in &self.arms {
            let mut bindings = Bindings::new();
            let end = matches(&arm.pattern, &input, 0, &mut bindings, budget);
            if end == Some(input.len()) {
                let mut made = Vec::new();
                transcribe(&arm.template, &bindings, at, &mut made, budget)?;
                return Some(made.into_iter().collect());
            }
        }
        None
    }
}

fn trees(stream: TokenStream) -> Vec<TokenTree> {
    stream.into_iter().collect()
}

fn is_punct(token: &TokenTree, c: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == c)
}

fn patterns(tokens: &[TokenTree]) -> Option<Vec<Pattern>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '$' => match tokens.get(at)? {
                TokenTree::Group(group) => {
                    let (separator, operator, next) = repetition(tokens, at + 1)?;
                    found.push(Pattern::Repeat {
                        inner: patterns(&trees(group.stream()))?,
                        separator,
                        operator,
                    });
                    at = next;
                }
                TokenTree::Ident(name) => {
                    let colon = tokens.get(at + 1).is_some_and(|t| is_punct(t, ':'));
                    let (true, Some(TokenTree::Ident(kind))) = (colon, tokens.get(at + 2)) else {
                        return None;
                    };
                    found.push(Pattern::Fragment(name.to_string(), kind.to_string()));
                    at += 3;
                }
                _ => return None,
            },
            TokenTree::Group(group) => found.push(Pattern::Group(
                group.delimiter(),
                patterns(&trees(group.stream()))?,
            )),
            other => found.push(Pattern::Token(other.clone())),
        }
    }
    Some(found)
}

/// Separator and operator behind `$(…)`, and where they end.
fn repetition(tokens: &[TokenTree], from: usize) -> Option<(Vec<TokenTree>, char, usize)> {
    let operator = |at: usize| match tokens.get(at) {
        Some(TokenTree::Punct(punct)) => {
            Some(punct.as_char()).filter(|c| matches!(c, '*' | '+' | '?'))
        }
        _ => None,
    };
    // A separator is one token of Rust, which may be two or three here: `=>`, `::`.
    for length in 0..=3 {
        if let Some(found) = operator(from + length) {
            let separator = tokens.get(from..from + length)?.to_vec();
            return Some((separator, found, from + length + 1));
        }
    }
    None
}

/// Where in `input` the patterns end, if they match from `at` on.
fn matches(
    patterns: &[Pattern],
    input: &[TokenTree],
    mut at: usize,
    bindings: &mut Bindings,
    budget: &mut Budget,
) -> Option<usize> {
    for pattern in patterns {
        budget.charge(1)?;
        match pattern {
            Pattern::Token(token) => {
                if !same(token, input.get(at)?) {
                    return None;
                }
                at += 1;
            }
            Pattern::Group(delimiter, inner) => {
                let TokenTree::Group(group) = input.get(at)? else {
                    return None;
                };
                let within = trees(group.stream());
                let end = matches(inner, &within, 0, bindings, budget)?;
                if group.delimiter() != *delimiter || end != within.len() {
                    return None;
                }
                at += 1;
            }
            Pattern::Fragment(name, kind) => {
                let end = fragment(kind, input, at, budget)?;
                let mut tokens = input[at..end].to_vec();
                if matches!(kind.as_str(), "ty" | "expr") && tokens.len() > 1 {
                    let whole = Group::new(Delimiter::None, tokens.into_iter().collect());
                    tokens = vec![TokenTree::Group(whole)];
                }
                bindings.insert(name.clone(), Binding::One(tokens));
                at = end;
            }
            Pattern::Repeat {
                inner,
                separator,
                operator,
            } => {
                let mut rounds = Vec::new();
                loop {
                    let start = match (rounds.is_empty(), separator.is_empty()) {
                        (true, _) | (_, true) => Some(at),
                        _ => begins(separator, input, at),
                    };
                    let mut round = Bindings::new();
                    let end = start.and_then(|start| {
                        let end = matches(inner, input, start, &mut round, budget)?;
                        (end > at).then_some(end)
                    });
                    let Some(end) = end else { break };
                    rounds.push(round);
                    at = end;
                    if *operator == '?' {
                        break;
                    }
                }
                if *operator == '+' && rounds.is_empty() {
                    return None;
                }
                collect(inner, rounds, bindings);
            }
        }
    }
    Some(at)
}

/// Where `separator` ends, if `input` has it at `at`.
fn begins(separator: &[TokenTree], input: &[TokenTree], at: usize) -> Option<usize> {
    let found = input.get(at..at + separator.len())?;
    let equal = separator.iter().zip(found).all(|(a, b)| same(a, b));
    equal.then_some(at + separator.len())
}

fn same(a: &TokenTree, b: &TokenTree) -> bool {
    match (a, b) {
        (TokenTree::Punct(a), TokenTree::Punct(b)) => a.as_char() == b.as_char(),
        (TokenTree::Ident(a), TokenTree::Ident(b)) => a == b,
        (TokenTree::Literal(a), TokenTree::Literal(b)) => a.to_string() == b.to_string(),
        _ => false,
    }
}

/// From one map a round to one list a variable.
fn collect(patterns: &[Pattern], mut rounds: Vec<Bindings>, bindings: &mut Bindings) {
    let mut names = Vec::new();
    variables(patterns, &mut names);
    for name in names {
        let all = rounds.iter_mut().filter_map(|round| round.remove(&name));
        let all = Binding::Many(all.collect());
        bindings.insert(name, all);
    }
}

fn variables(patterns: &[Pattern], names: &mut Vec<String>) {
    for pattern in patterns {
        match pattern {
            Pattern::Token(_) => {}
            Pattern::Fragment(name, _) => names.push(name.clone()),
            Pattern::Group(_, inner) | Pattern::Repeat { inner, .. } => variables(inner, names),
        }
    }
}

/// Where the fragment that begins at `at` ends.
fn fragment(kind: &str, input: &[TokenTree], at: usize, budget: &mut Budget) -> Option<usize> {
    let first = input.get(at);
    let is_ident = matches!(first, Some(TokenTree::Ident(_)));
    match kind {
        "tt" => first.map(|_| at + 1),
        "ident" => is_ident.then_some(at + 1),
        "lifetime" => {
            let tick = first.is_some_and(|t| is_punct(t, '\''));
            tick.then_some(at + 2)
        }
        "literal" => {
            let minus = first.is_some_and(|t| is_punct(t, '-'));
            let end = at + usize::from(minus);
            match input.get(end)? {
                TokenTree::Literal(_) => Some(end + 1),
                TokenTree::Ident(word) if *word == "true" || *word == "false" => Some(end + 1),
                _ => None,
            }
        }
        _ => {
            let shown = &input[at..input.len().min(at + FRAGMENT_TOKENS)];
            budget.charge(shown.len())?;
            let rest = parsed(kind, shown.iter().cloned().collect())?;
            let end = at + shown.len().checked_sub(rest)?;
            // Only a visibility may be nothing at all.
            (end > at || kind == "vis").then_some(end)
        }
    }
}

/// How many tokens are left behind a fragment that a parser recognises.
fn parsed(kind: &str, tokens: TokenStream) -> Option<usize> {
    fn behind<T: syn::parse::Parse>(input: ParseStream) -> syn::Result<usize> {
        input.parse::<T>()?;
        left(input)
    }
    fn left(input: ParseStream) -> syn::Result<usize> {
        Ok(input.parse::<TokenStream>()?.into_iter().count())
    }
    let found = match kind {
        "ty" => behind::<syn::Type>.parse2(tokens),
        "expr" | "expr_2021" => behind::<syn::Expr>.parse2(tokens),
        "path" => behind::<syn::Path>.parse2(tokens),
        "block" => behind::<syn::Block>.parse2(tokens),
        "item" => behind::<syn::Item>.parse2(tokens),
        "vis" => behind::<syn::Visibility>.parse2(tokens),
        "meta" => behind::<syn::Meta>.parse2(tokens),
        "pat" | "pat_param" => (|input: ParseStream| {
            syn::Pat::parse_single(input)?;
            left(input)
        })
        .parse2(tokens),
        _ => return None,
    };
    found.ok()
}

/// Writes a template with its variables replaced.
fn transcribe(
    template: &[TokenTree],
    bindings: &Bindings,
    span: Span,
    made: &mut Vec<TokenTree>,
    budget: &mut Budget,
) -> Option<()> {
    let mut at = 0;
    while let Some(token) = template.get(at) {
        budget.charge(1)?;
        at += 1;
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '$' => match template.get(at)? {
                TokenTree::Group(group) => {
                    let (separator, _, next) = repetition(template, at + 1)?;
                    at = next;
                    let inner = trees(group.stream());
                    repeat(&inner, &separator, bindings, span, made, budget)?;
                }
                TokenTree::Ident(name) if *name == "crate" => {
                    at += 1;
                    made.push(TokenTree::Ident(Ident::new("crate", span)));
                }
                TokenTree::Ident(name) => {
                    at += 1;
                    let Binding::One(tokens) = bindings.get(&name.to_string())? else {
                        return None;
                    };
                    budget.charge(tokens.len())?;
                    made.extend(tokens.iter().map(|token| placed(token.clone(), span)));
                }
                _ => return None,
            },
            TokenTree::Group(group) => {
                let mut within = Vec::new();
                let inner = trees(group.stream());
                transcribe(&inner, bindings, span, &mut within, budget)?;
                let mut group = Group::new(group.delimiter(), within.into_iter().collect());
                group.set_span(span);
                made.push(TokenTree::Group(group));
            }
            other => made.push(placed(other.clone(), span)),
        }
    }
    Some(())
}

fn repeat(
    inner: &[TokenTree],
    separator: &[TokenTree],
    bindings: &Bindings,
    span: Span,
    made: &mut Vec<TokenTree>,
    budget: &mut Budget,
) -> Option<()> {
    let mut names = Vec::new();
    used(inner, &mut names);
    let many = |name: &String| match bindings.get(name) {
        Some(Binding::Many(all)) => Some(all.len()),
        _ => None,
    };
    let rounds = names.iter().filter_map(many).max()?;
    for round in 0..rounds {
        if round > 0 {
            made.extend(separator.iter().map(|token| placed(token.clone(), span)));
        }
        let mut here = Bindings::new();
        for name in &names {
            let bound = match bindings.get(name) {
                Some(Binding::Many(all)) => all.get(round),
                other => other,
            };
            if let Some(bound) = bound {
                budget.charge(size(bound))?;
                here.insert(name.clone(), bound.clone());
            }
        }
        transcribe(inner, &here, span, made, budget)?;
    }
    Some(())
}

fn size(binding: &Binding) -> usize {
    match binding {
        Binding::One(tokens) => tokens.len() + 1,
        Binding::Many(all) => all.iter().map(size).sum::<usize>() + 1,
    }
}

/// Variables that a template names, groups within included.
fn used(template: &[TokenTree], names: &mut Vec<String>) {
    for (at, token) in template.iter().enumerate() {
        match token {
            TokenTree::Group(group) => used(&trees(group.stream()), names),
            TokenTree::Ident(name) if at > 0 && is_punct(&template[at - 1], '$') => {
                names.push(name.to_string());
            }
            _ => {}
        }
    }
}

/// The token at another place, so that what a macro made is found where it was invoked.
fn placed(mut token: TokenTree, span: Span) -> TokenTree {
    if let TokenTree::Group(group) = &token {
        let inner = group.stream().into_iter().map(|t| placed(t, span));
        let mut moved = Group::new(group.delimiter(), inner.collect());
        moved.set_span(span);
        return TokenTree::Group(moved);
    }
    if let TokenTree::Punct(punct) = &token {
        let mut moved = proc_macro2::Punct::new(punct.as_char(), punct.spacing());
        moved.set_span(span);
        return TokenTree::Punct(moved);
    }
    token.set_span(span);
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(rules: &str, input: &str, steps: usize) -> Option<String> {
        let rules = Rules::parse(rules.parse().expect("tokens")).expect("rules");
        let input = input.parse().expect("tokens");
        let made = rules.expand(input, Span::call_site(), &mut Budget::new(steps))?;
        Some(super::super::print::tokens(made))
    }

    #[test]
    fn variables_repetitions_and_arms_are_expanded() {
        let rows = [
            (
                "($n:ident, $t:ty) => { pub fn $n(&self) -> Vec<$t> { $n() } };",
                "cos, (u8, HashMap<A, B>)",
                "pub fn cos(&self) -> Vec<(u8, HashMap<A, B>)> { cos() }",
            ),
            (
                "($($v:vis $n:ident: $t:ty = $e:expr),* $(,)?) => { $($v const $n: $t = $e;)* }",
                "pub A: u8 = 1 + 2, B: u16 = f(3),",
                "pub const A: u8 = 1 + 2; const B: u16 = f(3);",
            ),
            (
                "(one) => { struct One; }; ($($a:ident => $($b:literal)|+);+) => { $($a { $($b),+ })+ }",
                "x => 1 | 2; y => -3",
                "x { 1, 2 } y { -3 }",
            ),
            ("() => { $crate::a!(); }", "", "crate::a!();"),
            (
                "($($t:tt)*) => { mod m { $($t)* } }",
                "a (b) c",
                "mod m { a(b) c }",
            ),
            (
                "($(#[$m:meta])* $i:item) => { $(#[$m])* $i }",
                "#[a(b)] #[c] fn f() {}",
                "#[a(b)] #[c] fn f() {}",
            ),
        ];
        for (rules, input, expected) in rows {
            assert_eq!(expand(rules, input, 10_000).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_does_not_match_or_costs_too_much_is_nothing() {
        assert_eq!(expand("(a) => { b }", "c", 1_000), None);
        assert_eq!(expand("($a:ident) => { $b }", "c", 1_000), None);
        let bomb = "($($a:tt)*) => { $($a $a $a)* $($a $a $a)* }";
        assert_eq!(expand(bomb, &"x ".repeat(1_000), 5_000), None);
        assert!(Rules::parse("($a:ident) -> {}".parse().expect("tokens")).is_none());
    }
}
