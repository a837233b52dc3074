//! A text as pieces: words, numbers and signs, without case and accents.

/// One piece of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    /// Lower case, without accents.
    pub(super) text: String,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a piece is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Letters, perhaps with digits after them (`a100`).
    Word,
    /// A number with the letters glued to it (`24gb` is 24 and `gb`).
    Number {
        /// Its value.
        value: f64,
        /// The letters.
        suffix: String,
    },
    /// A sign that means something: a currency, a comparison, a full stop, [`MINUS`].
    Sign,
    /// A device of the table.
    Device(String),
    /// A model of the catalogue.
    Model(String),
}

/// The text of a minus before a number; other hyphens and dashes are `-`.
pub(super) const MINUS: &str = "minus";

const CURRENCIES: &str = "$€£¥₹";

impl Piece {
    fn sign(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            kind: Kind::Sign,
        }
    }

    fn word(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            kind: Kind::Word,
        }
    }

    pub(super) fn is(&self, words: &[&str]) -> bool {
        words.contains(&self.text.as_str())
    }
}

/// Lower case, accents removed, typographic signs replaced by plain ones, `don't` as `do not`.
pub(super) fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        match c {
            'à' | 'â' | 'ä' | 'á' | 'ã' => out.push('a'),
            'é' | 'è' | 'ê' | 'ë' => out.push('e'),
            'î' | 'ï' | 'í' => out.push('i'),
            'ô' | 'ö' | 'ó' => out.push('o'),
            'ù' | 'û' | 'ü' | 'ú' => out.push('u'),
            'ç' => out.push('c'),
            'œ' => out.push_str("oe"),
            '×' => out.push('x'),
            '’' | '‘' | '`' => out.push('\''),
            '–' | '—' | '‑' | '−' => out.push('-'),
            '≤' => out.push('<'),
            '≥' => out.push('>'),
            '\u{a0}' | '\u{202f}' | '\u{2009}' => out.push(' '),
            // Combining accents of decomposed text.
            '\u{300}'..='\u{36f}' => {}
            c => out.push(c),
        }
    }
    out.replace("n't", " not")
}

/// Cuts a folded text.
pub(super) fn cut(folded: &str) -> Vec<Piece> {
    let chars: Vec<char> = folded.chars().collect();
    let mut pieces = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if c.is_alphanumeric() {
            let start = i;
            while i < chars.len() && continues(&chars, i) {
                i += 1;
            }
            pieces.push(word_or_number(chars[start..i].iter().collect()));
        } else {
            if is_minus(&chars, i) {
                pieces.push(Piece::sign(MINUS));
            } else if CURRENCIES.contains(c) || "<>/%;.,:?!+-(".contains(c) {
                pieces.push(Piece::sign(c));
            }
            i += 1;
        }
    }
    per_million(join_thousands(pieces))
}

/// A hyphen that stands apart from what is before it and is glued to an amount; `a - 5`, `2-4` and
/// `24-GB` have other hyphens.
fn is_minus(chars: &[char], i: usize) -> bool {
    let amount = |c: &char| c.is_ascii_digit() || CURRENCIES.contains(*c);
    let apart = i.checked_sub(1).is_none_or(|before| {
        chars[before].is_whitespace() || chars[before] == '(' || CURRENCIES.contains(chars[before])
    });
    chars[i] == '-' && apart && chars.get(i + 1).is_some_and(amount)
}

fn continues(chars: &[char], i: usize) -> bool {
    let digit = |i: usize| chars.get(i).is_some_and(char::is_ascii_digit);
    chars[i].is_alphanumeric()
        || (matches!(chars[i], '.' | ',') && i > 0 && digit(i - 1) && digit(i + 1))
}

fn word_or_number(text: String) -> Piece {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',')
        .unwrap_or(text.len());
    let exponent = text[digits..]
        .strip_prefix('e')
        .is_some_and(|e| !e.is_empty() && e.len() <= 3 && e.bytes().all(|b| b.is_ascii_digit()));
    if let (true, Ok(value)) = (exponent, text.parse::<f64>()) {
        let value = value.min(f64::MAX);
        let suffix = String::new();
        return Piece {
            text,
            kind: Kind::Number { value, suffix },
        };
    }
    let kind = match number(&text[..digits]) {
        Some(value) => Kind::Number {
            value,
            suffix: text[digits..].to_owned(),
        },
        None => Kind::Word,
    };
    Piece { text, kind }
}

/// `1,000` and `1.000.000` are thousands; `0,5`, `1.5` and `1.000` alone are decimal, except a
/// comma before exactly three digits.
fn number(text: &str) -> Option<f64> {
    if text.is_empty() || text.len() > 40 {
        return None;
    }
    let commas = text.matches(',').count();
    let dots = text.matches('.').count();
    let groups = |sep: char| {
        let mut parts = text.split(sep);
        let first = parts.next().unwrap_or_default();
        (1..=3).contains(&first.len()) && first != "0" && parts.all(|p| p.len() == 3)
    };
    let plain = if commas > 0 && dots > 0 {
        // The last separator is the decimal one.
        match text.rfind(',') > text.rfind('.') {
            true => text.replace('.', "").replace(',', "."),
            false => text.replace(',', ""),
        }
    } else if commas > 0 && groups(',') {
        text.replace(',', "")
    } else if dots > 1 && groups('.') {
        text.replace('.', "")
    } else {
        text.replace(',', ".")
    };
    plain.parse::<f64>().ok().filter(|v| v.is_finite())
}

