//! Sections and pages by how much they have of a question's concepts (BM25F with concepts for terms:
//! Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009, section 3.5).

use super::lexicon::Name;
use super::postings::Place;
use super::query::Concept;
use super::side::Side;

const K1: f32 = 2.0;
const B: f32 = 0.75;
const HEADING: f32 = 3.0;
const ABOVE: f32 = 2.0;

/// Number of [`Found::features`].
pub(crate) const FEATURES: usize = 10;

/// A page that has something of what was asked.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Position in [`Side::pages`].
    pub(crate) page: usize,
    /// Its best section, position in [`Side::sections`].
    pub(crate) section: usize,
    /// Shares of what is possible or asked for; [`WEIGHTS`] says what each counts.
    pub(crate) features: [f32; FEATURES],
    /// The share of the question's words that no page of this language has.
    pub(crate) unknown: f32,
}

/// What each feature counts: fitted by softmax over the pages of a question (ListNet: Cao et al., 2007) on the
/// 134 questions that `data/README.md` tells of, and rounded.
const WEIGHTS: [f32; FEATURES] = [1.0, 1.15, 0.2, 0.2, 0.15, 0.25, 0.25, 0.25, 0.45, 0.2];
/// Log-odds that a page answers, by its score, what its best section and it cover, and unknown words; the last
/// is the intercept. Fitted on the same questions and 60 that the pages don't answer.
const ODDS: [f32; 5] = [2.45, 2.15, 2.26, -3.19, -5.60];

impl Found {
    /// How well it fits; more is better.
    pub(crate) fn score(&self) -> f32 {
        self.features
            .iter()
            .zip(WEIGHTS)
            .map(|(feature, weight)| feature * weight)
            .sum()
    }

    /// The log-odds that it answers.
    pub(crate) fn odds(&self) -> f32 {
        let evidence = [
            self.score(),
            self.features[2],
            self.features[3],
            self.unknown,
            1.0,
        ];
        evidence
            .iter()
            .zip(ODDS)
            .map(|(evidence, weight)| evidence * weight)
            .sum()
    }
}

/// Scores of one kind of thing, sections or pages.
struct Scores {
    score: Vec<f32>,
    covered: Vec<f32>,
    named: Vec<f32>,
    now: Vec<Now>,
    touched: Vec<usize>,
}

/// What the concept at hand has reached so far.
#[derive(Clone, Copy, Default)]
struct Now {
    tf: f32,
    score: f32,
    covered: f32,
    named: f32,
    touched: bool,
}

impl Scores {
    fn new(count: usize) -> Self {
        Self {
            score: vec![0.0; count],
            covered: vec![0.0; count],
            named: vec![0.0; count],
            now: vec![Now::default(); count],
            touched: Vec::new(),
        }
    }

    fn touch(&mut self, at: usize, tf: f32, named: f32) {
        let now = &mut self.now[at];
        now.tf += tf;
        now.named = now.named.max(named);
        if !now.touched {
            now.touched = true;
            self.touched.push(at);
        }
    }

    /// Ends an alternative.
    fn alternative(&mut self, idf: f32, weight: f32, length: impl Fn(usize) -> f32) {
        for &at in &self.touched {
            let now = &mut self.now[at];
            if now.tf > 0.0 {
                let tf = now.tf / (1.0 - B + B * length(at));
                now.score = now.score.max(weight * idf * tf / (tf + K1));
                now.covered = now.covered.max(weight * idf);
                now.tf = 0.0;
            }
        }
    }

    /// Ends a concept.
    fn concept(&mut self, concept: &Concept) {
        for at in self.touched.drain(..) {
            let now = std::mem::take(&mut self.now[at]);
            self.score[at] += concept.weight * now.score;
            if concept.asked {
                self.covered[at] += now.covered;
                self.named[at] += now.named;
            }
        }
    }
}

impl Side {
    /// Sections that have `name` somewhere, at least.
    pub(crate) fn count(&self, name: &Name) -> u32 {
        let (places, term) = places(name);
        places
            .iter()
            .map(|(place, _)| self.postings.count(*place, term))
            .max()
            .unwrap_or(0)
    }

    fn idf(&self, count: u32) -> f32 {
        let (all, count) = (self.sections.len() as f32, count as f32);
        (1.0 + (all - count + 0.5).max(0.0) / (count + 0.5)).ln()
    }

    /// What a concept tells apart: that of what was asked, else of what may stand for it, else of no section.
    pub(crate) fn weight_of(&self, concept: &Concept) -> f32 {
        let counts = |least: f32| {
            let alternatives = concept
                .alternatives
                .iter()
                .filter(move |a| a.weight >= least);
            alternatives.map(|a| self.count(&a.name)).max().unwrap_or(0)
        };
        match (counts(0.8), counts(0.0)) {
            (0, 0) => self.idf(0) * UNKNOWN,
            (0, count) | (count, _) => self.idf(count),
        }
    }
}

/// Pages of which all features are computed.
const LOOKED_AT: usize = 200;
/// What a word that no page has counts, beside one that a single section has.
const UNKNOWN: f32 = 0.8;

