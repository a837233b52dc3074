//! What is known so far: every row passes through here once.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use twox_hash::XxHash3_64;

use super::columns::{Columns, Values};
use super::count::CountTokens;
use super::distinct::Distinct;
use super::estimate;
use super::language::Sample;
use super::lengths::Sketch;
use super::limits::Limits;
use super::node::Node;
use super::profile::{
    Counting, DatasetProfile, FileFormat, FileProblem, FileProfile, LongRow, Place, RowFault,
    RowProblem, Shape, Speaker, TokenProfile,
};
use super::profiler::Progress;
use super::shape::Reading;

/// Files that are listed.
const FILES_LISTED: usize = 1000;
/// Faults, and long rows, that are listed.
const ROWS_LISTED: usize = 10;
/// Bytes between two reports of progress.
const PROGRESS_EVERY: u64 = 16 << 20;

/// Who is told how far it is.
pub(crate) type OnProgress<'a> = Box<dyn FnMut(&Progress<'_>) + 'a>;

pub(crate) struct Tally<'a> {
    pub(crate) limits: Limits,
    pub(crate) tokenizer: Option<&'a dyn CountTokens>,
    pub(crate) on_progress: Option<OnProgress<'a>>,
    pub(crate) files_ignored: u64,
    /// Bytes of all files, where they are known beforehand.
    pub(crate) bytes_total: u64,
    /// Bytes read of the file that is open.
    pub(crate) read: Rc<Cell<u64>>,
    files: Vec<FileProfile>,
    files_total: u64,
    bytes: u64,
    told: u64,
    open: FileProfile,
    rows: u64,
    blank_lines: u64,
    empty_rows: u64,
    unreadable_rows: u64,
    faults: Vec<RowFault>,
    columns: Columns,
    speakers: BTreeMap<Speaker, u64>,
    shapes: BTreeMap<Shape, u64>,
    turns: Sketch,
    tokens: u64,
    row_lengths: Sketch,
    prompts: Sketch,
    answers: Sketch,
    sample: Sample,
    distinct: Distinct,
    longest: Vec<LongRow>,
}

fn closed() -> FileProfile {
    FileProfile {
        file: String::new(),
        bytes: 0,
        format: FileFormat::Text,
        gzip: false,
        rows: 0,
        unreadable_rows: 0,
        shapes: BTreeMap::new(),
        problem: None,
    }
}

