//! Numbers with their units and the words around them.

use super::pieces::{Kind, Piece};

/// A number that was said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Amount {
    /// Its value, multipliers such as `k` and `million` applied.
    pub(super) value: f64,
    /// Whether a `k` was applied, which in token counts means 1024 for powers of two.
    pub(super) kilo: bool,
    /// The unit: the glued letters, a currency sign, or the next word; empty when none.
    pub(super) unit: String,
    /// Position of its first piece.
    pub(super) start: usize,
    /// Position after its unit.
    pub(super) end: usize,
    /// A minus stood before it.
    pub(super) negative: bool,
}

const NUMBER_WORDS: &[(&str, f64)] = &[
    ("one", 1.0),
    ("single", 1.0),
    ("two", 2.0),
    ("deux", 2.0),
    ("dual", 2.0),
    ("three", 3.0),
    ("trois", 3.0),
    ("four", 4.0),
    ("quatre", 4.0),
    ("quad", 4.0),
    ("five", 5.0),
    ("cinq", 5.0),
    ("six", 6.0),
    ("seven", 7.0),
    ("sept", 7.0),
    ("eight", 8.0),
    ("huit", 8.0),
    ("ten", 10.0),
    ("dix", 10.0),
    ("dozen", 12.0),
    ("douze", 12.0),
    ("twenty", 20.0),
    ("vingt", 20.0),
    ("thirty", 30.0),
    ("trente", 30.0),
    ("fifty", 50.0),
    ("cinquante", 50.0),
    ("hundred", 100.0),
    ("cent", 100.0),
    ("thousand", 1000.0),
    ("mille", 1000.0),
];

/// The value of a number in figures or in words.
pub(super) fn small_number(piece: &Piece) -> Option<f64> {
    match &piece.kind {
        Kind::Number { value, suffix } if suffix.is_empty() || suffix == "x" => Some(*value),
        Kind::Word => NUMBER_WORDS
            .iter()
            .find(|(w, _)| *w == piece.text)
            .map(|(_, v)| *v),
        _ => None,
    }
}

fn multiplier(word: &str) -> Option<f64> {
    match word {
        "k" | "thousand" | "mille" | "milliers" => Some(1e3),
        "m" | "million" | "millions" | "mio" | "mn" => Some(1e6),
        "b" | "billion" | "billions" | "milliard" | "milliards" => Some(1e9),
        "hundred" | "cents" => Some(100.0),
        _ => None,
    }
}

/// Every amount, in the order of the text.
pub(super) fn amounts(pieces: &[Piece]) -> Vec<Amount> {
    let mut found = Vec::new();
    let mut i = 0;
    while i < pieces.len() {
        let next = match amount_at(pieces, i) {
            Some(a) => {
                let end = a.end.max(i + 1);
                found.push(a);
                end
            }
            None => i + 1,
        };
        i = next;
    }
    found
}

fn amount_at(pieces: &[Piece], start: usize) -> Option<Amount> {
    let piece = &pieces[start];
    let (mut value, suffix) = match &piece.kind {
        Kind::Number { value, suffix } => (*value, suffix.as_str()),
        Kind::Word => (small_number(piece)?, ""),
        _ => return None,
    };
    let word = |i: usize| pieces.get(i).map_or("", |p| p.text.as_str());
    let mut end = start + 1;
    let mut unit = suffix.to_owned();
    let mut kilo = false;
    let mut scale = |unit: &mut String| {
        if let Some(m) = multiplier(unit) {
            value *= m;
            kilo |= unit == "k";
            unit.clear();
        } else if let Some(rest) = unit
            .strip_prefix('k')
            .filter(|r| matches!(*r, "€" | "eur" | "usd" | "tokens"))
        {
            value *= 1e3;
            kilo = true;
            *unit = rest.to_owned();
        }
    };
    scale(&mut unit);
    if unit.is_empty() && multiplier(word(end)).is_some() && word(end) != "m" {
        unit = word(end).to_owned();
        end += 1;
        scale(&mut unit);
    } else if unit.is_empty() && word(end) == "m" {
        // `2 M tokens`, `2 M€`: a lone m is a multiplier only before a counted thing.
        unit = "m".to_owned();
        end += 1;
        scale(&mut unit);
    }
    let sign_before = start.checked_sub(1).map_or("", word);
    if unit.is_empty() {
        if matches!(sign_before, "$" | "€" | "£") {
            unit = sign_before.to_owned();
        } else if pieces
            .get(end)
            .is_some_and(|p| p.is(&["$", "€", "£", "%"]) || p.kind == Kind::Word)
        {
            unit = word(end).to_owned();
            end += 1;
        } else if word(end) == "-" && pieces.get(end + 1).is_some_and(|p| p.kind == Kind::Word) {
            // `24-GB card`, `200-page documents`.
            unit = word(end + 1).to_owned();
            end += 2;
        }
    }
    let before_currency = start.checked_sub(2).map_or("", word);
    let negative = sign_before == "-"
        && !matches!(before_currency, "" | "-")
        && start
            .checked_sub(2)
            .is_some_and(|i| matches!(pieces[i].kind, Kind::Word | Kind::Sign))
        || (matches!(sign_before, "$" | "€") && before_currency == "-");
    Some(Amount {
        value,
        kilo,
        unit,
        start,
        end,
        negative,
    })
}

