//! Words that may stand for each other: tables of this folder, compared by stems.

use super::words::{Cutter, Memo};
use std::collections::{BTreeMap, HashSet};

/// What a phrase may be called besides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// One word, by its stem.
    Word(String),
    /// Two neighbours, joined and stemmed; of a longer phrase each two of them.
    Pair(String),
}

/// Phrases and what they may mean, by the stem of their first word.
#[derive(Debug, Default)]
pub(crate) struct Lexicon {
    entries: BTreeMap<String, Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    stems: Vec<String>,
    names: Vec<Name>,
}

impl Lexicon {
    /// Reads lines `a, b` (each for each other) and `a, b > c, d` (those on the right for those on the left).
    /// Phrases on the left are stemmed by `from`, the others by `to`, whose words without meaning are `stop`.
    pub(crate) fn read(table: &str, from: &Cutter, to: &Cutter, stop: &HashSet<&str>) -> Self {
        let mut lexicon = Self::default();
        let (mut from_memo, mut to_memo) = (Memo::new(), Memo::new());
        let lines = table
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            let (left, right) = line.split_once('>').unwrap_or((line, line));
            let targets: Vec<(&str, Vec<Name>)> = phrases(right)
                .map(|phrase| (phrase, names(phrase, to, stop, &mut to_memo)))
                .collect();
            for phrase in phrases(left) {
                let stems: Vec<String> = from
                    .words(phrase, &mut from_memo)
                    .into_iter()
                    .filter(|word| !word.whole)
                    .map(|word| word.term)
                    .collect();
                let mut names: Vec<Name> = targets
                    .iter()
                    .filter(|(target, _)| *target != phrase)
                    .flat_map(|(_, names)| names.clone())
                    .collect();
                names.sort();
                names.dedup();
                if let Some(first) = stems.first() {
                    let entry = Entry {
                        stems: stems.clone(),
                        names,
                    };
                    lexicon
                        .entries
                        .entry(first.clone())
                        .or_default()
                        .push(entry);
                }
            }
        }
        lexicon
    }

    /// For each phrase that begins at the first of `stems`: its length, and what it may be called.
    pub(crate) fn find(&self, stems: &[&str]) -> Vec<(usize, Vec<Name>)> {
        let entries = stems.first().and_then(|first| self.entries.get(*first));
        let stands = |entry: &&Entry| {
            entry.stems.len() <= stems.len() && entry.stems.iter().zip(stems).all(|(a, b)| a == b)
        };
        let entries = entries.into_iter().flatten().filter(stands);
        entries
            .map(|entry| (entry.stems.len(), entry.names.clone()))
            .collect()
    }
}

fn phrases(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|phrase| !phrase.is_empty())
}

fn names(phrase: &str, cutter: &Cutter, stop: &HashSet<&str>, memo: &mut Memo) -> Vec<Name> {
    let words: Vec<_> = cutter
        .words(phrase, memo)
        .into_iter()
        .filter(|word| !word.whole && !stop.contains(word.plain.as_str()))
        .collect();
    match words.as_slice() {
        [] => Vec::new(),
        [word] => vec![Name::Word(word.term.clone())],
        words => words
            .windows(2)
            .map(|two| Name::Pair(cutter.pair(&two[0].plain, &two[1].plain, memo)))
            .collect(),
    }
}
