//! The word of a corpus that was probably meant.

use super::words::Memo;
use std::collections::BTreeMap;

/// Shortest word that is taken for a slip.
const MIN_LETTERS: usize = 4;
/// From this length on two slips are forgiven.
const TWO_SLIPS: usize = 8;

/// Words of a corpus by their number of letters.
#[derive(Debug, Default)]
pub(crate) struct Spelling {
    by_letters: BTreeMap<usize, Vec<(String, String)>>,
}

impl Spelling {
    pub(crate) fn new(words: &Memo) -> Self {
        let mut by_letters: BTreeMap<usize, Vec<(String, String)>> = BTreeMap::new();
        for (plain, term) in words {
            let letters = plain.chars().count();
            by_letters
                .entry(letters)
                .or_default()
                .push((plain.clone(), term.clone()));
        }
        for words in by_letters.values_mut() {
            words.sort();
        }
        Self { by_letters }
    }

    /// The stem of the nearest word; of several the one that `count` says is the most frequent. None where
    /// the word has digits, is short, or is near to no other.
    pub(crate) fn nearest(&self, plain: &str, count: impl Fn(&str) -> u32) -> Option<&str> {
        let letters = plain.chars().count();
        if letters < MIN_LETTERS || plain.bytes().any(|b| b.is_ascii_digit()) {
            return None;
        }
        let slips = if letters >= TWO_SLIPS { 2 } else { 1 };
        let mut best: Option<(usize, std::cmp::Reverse<u32>, &str)> = None;
        for (word, term) in self
            .by_letters
            .range(letters - slips..=letters + slips)
            .flat_map(|(_, w)| w)
        {
            // The first letter is rarely wrong, and without it half of the neighbours are other words.
            if word.as_bytes().first() != plain.as_bytes().first() {
                continue;
            }
            let distance = strsim::osa_distance(plain, word);
            if distance > slips || best.is_some_and(|(nearest, ..)| distance > nearest) {
                continue;
            }
            let found = (distance, std::cmp::Reverse(count(term)), term.as_str());
            if best.is_none_or(|best| found < best) {
                best = Some(found);
            }
        }
        best.map(|(_, _, term)| term)
    }
}
