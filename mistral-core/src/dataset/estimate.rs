//! Tokens of a text without a tokenizer.

/// The tokenizer that the weights imitate.
pub(crate) const LIKE: &str = "tekken v3 (131072 tokens)";
/// Largest relative error of the total among the 44 texts that the weights are fitted to, of up to
/// 60,000 characters each: documentation in English and French, a play, Rust, Python, YAML and JSON,
/// and the messages of desktop programs in 35 languages. The mean is 0.083, and for documentation in
/// English and French at most 0.082. The worst were JSON, Japanese and Danish.
pub(crate) const RELATIVE_ERROR: f64 = 0.2;

/// Kinds of things that are counted.
const KINDS: usize = 13;

/// Thousandths of a token for each kind, in the order of the constants below: least squares of the
/// relative error over the texts named above, a digit held to at most 1.1 tokens and a line to 2.
const WEIGHTS: [u64; KINDS] = [
    627, 383, 1100, 695, 2000, 20, 784, 386, 386, 917, 743, 500, 466,
];

/// Words of Latin letters.
const WORDS: usize = 0;
/// Letters of a word behind its first four.
const LONG: usize = 1;
const DIGITS: usize = 2;
/// Runs of marks; a single mark before a word is of that word's token.
const MARKS: usize = 3;
const LINES: usize = 4;
/// Blanks behind another blank.
const SPACES: usize = 5;
const ACCENTS: usize = 6;
const GREEK_CYRILLIC: usize = 7;
const SEMITIC: usize = 8;
const CJK: usize = 9;
const HANGUL: usize = 10;
/// Scripts of India and its neighbours, Thai, Lao, Tibetan.
const SOUTH_ASIAN: usize = 11;
const OTHER: usize = 12;

const FIRST_LETTERS: u32 = 4;

/// About how many tokens a text has; at least one unless the text is empty.
pub(crate) fn tokens(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    let sum: u64 = counts(text).iter().zip(WEIGHTS).map(|(n, w)| n * w).sum();
    (sum.saturating_add(500) / 1000).max(1)
}

/// How much of each kind a text has.
fn counts(text: &str) -> [u64; KINDS] {
    let mut counts = [0_u64; KINDS];
    let (mut letters, mut marks) = (0_u32, 0_u32);
    let mut last = '\0';
    for c in text.chars() {
        let letter = c.is_ascii_alphabetic() || ('\u{c0}'..='\u{24f}').contains(&c);
        let mark = !letter && !c.is_ascii_digit() && ('!'..='\u{bf}').contains(&c);
        if !mark {
            counts[MARKS] += u64::from(marks > u32::from(letter));
        }
        marks = if mark { marks.saturating_add(1) } else { 0 };
        if letter {
            letters = letters.saturating_add(1);
            counts[WORDS] += u64::from(letters == 1);
            counts[LONG] += u64::from(letters > FIRST_LETTERS);
            counts[ACCENTS] += u64::from(!c.is_ascii());
        } else {
            letters = 0;
            match c {
                _ if mark => {}
                ' ' | '\t' => counts[SPACES] += u64::from(last == ' ' || last == '\t'),
                '\n' | '\r' => counts[LINES] += u64::from(last != '\n' && last != '\r'),
                '0'..='9' => counts[DIGITS] += 1,
                '\u{370}'..='\u{52f}' => counts[GREEK_CYRILLIC] += 1,
                '\u{590}'..='\u{77f}' => counts[SEMITIC] += 1,
                '\u{900}'..='\u{fff}' => counts[SOUTH_ASIAN] += 1,
                '\u{3000}'..='\u{9fff}' => counts[CJK] += 1,
                '\u{ac00}'..='\u{d7af}' => counts[HANGUL] += 1,
                _ => counts[OTHER] += 1,
            }
        }
        last = c;
    }
    counts[MARKS] += u64::from(marks > 0);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted() {
        let mut wrong = Vec::new();
        for (text, expected) in [
            ("", &[][..]),
            ("abcd efghij", &[(WORDS, 2), (LONG, 2)]),
            ("été", &[(WORDS, 1), (ACCENTS, 2)]),
            ("a 12  3", &[(WORDS, 1), (DIGITS, 3), (SPACES, 1)]),
            ("a.b ==c ++ d!", &[(WORDS, 4), (MARKS, 3)]),
            ("a\r\n\r\nb\n", &[(WORDS, 2), (LINES, 2)]),
            (
                "мир שלום 你好 안녕 नम",
                &[
                    (GREEK_CYRILLIC, 3),
                    (SEMITIC, 4),
                    (CJK, 2),
                    (HANGUL, 2),
                    (SOUTH_ASIAN, 2),
                ],
            ),
            ("🙂", &[(OTHER, 1)]),
        ] {
            let mut all = [0; KINDS];
            expected.iter().for_each(|(kind, n)| all[*kind] = *n);
            if counts(text) != all {
                wrong.push(format!("{text:?}: {:?}", counts(text)));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_text_has_a_token_and_an_empty_one_has_none() {
        assert_eq!((tokens(""), tokens(" "), tokens("a")), (0, 1, 1));
        // Ten words and three marks, four times.
        let text = "To be, or not to be, that is the question: ".repeat(4);
        assert!((35..=70).contains(&tokens(&text)), "{}", tokens(&text));
    }
}
