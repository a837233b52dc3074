//! A question as concepts: each a word that was asked for and what may stand for it.

use super::lexicon::Name;
use super::side::{Lists, Side};
use super::words::{Cutter, Memo, Word};
use std::collections::BTreeMap;

/// Most words of a question that are looked at; what follows (a pasted log) is not.
const MAX_WORDS: usize = 96;
/// Most letters of a question that are read.
const MAX_LETTERS: usize = 4000;

/// What an identifier in one piece counts beside its parts, and a word that says little.
const WEAK: f32 = 0.6;
const SPELLED: f32 = 0.85;
const SYNONYM: f32 = 0.7;
const PHRASE: f32 = 0.7;
/// What a phrase counts that may be called otherwise, beside its words.
const OTHERWISE: f32 = 0.9;
const TRANSLATED: f32 = 0.9;
/// What a synonym of a translation keeps.
const SECOND_HAND: f32 = 0.4;
/// What a pair of neighbours counts.
const PAIR: f32 = 0.5;

/// One way in which a concept may be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alternative {
    pub(crate) name: Name,
    /// 1 for what was asked, less for what may stand for it.
    pub(crate) weight: f32,
}

/// One thing asked for.
#[derive(Debug, Clone)]
pub(crate) struct Concept {
    pub(crate) alternatives: Vec<Alternative>,
    /// How much it counts.
    pub(crate) weight: f32,
    /// Whether a page without it lacks something.
    pub(crate) asked: bool,
}

impl Concept {
    fn new(weight: f32, asked: bool) -> Self {
        Self {
            alternatives: Vec::new(),
            weight,
            asked,
        }
    }

    fn add(&mut self, name: Name, weight: f32) {
        match self.alternatives.iter_mut().find(|a| a.name == name) {
            Some(there) => there.weight = there.weight.max(weight),
            None => self.alternatives.push(Alternative { name, weight }),
        }
    }
}

/// Whether a question is French.
pub(crate) fn is_french(question: &str) -> bool {
    const FRENCH: &[&str] = &[
        "le", "la", "les", "un", "une", "des", "du", "de", "et", "est", "où", "comment", "quel",
        "quelle", "quels", "quelles", "pour", "mon", "mes", "ma", "dans", "avec", "sur", "je",
        "il", "que", "qui", "pourquoi", "peut", "puis", "au", "aux", "ce", "cette", "ne", "pas",
        "sont", "combien", "en", "à", "nous", "vous", "notre", "son", "sa", "ses",
    ];
    const ENGLISH: &[&str] = &[
        "the", "a", "an", "of", "and", "is", "are", "how", "what", "which", "where", "for", "my",
        "in", "with", "i", "it", "that", "who", "why", "can", "to", "do", "does", "not", "on",
        "when", "from",
    ];
    let lower = question.to_lowercase().replace(['\'', '’'], " ");
    let count = |list: &[&str]| {
        lower
            .split_whitespace()
            .filter(|word| list.contains(word))
            .count()
    };
    let accents = lower.chars().filter(|c| "éèêàùçôîœ".contains(*c)).count();
    count(FRENCH) + accents.min(2) > count(ENGLISH)
}

/// The concepts of `question` as `side` may write them.
pub(crate) fn concepts(question: &str, french: bool, side: &Side, lists: &Lists) -> Vec<Concept> {
    let end = question
        .char_indices()
        .nth(MAX_LETTERS)
        .map_or(question.len(), |(at, _)| at);
    let mut memo = Memo::new();
    let mut words = side.cutter.words(&question[..end], &mut memo);
    words.truncate(MAX_WORDS);
    let mut query = Query {
        side,
        lists,
        concepts: Vec::new(),
        of_word: Vec::new(),
        meant: BTreeMap::new(),
    };
    for word in &words {
        query.word(word);
    }
    let plain: Vec<(usize, &Word)> = words.iter().enumerate().filter(|(_, w)| !w.whole).collect();
    if french && side.language == "en" {
        query.translate(&plain);
    } else if !french {
        query.synonyms(&plain);
    }
    query.pairs(&plain, &mut memo);
    query
        .concepts
        .retain(|concept| !concept.alternatives.is_empty());
    query.concepts
}

struct Query<'a> {
    side: &'a Side,
    lists: &'a Lists,
    concepts: Vec<Concept>,
    /// For each word its concept.
    of_word: Vec<Option<usize>>,
    /// Stems of words that no page has, and those of the words they were taken for.
    meant: BTreeMap<String, String>,
}