impl<'a> Tally<'a> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            tokenizer: None,
            on_progress: None,
            files_ignored: 0,
            bytes_total: 0,
            read: Rc::default(),
            files: Vec::new(),
            files_total: 0,
            bytes: 0,
            told: 0,
            open: closed(),
            rows: 0,
            blank_lines: 0,
            empty_rows: 0,
            unreadable_rows: 0,
            faults: Vec::new(),
            columns: Columns::default(),
            speakers: BTreeMap::new(),
            shapes: BTreeMap::new(),
            turns: Sketch::default(),
            tokens: 0,
            row_lengths: Sketch::default(),
            prompts: Sketch::default(),
            answers: Sketch::default(),
            sample: Sample::new(limits.sample_rows, limits.sample_bytes),
            distinct: Distinct::new(limits.hashes),
            longest: Vec::new(),
        }
    }

    /// Begins a file; its format may be told later.
    pub(crate) fn begin(&mut self, name: &str) {
        self.read.set(0);
        self.open = FileProfile {
            // A name may hold anything, and is printed.
            file: name
                .chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect(),
            ..closed()
        };
    }

    pub(crate) fn is(&mut self, format: FileFormat) {
        self.open.format = format;
    }

    pub(crate) fn is_gzip(&mut self) {
        self.open.gzip = true;
    }

    /// Ends a file of so many stored bytes.
    pub(crate) fn end(&mut self, bytes: u64, problem: Option<FileProblem>) {
        let mut file = std::mem::replace(&mut self.open, closed());
        self.read.set(0);
        self.bytes += bytes;
        self.files_total += 1;
        file.bytes = bytes;
        file.problem = problem;
        if self.files.len() < FILES_LISTED {
            self.files.push(file);
        }
    }

    pub(crate) fn blank(&mut self) {
        self.blank_lines += 1;
    }

    pub(crate) fn fault(&mut self, line: u64, problem: RowProblem) {
        self.unreadable_rows += 1;
        self.open.unreadable_rows += 1;
        if self.faults.len() < ROWS_LISTED {
            let place = self.place(line);
            self.faults.push(RowFault { place, problem });
        }
        self.progress();
    }

    fn place(&self, line: u64) -> Place {
        Place {
            file: self.open.file.clone(),
            line,
        }
    }

    fn progress(&mut self) {
        let bytes = self.bytes + self.read.get();
        if bytes < self.told + PROGRESS_EVERY {
            return;
        }
        self.told = bytes;
        if let Some(tell) = &mut self.on_progress {
            tell(&Progress {
                file: &self.open.file,
                bytes,
                bytes_total: self.bytes_total,
                rows: self.rows,
            });
        }
    }

    /// Takes a row that was parsed.
    pub(crate) fn row(&mut self, line: u64, row: &Node<'_>) {
        let counted = Reading::of(row).and_then(|r| Ok((self.count(&r)?, r)));
        let (tokens, reading) = match counted {
            Ok(both) => both,
            Err(problem) => return self.fault(line, problem),
        };
        self.rows += 1;
        self.open.rows += 1;
        *self.shapes.entry(reading.shape).or_default() += 1;
        *self.open.shapes.entry(reading.shape).or_default() += 1;
        self.empty_rows += u64::from(reading.is_empty(row));
        if reading.shape == Shape::Table {
            let written = matches!(self.open.format, FileFormat::Csv { .. });
            let values = if written {
                Values::Written
            } else {
                Values::Typed
            };
            self.columns.note(row, values);
        }
        if reading.shape == Shape::Chat {
            self.turns.add(reading.turns.len() as u64);
            for speaker in reading.turns.iter().filter_map(|t| t.speaker) {
                *self.speakers.entry(speaker).or_default() += 1;
            }
        }
        let length = self.lengths(&reading, &tokens);
        self.longest(line, length);
        let texts = reading.turns.iter().flat_map(|t| &t.texts);
        if let Some(longest) = texts.max_by_key(|t| t.len()) {
            self.sample.add(longest);
        }
        let place = Place {
            file: String::new(),
            line,
        };
        let file = &self.open.file;
        self.distinct.add(hash(&reading, row), || Place {
            file: file.clone(),
            ..place
        });
        self.progress();
    }

    /// Tokens of each turn.
    fn count(&self, reading: &Reading<'_>) -> Result<Vec<u64>, RowProblem> {
        let of = |text: &&str| match self.tokenizer {
            None => Ok(estimate::tokens(text)),
            Some(tokenizer) => tokenizer.count(text).map_err(|e| RowProblem::Tokenizer {
                message: e.to_string().chars().take(160).collect(),
            }),
        };
        let turn = |texts: &Vec<&str>| {
            texts
                .iter()
                .map(of)
                .try_fold(0_u64, |sum, n| Ok(sum.saturating_add(n?)))
        };
        reading.turns.iter().map(|t| turn(&t.texts)).collect()
    }

    /// Notes lengths; returns that of the row's longest sequence.
    fn lengths(&mut self, reading: &Reading<'_>, tokens: &[u64]) -> u64 {
        let total = tokens.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
        self.tokens = self.tokens.saturating_add(total);
        let length = match (reading.shape, reading.rejected_from) {
            (Shape::Text | Shape::Table, _) => total,
            (_, Some(at)) => {
                let (chosen, rejected) = tokens.split_at(at.min(tokens.len()));
                let rejected: u64 = rejected.iter().sum();
                let (better, prompt) = chosen.split_last().map_or((0, &[][..]), |(l, p)| (*l, p));
                let prompt: u64 = prompt.iter().sum();
                self.prompts.add(prompt);
                self.answers.add(better);
                self.answers.add(rejected);
                prompt.saturating_add(better.max(rejected))
            }
            (_, None) => {
                let mut before = 0_u64;
                let mut answered = false;
                for (turn, &n) in reading.turns.iter().zip(tokens) {
                    if turn.speaker == Some(Speaker::Assistant) {
                        self.prompts.add(before);
                        self.answers.add(n);
                        answered = true;
                    }
                    before = before.saturating_add(n);
                }
                if !answered && !tokens.is_empty() {
                    self.prompts.add(before);
                }
                before
            }
        };
        self.row_lengths.add(length);
        length
    }

    fn longest(&mut self, line: u64, tokens: u64) {
        let full = self.longest.len() >= ROWS_LISTED;
        if full && self.longest.last().is_some_and(|l| l.tokens >= tokens) {
            return;
        }
        let place = self.place(line);
        // Behind those of its length: of equals the first stay.
        let at = self.longest.partition_point(|l| l.tokens >= tokens);
        self.longest.insert(at, LongRow { tokens, place });
        self.longest.truncate(ROWS_LISTED);
    }

    pub(crate) fn finish(self) -> DatasetProfile {
        let counting = match self.tokenizer {
            Some(tokenizer) => Counting::Exact {
                tokenizer: tokenizer.name(),
            },
            None => Counting::Estimated {
                like: estimate::LIKE.to_owned(),
                relative_error: estimate::RELATIVE_ERROR,
            },
        };
        DatasetProfile {
            schema: DatasetProfile::SCHEMA,
            files: self.files,
            files_total: self.files_total,
            files_ignored: self.files_ignored,
            bytes: self.bytes,
            rows: self.rows,
            blank_lines: self.blank_lines,
            empty_rows: self.empty_rows,
            unreadable_rows: self.unreadable_rows,
            faults: self.faults,
            shapes: self.shapes,
            columns: self.columns.finish(),
            speakers: self.speakers,
            turns: self.turns.some(),
            tokens: TokenProfile {
                counting,
                total: self.tokens,
                rows: self.row_lengths.lengths(),
                prompts: self.prompts.some(),
                answers: self.answers.some(),
            },
            languages: self.sample.finish(),
            duplicates: self.distinct.finish(),
            longest: self.longest,
        }
    }
}