/// Joins `8 000` and `1 200 000`: one to three digits, then groups of three.
fn join_thousands(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::with_capacity(pieces.len());
    // Whether the last piece is itself a joined number, which takes further groups.
    let mut open = false;
    for piece in pieces {
        let digits = piece.text.bytes().take_while(u8::is_ascii_digit).count();
        let joined = match (out.last_mut(), &piece.kind) {
            (Some(last), Kind::Number { value: low, suffix })
                if digits == 3 && low.fract() == 0.0 =>
            {
                let plain =
                    last.text.bytes().all(|b| b.is_ascii_digit()) && !last.text.starts_with('0');
                match &last.kind {
                    Kind::Number { value, .. } if plain && (open || last.text.len() <= 3) => {
                        let value = value * 1000.0 + low;
                        last.text.push_str(&piece.text);
                        last.kind = Kind::Number {
                            value,
                            suffix: suffix.clone(),
                        };
                        true
                    }
                    _ => false,
                }
            }
            _ => false,
        };
        open = joined;
        if !joined {
            out.push(piece);
        }
    }
    out
}

/// `per 1M tokens` and `/ 1000 tokens` as `per million tokens` and `/ ktok tokens`: what a price is
/// for is no amount of its own.
fn per_million(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::with_capacity(pieces.len());
    let mut rest = pieces.into_iter().peekable();
    while let Some(piece) = rest.next() {
        let per = out.last().is_some_and(|p| p.is(&["per", "/", "par"]));
        let (value, suffix) = match &piece.kind {
            Kind::Number { value, suffix } if per => (*value, suffix.as_str()),
            _ => (0.0, ""),
        };
        let tokens = rest.peek().is_some_and(|p| p.is(&["tokens", "jetons"]));
        let scale = rest
            .peek()
            .is_some_and(|p| p.is(&["million", "millions", "m", "thousand", "mille", "k"]));
        if value == 1.0 && suffix.is_empty() && scale {
            continue;
        }
        if (value == 1.0 && matches!(suffix, "m" | "mtok" | "mtoks"))
            || (value == 1e6 && suffix.is_empty() && tokens)
        {
            out.push(Piece::word("million"));
        } else if (per && piece.is(&["thousand", "mille"])
            || value == 1.0 && suffix == "k"
            || value == 1e3 && suffix.is_empty())
            && tokens
        {
            out.push(Piece::word("ktok"));
        } else {
            out.push(piece);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<(f64, String)> {
        cut(&fold(text))
            .into_iter()
            .filter_map(|p| match p.kind {
                Kind::Number { value, suffix } => Some((value, suffix)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn numbers_of_both_languages() {
        for (text, expected) in [
            ("1,000", vec![(1000.0, "")]),
            ("0,5 €", vec![(0.5, "")]),
            ("1.5k", vec![(1.5, "k")]),
            ("8 000 utilisateurs", vec![(8000.0, "")]),
            ("8\u{202f}000 €", vec![(8000.0, "")]),
            ("1 200 000 tokens", vec![(1_200_000.0, "")]),
            ("24GB and 32k", vec![(24.0, "gb"), (32.0, "k")]),
            ("1e12", vec![(1e12, "")]),
            ("1e999", vec![(f64::MAX, "")]),
            ("1.234,5", vec![(1234.5, "")]),
            ("1,234.5", vec![(1234.5, "")]),
            ("two 4090 500 euros", vec![(4090.0, ""), (500.0, "")]),
        ] {
            let expected: Vec<(f64, String)> = expected
                .into_iter()
                .map(|(v, s)| (v, s.to_owned()))
                .collect();
            assert_eq!(numbers(text), expected, "{text}");
        }
    }

    #[test]
    fn words_lose_case_and_accents() {
        let words: Vec<String> = cut(&fold("Génération d’œuvres, A100 ≤ 3"))
            .into_iter()
            .map(|p| p.text)
            .collect();
        assert_eq!(words, ["generation", "d", "oeuvres", ",", "a100", "<", "3"]);
    }

    #[test]
    fn hyphens_and_prices() {
        let texts = |text: &str| {
            let pieces = cut(&fold(text)).into_iter().map(|p| p.text);
            pieces.collect::<Vec<_>>().join(" ")
        };
        for (text, expected) in [
            ("bot - $5", "bot - $ 5"),
            ("bot, -$5", "bot , minus $ 5"),
            ("-5 users, 2-4 cards", "minus 5 users , 2 - 4 cards"),
            ("we don't", "we do not"),
            ("$1 per 1M tokens", "$ 1 per million tokens"),
            ("$1/1 million tokens", "$ 1 / million tokens"),
            ("$1 per 1k tokens", "$ 1 per ktok tokens"),
            ("1000 tokens", "1000 tokens"),
        ] {
            assert_eq!(texts(text), expected, "{text}");
        }
    }
}