/// Words around an amount, within its part of the sentence.
pub(super) struct Around<'a> {
    /// Words before it, nearest first.
    pub(super) before: Vec<&'a str>,
    /// Words after it, nearest first, the unit not among them.
    pub(super) after: Vec<&'a str>,
}

/// Words considered on either side.
const REACH: usize = 7;

impl<'a> Around<'a> {
    pub(super) fn of(pieces: &'a [Piece], amount: &Amount) -> Self {
        let stops = |p: &&Piece| {
            p.is(&[",", ";", ".", "?", "!", "("]) || matches!(p.kind, Kind::Number { .. })
        };
        let take = |it: &mut dyn Iterator<Item = &'a Piece>| -> Vec<&'a str> {
            it.take(REACH)
                .take_while(|p| !stops(p))
                .map(|p| p.text.as_str())
                .collect()
        };
        Self {
            before: take(&mut pieces[..amount.start].iter().rev()),
            after: take(&mut pieces[amount.end.min(pieces.len())..].iter()),
        }
    }

    /// Whether one of these words stands near.
    pub(super) fn has(&self, words: &[&str]) -> bool {
        self.before
            .iter()
            .chain(&self.after)
            .any(|w| words.contains(w))
    }

    /// Whether one of these words follows, at most `within` words on.
    pub(super) fn follows(&self, words: &[&str], within: usize) -> bool {
        self.after.iter().take(within).any(|w| words.contains(w))
    }
}

/// How often an amount comes, from the words that follow: `/month`, `par jour`, `a year`.
pub(super) fn period_per_month(around: &Around<'_>) -> Option<Period> {
    around.after.iter().take(5).find_map(|w| match *w {
        "month" | "months" | "mo" | "mois" | "mth" | "monthly" | "mensuel" | "mensuels"
        | "mensuelle" => Some(Period::Month),
        "day" | "days" | "jour" | "jours" | "daily" | "d" | "j" | "quotidien" => Some(Period::Day),
        "hour" | "hours" | "h" | "hr" | "heure" | "heures" | "hourly" => Some(Period::Hour),
        "second" | "seconds" | "s" | "sec" | "seconde" | "secondes" => Some(Period::Second),
        "minute" | "minutes" | "min" => Some(Period::Minute),
        "year" | "years" | "yr" | "an" | "ans" | "annee" | "yearly" | "annuel" => {
            Some(Period::Year)
        }
        "week" | "weeks" | "semaine" | "semaines" | "weekly" => Some(Period::Week),
        _ => None,
    })
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    /// How often it comes in a month of 730 hours.
    pub(super) fn per_month(self) -> f64 {
        match self {
            Self::Second => 730.0 * 3600.0,
            Self::Minute => 730.0 * 60.0,
            Self::Hour => 730.0,
            Self::Day => 730.0 / 24.0,
            Self::Week => 730.0 / 168.0,
            Self::Month => 1.0,
            Self::Year => 1.0 / 12.0,
        }
    }
}
