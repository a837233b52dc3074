//! The pages of one language, ready to be searched.

use super::lexicon::Lexicon;
use super::postings::{Builder, Place, Postings, Terms};
use super::spelling::Spelling;
use super::words::{Cutter, Memo, Word};
use crate::DocgenError;
use crate::corpus::CorpusPage;
use crate::markdown::{BlockKind, Page, Section};
use std::collections::HashSet;

/// Words that are treated apart.
pub(crate) struct Lists {
    /// Said in any question.
    pub(crate) stop: HashSet<&'static str>,
    /// Said on many pages.
    pub(crate) weak: HashSet<&'static str>,
}

impl Default for Lists {
    fn default() -> Self {
        let words = |text: &'static str| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.flat_map(str::split_whitespace).collect()
        };
        Self {
            stop: words(include_str!("data/stop.txt")),
            weak: words(include_str!("data/weak.txt")),
        }
    }
}

/// A section of a page.
pub(crate) struct SectionEntry {
    /// Position of its page in [`Side::pages`].
    pub(crate) page: usize,
    /// Position within its page.
    pub(crate) section: usize,
    /// Words of its text; those of code count half.
    pub(crate) length: f32,
}

/// A page.
pub(crate) struct PageEntry {
    /// Position in the corpus.
    pub(crate) page: usize,
    /// Stems of its title.
    pub(crate) title: Vec<String>,
    /// Words of its text.
    pub(crate) length: f32,
}

/// One language of a corpus.
pub(crate) struct Side {
    pub(crate) language: String,
    pub(crate) cutter: Cutter,
    pub(crate) postings: Postings,
    pub(crate) sections: Vec<SectionEntry>,
    pub(crate) pages: Vec<PageEntry>,
    pub(crate) spelling: Spelling,
    /// For questions in this language.
    pub(crate) synonyms: Lexicon,
    /// For questions in French, where this side is English.
    pub(crate) french: Lexicon,
    pub(crate) section_length: f32,
    pub(crate) page_length: f32,
    words: Memo,
}

impl Side {
    pub(crate) fn new(
        language: &str,
        corpus: &[CorpusPage],
        stop: &HashSet<&str>,
    ) -> Result<Self, DocgenError> {
        let cutter = Cutter::new(language);
        let mut reader = Reader {
            cutter: &cutter,
            stop,
            memo: Memo::new(),
            pairs: Memo::new(),
        };
        let mut builder = Builder::new()?;
        let (mut sections, mut pages) = (Vec::new(), Vec::new());
        for (position, page) in corpus.iter().enumerate() {
            if page.language != language {
                continue;
            }
            let page = &page.page;
            let (number, mut length) = (pages.len(), 0.0);
            let shared = reader.page(page);
            for (section, content) in page.sections.iter().enumerate() {
                let empty = content.blocks.is_empty() && content.heading.is_empty();
                // A page of which only the title can be read is found by that.
                if empty && page.sections.len() > 1 {
                    continue;
                }
                let (terms, words) = reader.section(shared.clone(), content);
                builder.add(terms)?;
                sections.push(SectionEntry {
                    page: number,
                    section,
                    length: words,
                });
                length += words;
            }
            let title = reader.stems(&page.title);
            pages.push(PageEntry {
                page: position,
                title,
                length,
            });
        }
        let words = reader.memo;
        let mean = |sum: f32, count: usize| (sum / count.max(1) as f32).max(1.0);
        let total: f32 = pages.iter().map(|page| page.length).sum();
        let english = language == "en";
        let table = |text, from: &Cutter| {
            let text = if english { text } else { "" };
            Lexicon::read(text, from, &cutter, stop)
        };
        Ok(Self {
            language: language.to_owned(),
            postings: builder.finish()?,
            section_length: mean(total, sections.len()),
            page_length: mean(total, pages.len()),
            sections,
            pages,
            spelling: Spelling::new(&words),
            synonyms: table(include_str!("data/synonyms.txt"), &cutter),
            french: table(include_str!("data/french.txt"), &Cutter::new("fr")),
            words,
            cutter,
        })
    }

    /// Whether a word stands in the corpus as it is.
    pub(crate) fn knows(&self, plain: &str) -> bool {
        self.words.contains_key(plain)
    }
}

struct Reader<'a> {
    cutter: &'a Cutter,
    stop: &'a HashSet<&'a str>,
    memo: Memo,
    pairs: Memo,
}

impl Reader<'_> {
    /// What all sections of a page have above them.
    fn page(&mut self, page: &Page) -> Terms {
        let mut terms = Terms::default();
        self.text(&page.title, Place::Above, Some(Place::HeadPair), &mut terms);
        self.text(&page.description, Place::Above, None, &mut terms);
        let name = page.path.rsplit_once('.');
        let path = name.map_or(page.path.as_str(), |(path, _)| path);
        self.text(&path.replace('/', " "), Place::Above, None, &mut terms);
        terms
    }

    /// The terms of a section beside those of its page, and the length of its text.
    fn section(&mut self, mut terms: Terms, section: &Section) -> (Terms, f32) {
        let pairs = Some(Place::HeadPair);
        self.text(&section.heading, Place::Heading, pairs, &mut terms);
        for heading in &section.trail {
            self.text(heading, Place::Above, None, &mut terms);
        }
        let mut length = 0.0;
        for block in &section.blocks {
            let before = terms.count(Place::Body);
            self.text(&block.text, Place::Body, Some(Place::BodyPair), &mut terms);
            let share = if matches!(block.kind, BlockKind::Code { .. }) {
                0.5
            } else {
                1.0
            };
            length += share * (terms.count(Place::Body) - before) as f32;
        }
        (terms, length)
    }

    fn text(&mut self, text: &str, place: Place, pairs: Option<Place>, terms: &mut Terms) {
        let words = self.cutter.words(text, &mut self.memo);
        if let Some(place) = pairs {
            let mut before: Option<&Word> = None;
            for word in &words {
                if word.whole || self.stop.contains(word.plain.as_str()) {
                    continue;
                }
                if let Some(before) = before {
                    let pair = self
                        .cutter
                        .pair(&before.plain, &word.plain, &mut self.pairs);
                    terms.put(place, pair);
                }
                before = Some(word);
            }
        }
        for word in words {
            terms.put(place, word.term);
        }
    }

    fn stems(&mut self, text: &str) -> Vec<String> {
        let words = self.cutter.words(text, &mut self.memo);
        let told = words
            .into_iter()
            .filter(|w| !w.whole && !self.stop.contains(w.plain.as_str()));
        told.map(|word| word.term).collect()
    }
}