fn places(name: &Name) -> (&'static [(Place, f32)], &str) {
    match name {
        Name::Word(term) => (
            &[
                (Place::Heading, HEADING),
                (Place::Above, ABOVE),
                (Place::Body, 1.0),
            ],
            term,
        ),
        Name::Pair(term) => (&[(Place::HeadPair, HEADING), (Place::BodyPair, 1.0)], term),
    }
}

/// Up to [`LOOKED_AT`] pages with what they have of `concepts`.
pub(crate) fn search(side: &Side, concepts: &[Concept]) -> Vec<Found> {
    let mut sections = Scores::new(side.sections.len());
    let mut pages = Scores::new(side.pages.len());
    let mut totals = Totals::default();
    for concept in concepts {
        let most = side.weight_of(concept);
        totals.add(side, concept, most);
        for alternative in &concept.alternatives {
            let count = side.count(&alternative.name);
            if count == 0 {
                continue;
            }
            let idf = side.idf(count).min(most);
            let (places, term) = places(&alternative.name);
            for &(place, weight) in places {
                let head = matches!(place, Place::Heading | Place::Above | Place::HeadPair);
                let named = if head { alternative.weight * idf } else { 0.0 };
                side.postings.each(place, term, |at, frequency| {
                    let tf = weight * frequency.min(8) as f32;
                    sections.touch(at, tf, if place == Place::Above { 0.0 } else { named });
                    // What stands above its sections is said once for the page.
                    let page = side.sections[at].page;
                    let again = place == Place::Above && pages.now[page].touched;
                    pages.touch(
                        page,
                        if again { 0.05 } else { tf },
                        if place == Place::Above { named } else { 0.0 },
                    );
                });
            }
            let length = |at: usize| side.sections[at].length / side.section_length;
            sections.alternative(idf, alternative.weight, length);
            let length = |at: usize| side.pages[at].length / side.page_length;
            pages.alternative(idf, alternative.weight, length);
        }
        sections.concept(concept);
        pages.concept(concept);
    }
    collect(side, concepts, &sections, &pages, &totals)
}

/// What a question asks for in all.
#[derive(Default)]
struct Totals {
    possible: f32,
    asked: f32,
    words: f32,
    unknown: f32,
}

impl Totals {
    fn add(&mut self, side: &Side, concept: &Concept, most: f32) {
        self.possible += concept.weight * most;
        if !concept.asked {
            return;
        }
        self.asked += most;
        self.words += 1.0;
        let mut said = concept.alternatives.iter().filter(|a| a.weight >= 0.9);
        if said.all(|a| side.count(&a.name) == 0) {
            self.unknown += 1.0;
        }
    }
}

fn collect(
    side: &Side,
    concepts: &[Concept],
    sections: &Scores,
    pages: &Scores,
    totals: &Totals,
) -> Vec<Found> {
    let asked = totals.asked.max(f32::EPSILON);
    let possible = totals.possible.max(f32::EPSILON);
    let mut best: Vec<Option<(usize, f32)>> = vec![None; side.pages.len()];
    let mut most_covered = vec![0.0_f32; side.pages.len()];
    let mut named = vec![0.0_f32; side.pages.len()];
    let mut sum = vec![0.0_f32; side.pages.len()];
    for (at, section) in side.sections.iter().enumerate() {
        let score = sections.score[at];
        if score <= 0.0 {
            continue;
        }
        sum[section.page] += score * score;
        most_covered[section.page] = most_covered[section.page].max(sections.covered[at]);
        named[section.page] = named[section.page].max(sections.named[at]);
        // A heading without text says nothing that could be quoted.
        let quotable = if section.length > 0.0 {
            score
        } else {
            0.5 * score
        };
        if best[section.page].is_none_or(|(_, most)| quotable > most) {
            best[section.page] = Some((at, quotable));
        }
    }
    let mut first: Vec<(f32, usize, usize, f32)> = Vec::new();
    for (page, best) in best.iter().enumerate() {
        if let Some((section, score)) = *best {
            first.push((score + pages.score[page], page, section, score));
        }
    }
    // What has little of the question is not looked at twice; ties stay in the order of the pages.
    first.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    first.truncate(LOOKED_AT);
    let mut found = Vec::new();
    for (_, page, section, score) in first {
        let title = &side.pages[page].title;
        let features = [
            score / possible,
            pages.score[page] / possible,
            most_covered[page] / asked,
            pages.covered[page] / asked,
            named[page] / asked,
            pages.named[page] / asked,
            told(title, concepts),
            sections.named[section] / asked,
            sum[page].sqrt() / possible,
            sections.covered[section] / asked,
        ];
        found.push(Found {
            page,
            section,
            features,
            unknown: totals.unknown / totals.words.max(1.0),
        });
    }
    found
}

/// The share of `words` that were asked for.
fn told(words: &[String], concepts: &[Concept]) -> f32 {
    if words.is_empty() {
        return 0.0;
    }
    let told = words.iter().map(|word| {
        let weights = concepts
            .iter()
            .flat_map(|c| &c.alternatives)
            .filter_map(|a| match &a.name {
                Name::Word(term) if term == word => Some(a.weight),
                _ => None,
            });
        weights.fold(0.0, f32::max)
    });
    told.sum::<f32>() / words.len() as f32
}
