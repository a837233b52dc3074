//! Numbers with their units and the words around them.

use super::pieces::{Kind, MINUS, Piece};

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

/// A number while its multipliers are applied.
struct Scaled {
    value: f64,
    kilo: bool,
    unit: String,
}

impl Scaled {
    /// Applies the multiplier that the unit is or begins with (`k`, `k€`).
    fn scale(&mut self) {
        if let Some(m) = multiplier(&self.unit) {
            self.value *= m;
            self.kilo |= self.unit == "k";
            self.unit.clear();
        } else if let Some(rest) = self
            .unit
            .strip_prefix('k')
            .filter(|r| matches!(*r, "eur" | "usd" | "tokens"))
        {
            self.value *= 1e3;
            self.kilo = true;
            self.unit = rest.to_owned();
        }
    }
}

fn amount_at(pieces: &[Piece], start: usize) -> Option<Amount> {
    let word = |i: usize| pieces.get(i).map_or("", |p| p.text.as_str());
    let before = |n: usize| start.checked_sub(n).map_or("", word);
    let mut end = start + 1;
    let (value, suffix) = match &pieces[start].kind {
        Kind::Number { value, suffix } => (*value, suffix.as_str()),
        Kind::Word => match small_number(&pieces[start]) {
            Some(value) => (value, ""),
            None => {
                let (value, unit) = part_of_time(pieces, start)?;
                end = unit;
                (value, "")
            }
        },
        _ => return None,
    };
    let mut read = Scaled {
        value,
        kilo: false,
        unit: suffix.to_owned(),
    };
    read.scale();
    if read.unit.is_empty() && multiplier(word(end)).is_some() {
        read.unit = word(end).to_owned();
        end += 1;
        read.scale();
    }
    if read.unit.is_empty() {
        if matches!(
            before(1),
            "$" | "€" | "£" | "¥" | "₹" | "usd" | "eur" | "gbp" | "chf"
        ) {
            read.unit = before(1).to_owned();
        } else {
            let (unit, after) = unit_at(pieces, end);
            read.unit = unit.to_owned();
            end = after;
        }
    }
    let signs = ["$", "€", "£", "¥", "₹"];
    Some(Amount {
        value: read.value,
        kilo: read.kilo,
        unit: read.unit,
        start,
        end,
        negative: before(1) == MINUS || signs.contains(&before(1)) && before(2) == MINUS,
    })
}

/// `half a second`, and `a second` where a limit is given; with the position of the unit.
fn part_of_time(pieces: &[Piece], start: usize) -> Option<(f64, usize)> {
    let is = |i: usize, words: &[&str]| pieces.get(i).is_some_and(|p| p.is(words));
    let time = |i: usize| is(i, &["second", "seconde", "minute"]);
    let a = &["a", "an", "une"];
    if is(start, &["half", "demi"]) {
        let skipped = usize::from(is(start + 1, &["a", "an", "-"]));
        return time(start + 1 + skipped).then_some((0.5, start + 1 + skipped));
    }
    let limited = start.checked_sub(1).is_some_and(|before| {
        let limits = [
            "under", "below", "within", "than", "in", "en", "d", "sous", "<",
        ];
        is(before, &limits)
    });
    (limited && is(start, a) && time(start + 1)).then_some((1.0, start + 1))
}

/// The unit that stands at `at`, which may follow a hyphen, and the position after it.
fn unit_at(pieces: &[Piece], at: usize) -> (&str, usize) {
    let word = |i: usize| pieces.get(i).map_or("", |p| p.text.as_str());
    let is_word = |i: usize| pieces.get(i).is_some_and(|p| p.kind == Kind::Word);
    let number = |i: usize| {
        pieces
            .get(i)
            .is_some_and(|p| matches!(p.kind, Kind::Number { .. }))
    };
    // `2 to 4 cards` is a range, though `to` is also French for a terabyte.
    if word(at) == "to" && number(at + 1) {
        ("", at)
    } else if is_word(at) || matches!(word(at), "$" | "€" | "£" | "¥" | "₹" | "%") {
        (word(at), at + 1)
    } else if word(at) == "-" && is_word(at + 1) {
        // `24-GB card`, `200-page documents`.
        (word(at + 1), at + 2)
    } else {
        ("", at)
    }
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
    let after = &around.after;
    after.iter().take(5).enumerate().find_map(|(i, word)| {
        let each = i.checked_sub(1).is_some_and(|before| {
            matches!(after[before], "/" | "per" | "par" | "a" | "l" | "chaque")
        });
        // Alone these are an article and letters.
        let alone = matches!(*word, "an" | "d" | "j") && !each;
        Period::of(word).filter(|_| !alone)
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
    /// The span that a word names.
    pub(super) fn of(word: &str) -> Option<Self> {
        match word {
            "month" | "months" | "mo" | "mois" | "mth" | "monthly" | "mensuel" | "mensuels"
            | "mensuelle" => Some(Self::Month),
            "day" | "days" | "jour" | "jours" | "daily" | "d" | "j" | "quotidien" => {
                Some(Self::Day)
            }
            "hour" | "hours" | "h" | "hr" | "heure" | "heures" | "hourly" => Some(Self::Hour),
            "second" | "seconds" | "s" | "sec" | "seconde" | "secondes" => Some(Self::Second),
            "minute" | "minutes" | "min" => Some(Self::Minute),
            "year" | "years" | "yr" | "an" | "ans" | "annee" | "yearly" | "annuel" => {
                Some(Self::Year)
            }
            "week" | "weeks" | "semaine" | "semaines" | "weekly" => Some(Self::Week),
            _ => None,
        }
    }

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