/// A hash of what a row says. Lengths stand between texts, so that no two rows run together.
fn hash(reading: &Reading<'_>, row: &Node<'_>) -> u64 {
    let mut hash = 0;
    let mut mix = |bytes: &[u8]| hash = XxHash3_64::oneshot_with_seed(hash, bytes);
    if reading.shape == Shape::Table {
        hash_node(row, &mut mix);
        return hash;
    }
    mix(&[reading.shape as u8]);
    for turn in &reading.turns {
        let speaker = turn.speaker.map_or(u8::MAX, |s| s as u8);
        mix(&[speaker, turn.texts.len().min(255) as u8]);
        turn.texts.iter().for_each(|t| mix(t.as_bytes()));
    }
    hash
}

fn hash_node(node: &Node<'_>, mix: &mut impl FnMut(&[u8])) {
    match node {
        Node::Null => mix(&[0]),
        Node::Bool(b) => mix(&[1, u8::from(*b)]),
        Node::Number(n) => mix(&n.to_le_bytes()),
        Node::Text(text) => mix(text.as_bytes()),
        Node::List(list) => {
            mix(&(list.len() as u64).to_be_bytes());
            list.iter().for_each(|n| hash_node(n, mix));
        }
        Node::Object(fields) => {
            // In the order of names: two writers may order them differently.
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            for (name, value) in sorted {
                mix(name.as_bytes());
                hash_node(value, mix);
            }
        }
    }
}
