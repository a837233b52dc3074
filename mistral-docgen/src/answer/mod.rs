//! Questions answered from pages: an index of sections, the pages that fit best, and what they say, with where
//! they say it. What the pages don't answer is told as not covered.
//!
//! The words of a question are compared by stems, identifiers whole and in parts; misspelled ones are taken for
//! the nearest word of the pages; tables say what people call things that documentation calls otherwise, and
//! what French questions are about in English. Sections and pages are scored together (BM25F).
//!
//! ```
//! use mistral_docgen::{answer::Answers, corpus::Corpus};
//!
//! let corpus = Corpus::from_texts("en", [
//!     ("keys.md", "# API keys\n\n## Rotate a key\n\nRevoke the old key and create a new one.\n"),
//!     ("ocr.md", "# Reading scans\n\nTables of scanned pages become HTML.\n"),
//! ]);
//! let answers = Answers::new(corpus)?;
//! let answer = answers.ask("how do i rotate my api key");
//! assert_eq!(answer.hits[0].path, "keys.md");
//! assert_eq!(answer.quotes[0].anchor, "rotate-a-key");
//! assert!(!answers.ask("recipe for apple pie").covered);
//! # Ok::<(), mistral_docgen::DocgenError>(())
//! ```

mod lexicon;
mod postings;
mod query;
mod quote;
mod search;
mod side;
mod spelling;
mod words;

pub use quote::Quote;

use crate::DocgenError;
use crate::corpus::{Corpus, CorpusPage};
use query::Concept;
use search::Found;
use serde::Serialize;
use side::{Lists, Side};
use std::collections::{BTreeMap, BTreeSet};

/// Most pages that an answer lists.
const MAX_HITS: usize = 10;
/// Log-odds below which a question counts as not covered; of the 134 questions it was fitted on, 8 lie below.
const COVERED: f32 = -0.5;

/// Pages that can be asked.
pub struct Answers {
    corpus: Corpus,
    sides: Vec<Side>,
    lists: Lists,
}

/// What the pages say to a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Whether the pages answer it; where not, `quotes` is empty and `hits` are the nearest pages.
    pub covered: bool,
    /// How likely the first page answers, 0 to 1.
    pub confidence: f32,
    /// The language that the question was taken for: `en` or `fr`.
    pub language: String,
    /// Up to ten pages, the best first.
    pub hits: Vec<Hit>,
    /// What the best sections say, as it stands there.
    pub quotes: Vec<Quote>,
}

/// A page that fits a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// Its path; translations share it.
    pub path: String,
    /// Its title.
    pub title: String,
    /// The language in which it fits best.
    pub language: String,
    /// The fragment of its best section; empty for the top of the page.
    pub anchor: String,
    /// More is better; comparable within an answer.
    pub score: f32,
}

/// What is asked of one side.
struct Asked<'a> {
    side: &'a Side,
    concepts: Vec<Concept>,
}

/// A page and where it was found.
struct Ranked<'a> {
    asked: &'a Asked<'a>,
    found: Found,
    page: &'a CorpusPage,
}

impl Answers {
    /// Indexes all pages, in memory.
    ///
    /// # Errors
    /// [`DocgenError::Index`] where the index can't be built.
    pub fn new(corpus: Corpus) -> Result<Self, DocgenError> {
        let lists = Lists::default();
        let languages: BTreeSet<&str> = corpus.pages.iter().map(|p| p.language.as_str()).collect();
        let sides = languages
            .into_iter()
            .map(|language| Side::new(language, &corpus.pages, &lists.stop))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            corpus,
            sides,
            lists,
        })
    }

    /// Answers `question`, of which the first 4,000 letters are read.
    #[must_use]
    pub fn ask(&self, question: &str) -> Answer {
        let french = query::is_french(question);
        let asked = self.concepts(question, french);
        let ranked = self.rank(&asked);
        let odds = ranked
            .first()
            .map_or(f32::NEG_INFINITY, |best| best.found.odds());
        let covered = odds >= COVERED;
        let hits = ranked.iter().take(MAX_HITS).map(|ranked| {
            let section = &ranked.asked.side.sections[ranked.found.section];
            Hit {
                path: ranked.page.page.path.clone(),
                title: ranked.page.page.title.clone(),
                language: ranked.page.language.clone(),
                anchor: ranked.page.page.sections[section.section].anchor.clone(),
                score: ranked.found.score(),
            }
        });
        let hits = hits.collect();
        let mut quotes = Vec::new();
        if covered {
            for ranked in ranked.iter().take(2) {
                let Asked { side, concepts } = ranked.asked;
                let section = side.sections[ranked.found.section].section;
                quotes.extend(quote::quote(&ranked.page.page, section, side, concepts));
            }
        }
        Answer {
            covered,
            confidence: 1.0 / (1.0 + (-odds).exp()),
            language: if french { "fr" } else { "en" }.to_owned(),
            hits,
            quotes,
        }
    }

    /// The concepts of a question for each side that is searched: English pages for any question where there are
    /// some, French ones for those in French.
    fn concepts(&self, question: &str, french: bool) -> Vec<Asked<'_>> {
        let english = !french && self.sides.len() > 1;
        let sides = self
            .sides
            .iter()
            .filter(|side| !english || side.language == "en");
        sides
            .map(|side| Asked {
                side,
                concepts: query::concepts(question, french, side, &self.lists),
            })
            .collect()
    }

    /// Pages that have something of the question, the best first; of translations the one that fits better.
    fn rank<'a>(&'a self, asked: &'a [Asked<'a>]) -> Vec<Ranked<'a>> {
        let mut best: BTreeMap<&str, Ranked<'_>> = BTreeMap::new();
        for asked in asked {
            for found in search::search(asked.side, &asked.concepts) {
                let page = &self.corpus.pages[asked.side.pages[found.page].page];
                let path = page.page.path.as_str();
                let better = |there: &Ranked<'_>| found.score() > there.found.score();
                if best.get(path).is_none_or(better) {
                    best.insert(path, Ranked { asked, found, page });
                }
            }
        }
        let mut ranked: Vec<Ranked<'_>> = best.into_values().collect();
        ranked.sort_by(|a, b| b.found.score().total_cmp(&a.found.score()));
        ranked
    }
}