impl Query<'_> {
    fn word(&mut self, word: &Word) {
        let letters = word.plain.chars().count();
        let digit = word.plain.starts_with(|c: char| c.is_ascii_digit());
        if self.lists.stop.contains(word.plain.as_str()) || letters == 1 && !digit {
            self.of_word.push(None);
            return;
        }
        let name = Name::Word(word.term.clone());
        let there = self
            .concepts
            .iter()
            .position(|c| c.alternatives.first().is_some_and(|a| a.name == name));
        if let Some(there) = there {
            self.of_word.push(Some(there));
            return;
        }
        let weak = word.whole || self.lists.weak.contains(word.plain.as_str());
        let mut concept = Concept::new(if weak { WEAK } else { 1.0 }, !word.whole);
        concept.add(name, 1.0);
        concept.add(Name::Pair(word.term.clone()), 0.9);
        if !word.whole && !self.side.knows(&word.plain) {
            let count = |term: &str| self.side.count(&Name::Word(term.to_owned()));
            if count(&word.term) == 0
                && let Some(meant) = self.side.spelling.nearest(&word.plain, count)
            {
                concept.add(Name::Word(meant.to_owned()), SPELLED);
                self.meant.insert(word.term.clone(), meant.to_owned());
            }
        }
        self.of_word.push(Some(self.concepts.len()));
        self.concepts.push(concept);
    }

    fn synonyms(&mut self, words: &[(usize, &Word)]) {
        // What was misspelled has the synonyms of what was meant.
        let stems: Vec<String> = words
            .iter()
            .map(|(_, word)| self.meant.get(&word.term).unwrap_or(&word.term).clone())
            .collect();
        let stems: Vec<&str> = stems.iter().map(String::as_str).collect();
        for from in 0..stems.len() {
            for (length, names) in self.side.synonyms.find(&stems[from..]) {
                let weight = if length > 1 { PHRASE } else { SYNONYM };
                let at: Vec<usize> = words[from..from + length]
                    .iter()
                    .map(|(at, _)| *at)
                    .collect();
                self.also(&at, &names, weight);
            }
        }
    }

    /// Adds names to the concepts of some words; where none has one, they are a concept of their own.
    fn also(&mut self, words: &[usize], names: &[Name], weight: f32) {
        let concepts: Vec<usize> = words.iter().filter_map(|at| self.of_word[*at]).collect();
        for concept in &concepts {
            for name in names {
                self.concepts[*concept].add(name.clone(), weight);
            }
        }
        // Its words may be frequent where what it may be called is rare.
        if concepts.is_empty() || words.len() > 1 {
            let mut concept = Concept::new(OTHERWISE, false);
            for name in names {
                concept.add(name.clone(), weight);
            }
            self.concepts.push(concept);
        }
    }

    fn translate(&mut self, words: &[(usize, &Word)]) {
        let cutter = Cutter::new("fr");
        let mut memo = Memo::new();
        let stems: Vec<String> = words
            .iter()
            .map(|(_, w)| cutter.term(&w.plain, &mut memo))
            .collect();
        let stems: Vec<&str> = stems.iter().map(String::as_str).collect();
        for from in 0..stems.len() {
            for (length, names) in self.side.french.find(&stems[from..]) {
                let at: Vec<usize> = words[from..from + length]
                    .iter()
                    .map(|(at, _)| *at)
                    .collect();
                self.also(&at, &names, TRANSLATED);
                for name in &names {
                    let Name::Word(term) = name else { continue };
                    for (_, second) in self.side.synonyms.find(&[term.as_str()]) {
                        self.also(&at, &second, SECOND_HAND);
                    }
                }
            }
        }
    }

    /// Neighbours of the question that are neighbours in the text.
    fn pairs(&mut self, words: &[(usize, &Word)], memo: &mut Memo) {
        let told: Vec<&Word> = words
            .iter()
            .filter(|(at, _)| self.of_word[*at].is_some())
            .map(|(_, word)| *word)
            .collect();
        for two in told.windows(2) {
            let pair = self.side.cutter.pair(&two[0].plain, &two[1].plain, memo);
            let mut concept = Concept::new(PAIR, false);
            concept.add(Name::Pair(pair.clone()), 1.0);
            concept.add(Name::Word(pair), 1.0);
            self.concepts.push(concept);
        }
    }
}
