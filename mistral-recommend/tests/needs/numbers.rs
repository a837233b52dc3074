//! Numbers that a reader sees, against the data of what they are said of.

use mistral_core::recommendation::Recommendation;
use mistral_recommend::{Language, text};
use serde_json::Value;

/// Every number in the words for a choice, a loss or a change is one of its own data or of the
/// need, to the digits shown.
pub(crate) fn check(r: &Recommendation) -> Result<(), String> {
    let bare = Recommendation {
        choices: Vec::new(),
        lost: Vec::new(),
        question: None,
        ..r.clone()
    };
    holds(&bare)?;
    for choice in &r.choices {
        holds(&Recommendation {
            choices: vec![choice.clone()],
            ..bare.clone()
        })?;
    }
    for lost in &r.lost {
        holds(&Recommendation {
            lost: vec![lost.clone()],
            ..bare.clone()
        })?;
    }
    Ok(())
}

fn holds(r: &Recommendation) -> Result<(), String> {
    let mut known = Vec::new();
    let data = serde_json::to_value(r).map_err(|e| e.to_string())?;
    collect(&data, &mut known);
    // The place of the only choice.
    known.push(1.0);
    let french = Language::of(&r.need) == Language::French;
    for line in text(r, 1).lines() {
        let point = if french { ',' } else { '.' };
        for (number, places) in numbers(line, point) {
            // Half of the last place shown.
            let rounding = 0.501 * 10f64.powi(-places);
            let told = |k: &f64| (k - number).abs() <= rounding;
            if !known.iter().any(told) {
                return Err(format!("{number} in {line:?} comes from nowhere"));
            }
        }
    }
    Ok(())
}

/// All numbers of a value, also those within its texts; `because` repeats in words what stands
/// in `reasons`, so it is no source.
fn collect(value: &Value, into: &mut Vec<f64>) {
    match value {
        Value::Number(n) => into.extend(n.as_f64()),
        // Names such as `mistral-small-3.2` are shown as they are in every language.
        Value::String(text) => {
            for point in ['.', ','] {
                into.extend(numbers(text, point).into_iter().map(|(n, _)| n));
            }
        }
        Value::Array(list) => list.iter().for_each(|v| collect(v, into)),
        Value::Object(map) => map
            .iter()
            .filter(|(name, _)| *name != "because")
            .for_each(|(_, v)| collect(v, into)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Digits with `point` in them, signs between thousands left out; each with the number of its
/// decimal places.
fn numbers(text: &str, point: char) -> Vec<(f64, i32)> {
    let text: Vec<char> = text.chars().chain([' ']).collect();
    let mut list = Vec::new();
    let mut number = String::new();
    for (i, &c) in text.iter().enumerate() {
        let digit = |at: usize| text.get(at).is_some_and(char::is_ascii_digit);
        let inside = !number.is_empty() && digit(i + 1);
        match c {
            '0'..='9' => number.push(c),
            c if c == point && inside => number.push('.'),
            ',' | '\u{202f}' if inside => {}
            _ => {
                let written = std::mem::take(&mut number);
                let places = written.split_once('.').map_or(0, |(_, p)| p.len() as i32);
                list.extend(written.parse().ok().map(|n: f64| (n, places)));
            }
        }
    }
    list
}
