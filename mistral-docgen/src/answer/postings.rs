//! Dictionary and postings of one language, kept by tantivy in memory.

use crate::DocgenError;
use std::sync::Arc;
use tantivy::directory::RamDirectory;
use tantivy::index::InvertedIndexReader;
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{PreTokenizedString, Token};
use tantivy::{DocSet, Index, TERMINATED, TantivyDocument, Term};

/// What tantivy is told of the memory it may take. It writes one segment whatever this says: nothing is flushed
/// before the end, and the corpus, which is in memory already, bounds it.
const BUILD_BYTES: usize = 64 << 20;

/// Where in a section a word stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its heading.
    Heading,
    /// Its page's title, description and path, and the headings above it.
    Above,
    /// Its text.
    Body,
    /// Two neighbours in a heading or title.
    HeadPair,
    /// Two neighbours in its text.
    BodyPair,
}

const PLACES: [(Place, &str); 5] = [
    (Place::Heading, "heading"),
    (Place::Above, "above"),
    (Place::Body, "body"),
    (Place::HeadPair, "head_pair"),
    (Place::BodyPair, "body_pair"),
];

/// The terms of one section by place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms([Vec<String>; 5]);

impl Terms {
    pub(crate) fn put(&mut self, place: Place, term: String) {
        self.0[place as usize].push(term);
    }

    pub(crate) fn count(&self, place: Place) -> usize {
        self.0[place as usize].len()
    }
}

/// Sections by term.
pub(crate) struct Postings {
    fields: Vec<(Field, Arc<InvertedIndexReader>)>,
}

/// Takes sections one after the other; their numbers are their order.
pub(crate) struct Builder {
    fields: Vec<Field>,
    writer: tantivy::SingleSegmentIndexWriter,
}

impl Builder {
    pub(crate) fn new() -> Result<Self, DocgenError> {
        let mut schema = Schema::builder();
        let indexing = TextFieldIndexing::default()
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::WithFreqs);
        let options = TextOptions::default().set_indexing_options(indexing);
        let fields = PLACES
            .iter()
            .map(|(_, name)| schema.add_text_field(name, options.clone()))
            .collect();
        let writer = Index::builder()
            .schema(schema.build())
            .single_segment_index_writer(RamDirectory::create(), BUILD_BYTES)?;
        Ok(Self { fields, writer })
    }

    pub(crate) fn add(&mut self, terms: Terms) -> Result<(), DocgenError> {
        let mut document = TantivyDocument::default();
        for (field, terms) in self.fields.iter().zip(terms.0) {
            let tokens = terms
                .into_iter()
                .enumerate()
                .map(|(position, text)| Token {
                    position,
                    text,
                    ..Token::default()
                })
                .collect();
            let text = PreTokenizedString {
                text: String::new(),
                tokens,
            };
            document.add_pre_tokenized_text(*field, text);
        }
        Ok(self.writer.add_document(document)?)
    }

    pub(crate) fn finish(self) -> Result<Postings, DocgenError> {
        let index = self.writer.finalize()?;
        let searcher = index.reader()?.searcher();
        let mut fields = Vec::new();
        if let Some(segment) = searcher.segment_readers().first() {
            for field in self.fields {
                fields.push((field, segment.inverted_index(field)?));
            }
        }
        Ok(Postings { fields })
    }
}

impl Postings {
    /// Sections that have `term` there.
    pub(crate) fn count(&self, place: Place, term: &str) -> u32 {
        let Some((field, reader)) = self.fields.get(place as usize) else {
            return 0;
        };
        let info = reader.get_term_info(&Term::from_field_text(*field, term));
        info.ok().flatten().map_or(0, |info| info.doc_freq)
    }

    /// Calls `found` with each section that has `term` there and how often.
    pub(crate) fn each(&self, place: Place, term: &str, mut found: impl FnMut(usize, u32)) {
        let Some((field, reader)) = self.fields.get(place as usize) else {
            return;
        };
        let term = Term::from_field_text(*field, term);
        let Ok(Some(mut postings)) = reader.read_postings(&term, IndexRecordOption::WithFreqs)
        else {
            return;
        };
        use tantivy::postings::Postings as _;
        while postings.doc() != TERMINATED {
            found(postings.doc() as usize, postings.term_freq());
            postings.advance();
        }
    }
}
