//! What a section says to a question, as it stands there.

use super::lexicon::Name;
use super::query::Concept;
use super::side::Side;
use super::words::Memo;
use crate::markdown::{Block, BlockKind, Page};
use serde::Serialize;
use std::ops::Range;

/// Letters after which nothing is added to a quote.
const ENOUGH: usize = 400;
/// Most letters of one block that are quoted.
const MOST: usize = 1200;

/// Text of a page and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quote {
    /// The page's path.
    pub path: String,
    /// The section's fragment; empty for the top of the page.
    pub anchor: String,
    /// The section's heading; the page's title where it has none.
    pub heading: String,
    /// Lines of the file from which the text comes, counted from 1, the end excluded.
    pub lines: Range<usize>,
    /// The text without marks.
    pub text: String,
}

impl Quote {
    /// `path#anchor`, or the path alone.
    #[must_use]
    pub fn cite(&self) -> String {
        if self.anchor.is_empty() {
            return self.path.clone();
        }
        format!("{}#{}", self.path, self.anchor)
    }
}

/// The block of a section that has the most of what was asked, and those after it until it is enough.
pub(crate) fn quote(
    page: &Page,
    section: usize,
    side: &Side,
    concepts: &[Concept],
) -> Option<Quote> {
    let section = &page.sections[section];
    let mut memo = Memo::new();
    let scores = section
        .blocks
        .iter()
        .map(|block| score(block, side, concepts, &mut memo));
    let scores: Vec<f32> = scores.collect();
    let most = scores.iter().copied().fold(0.0_f32, f32::max);
    // The first of the best, so that what introduces a list comes before its items.
    let first = scores.iter().position(|score| *score >= 0.95 * most)?;
    let mut text = String::new();
    let mut lines = section.blocks[first].lines.clone();
    for block in &section.blocks[first..] {
        if !text.is_empty() {
            text.push('\n');
        }
        let end = block
            .text
            .char_indices()
            .nth(MOST)
            .map_or(block.text.len(), |(at, _)| at);
        text.push_str(&block.text[..end]);
        lines.end = block.lines.end;
        if text.chars().count() >= ENOUGH {
            break;
        }
    }
    let heading = if section.heading.is_empty() {
        &page.title
    } else {
        &section.heading
    };
    Some(Quote {
        path: page.path.clone(),
        anchor: section.anchor.clone(),
        heading: heading.clone(),
        lines,
        text,
    })
}

fn score(block: &Block, side: &Side, concepts: &[Concept], memo: &mut Memo) -> f32 {
    let words = side.cutter.words(&block.text, memo);
    let told = |concept: &Concept| {
        let there = concept
            .alternatives
            .iter()
            .filter(|alternative| match &alternative.name {
                Name::Word(term) => words.iter().any(|word| word.term == *term),
                Name::Pair(_) => false,
            });
        there.map(|a| a.weight).fold(0.0, f32::max)
    };
    let sum: f32 = concepts
        .iter()
        .map(|c| c.weight * side.weight_of(c) * told(c))
        .sum();
    // Prose says more than code of the same words.
    let share = if matches!(block.kind, BlockKind::Code { .. }) {
        0.7
    } else {
        1.0
    };
    share * sum / (1.0 + words.len() as f32 / 200.0)
}
