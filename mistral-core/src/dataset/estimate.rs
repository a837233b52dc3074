//! Tokens of a text without a tokenizer.

/// The tokenizer that the weights imitate.
pub(crate) const LIKE: &str = "tekken v3 (131072 tokens)";
/// Largest relative error of a text's total among those that the weights were held against.
pub(crate) const RELATIVE_ERROR: f64 = 0.15;

/// Kinds of things that are counted.
pub(crate) const KINDS: usize = 12;

/// Thousandths of a token for each.
const WEIGHTS: [u64; KINDS] = [1000, 150, 1000, 600, 400, 50, 300, 500, 700, 900, 900, 900];

const WORDS: usize = 0;
const LONG: usize = 1;
const DIGITS: usize = 2;
const MARKS: usize = 3;
const LINES: usize = 4;
const SPACES: usize = 5;
const ACCENTS: usize = 6;
const GREEK_CYRILLIC: usize = 7;
const SEMITIC: usize = 8;
const CJK: usize = 9;
const HANGUL: usize = 10;
const OTHER: usize = 11;

/// Letters of a word that are in its first token.
const FIRST_LETTERS: u32 = 5;

/// About how many tokens a text has: a weighted sum of its words, the letters of long words, digits,
/// marks, lines and characters of other scripts. At least one unless the text is empty.
pub(crate) fn tokens(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    let sum: u64 = counts(text).iter().zip(WEIGHTS).map(|(n, w)| n * w).sum();
    (sum.saturating_add(500) / 1000).max(1)
}

/// How much of each kind a text has.
pub(crate) fn counts(text: &str) -> [u64; KINDS] {
    let mut counts = [0_u64; KINDS];
    let mut letters = 0_u32;
    let mut last = '\0';
    for c in text.chars() {
        let letter = c.is_ascii_alphabetic() || ('\u{c0}'..='\u{24f}').contains(&c);
        if letter {
            letters += 1;
            counts[WORDS] += u64::from(letters == 1);
            counts[LONG] += u64::from(letters > FIRST_LETTERS);
            counts[ACCENTS] += u64::from(!c.is_ascii());
        } else {
            letters = 0;
            match c {
                ' ' | '\t' => counts[SPACES] += u64::from(last == ' ' || last == '\t'),
                '\n' | '\r' => counts[LINES] += u64::from(last != '\n' && last != '\r'),
                '0'..='9' => counts[DIGITS] += 1,
                '\0'..='\u{bf}' => counts[MARKS] += 1,
                '\u{370}'..='\u{52f}' => counts[GREEK_CYRILLIC] += 1,
                '\u{590}'..='\u{77f}' => counts[SEMITIC] += 1,
                '\u{3000}'..='\u{9fff}' => counts[CJK] += 1,
                '\u{ac00}'..='\u{d7af}' => counts[HANGUL] += 1,
                _ => counts[OTHER] += 1,
            }
        }
        last = c;
    }
    counts
}
