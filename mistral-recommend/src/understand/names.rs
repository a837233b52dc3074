//! Finds devices and models by name.

use super::pieces::{Kind, Piece};
use crate::Context;

/// Longest name, in pieces.
const LONGEST: usize = 8;

/// Names that are ordinary words too.
const WORDS: &[&str] = &["ocr", "devstralsmall"];

/// Replaces the pieces of a name by one piece that says what it names; longest names first.
pub(super) fn recognise(pieces: Vec<Piece>, context: &Context<'_>) -> Vec<Piece> {
    let pieces: Vec<Piece> = pieces
        .into_iter()
        .flat_map(|piece| counted(piece, context))
        .collect();
    let mut out: Vec<Piece> = Vec::with_capacity(pieces.len());
    let mut i = 0;
    while i < pieces.len() {
        let most = LONGEST.min(pieces.len() - i);
        let found = (1..=most)
            .rev()
            .find_map(|n| named(&pieces[i..i + n], &out, context).map(|k| (n, k)));
        match found {
            Some((n, kind)) => {
                let text = joined(&pieces[i..i + n]);
                out.push(Piece { text, kind });
                i += n;
            }
            None => {
                out.push(pieces[i].clone());
                i += 1;
            }
        }
    }
    out
}

/// `2x4090` and `H100x4` as a number and a name.
fn counted(piece: Piece, context: &Context<'_>) -> Vec<Piece> {
    let word = |text: &str| Piece {
        text: text.to_owned(),
        kind: Kind::Word,
    };
    // A card is called `4090`, and `rtx` may follow as a word of its own.
    let names = |text: &str| {
        context.device(text).is_some()
            || context
                .device(text.strip_suffix('s').unwrap_or(text))
                .is_some()
            || matches!(text, "rtx" | "gtx" | "nvidia" | "amd" | "tesla" | "mac")
    };
    if let Kind::Number { value, suffix } = &piece.kind
        && let Some(name) = suffix.strip_prefix('x').filter(|name| names(name))
    {
        let kind = Kind::Number {
            value: *value,
            suffix: "x".to_owned(),
        };
        let text = piece.text.strip_suffix(name).unwrap_or_default();
        let number = Piece {
            text: text.to_owned(),
            kind,
        };
        let named = match name.trim_end_matches('s').parse() {
            Ok(value) => Piece {
                text: name.to_owned(),
                kind: Kind::Number {
                    value,
                    suffix: name
                        .trim_start_matches(|c: char| c.is_ascii_digit())
                        .to_owned(),
                },
            },
            Err(_) => word(name),
        };
        return vec![number, named];
    }
    if piece.kind == Kind::Word
        && let Some((name, count)) = piece.text.rsplit_once('x')
        && count.parse::<u32>().is_ok()
        && names(name)
    {
        return vec![word(name), word(&format!("x{count}"))];
    }
    vec![piece]
}

fn joined(pieces: &[Piece]) -> String {
    let texts: Vec<&str> = pieces.iter().map(|p| p.text.as_str()).collect();
    texts.join(" ")
}

fn named(run: &[Piece], before: &[Piece], context: &Context<'_>) -> Option<Kind> {
    let connects = |p: &Piece| p.kind != Kind::Sign || p.is(&["-", "+", "/", "("]);
    let ends = |p: &Piece| p.kind == Kind::Sign;
    if ends(&run[0]) || (run.len() > 1 && ends(&run[run.len() - 1])) || !run.iter().all(connects) {
        return None;
    }
    let text = joined(run);
    let compact: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
    if compact.len() < 2 || WORDS.contains(&compact.as_str()) {
        return None;
    }
    if let Some(model) = context.catalog.find(&text) {
        return Some(Kind::Model(model.id.clone()));
    }
    // Mistral's sizes with a version are said without the maker: `Large 3`.
    let sized = run[0].is(&["small", "medium", "large"]) && run.len() > 1;
    if let Some(model) = context
        .catalog
        .find(&format!("mistral {text}"))
        .filter(|_| sized)
    {
        return Some(Kind::Model(model.id.clone()));
    }
    let device = |name: &str| context.device(name).map(|d| Kind::Device(d.name.clone()));
    let singular = text.strip_suffix('s').unwrap_or(&text);
    let kind = device(&text).or_else(|| device(singular))?;
    // A bare number such as 4090 names a card only where a card is spoken of.
    let bare = singular.bytes().all(|b| b.is_ascii_digit());
    let introduced = before.last().is_some_and(|p| {
        p.is(&["a", "an", "one", "two", "my", "our", "the", "un", "une", "deux", "ma", "mon", "la", "x", "dual", "single", "on", "sur", "with", "avec"])
            || matches!(&p.kind, Kind::Number { value, suffix } if *value <= 64.0 && matches!(suffix.as_str(), "" | "x"))
    });
    (!bare || introduced || text.ends_with('s')).then_some(kind)
}
