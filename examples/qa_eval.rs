//! Asks questions of a folder of documentation: `qa_eval CORPUS_DIR QUESTIONS.jsonl`.
//!
//! Rows are `{"id","q","expected":["PAGE",…]}`. Prints one JSON line a question,
//! `{"id","pages","answer","cites","covered",…}`, and a last line with the share of questions of which an expected
//! page is first, among the first 3, 5 and 10, and the mean reciprocal rank. Rows without `expected` are only
//! counted as covered or not. Times go to standard error.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use mistral_docgen::answer::{Answer, Answers};
use mistral_docgen::corpus;
use mistral_examples::{Options, Outcome, print_line, run};
use serde::{Deserialize, Serialize};

/// Pages of an answer that count.
const CUT: usize = 10;

#[derive(Deserialize)]
struct Question {
    id: String,
    q: String,
    #[serde(default)]
    expected: Vec<String>,
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    pages: Vec<&'a str>,
    answer: String,
    cites: Vec<String>,
    covered: bool,
    confidence: f32,
}

/// Ranks of the first expected page, summed up.
#[derive(Default, Serialize)]
struct Total {
    questions: usize,
    #[serde(rename = "recall@1")]
    recall_1: f64,
    #[serde(rename = "recall@3")]
    recall_3: f64,
    #[serde(rename = "recall@5")]
    recall_5: f64,
    #[serde(rename = "recall@10")]
    recall_10: f64,
    #[serde(rename = "mrr@10")]
    mrr_10: f64,
    covered: f64,
    off_topic: usize,
    off_topic_refused: f64,
}

impl Total {
    fn count(&mut self, question: &Question, answer: &Answer) {
        if question.expected.is_empty() {
            self.off_topic += 1;
            self.off_topic_refused += f64::from(u8::from(!answer.covered));
            return;
        }
        self.questions += 1;
        self.covered += f64::from(u8::from(answer.covered));
        let hits = answer.hits.iter().take(CUT);
        let rank = hits
            .map(|hit| &hit.path)
            .position(|path| question.expected.contains(path));
        let Some(rank) = rank else { return };
        self.mrr_10 += 1.0 / (rank + 1) as f64;
        let within = |limit: usize| f64::from(u8::from(rank < limit));
        self.recall_1 += within(1);
        self.recall_3 += within(3);
        self.recall_5 += within(5);
        self.recall_10 += within(CUT);
    }

    /// From sums to shares.
    fn shares(mut self) -> Self {
        let round = |sum: f64, count: usize| (sum / count.max(1) as f64 * 1e4).round() / 1e4;
        for sum in [
            &mut self.recall_1,
            &mut self.recall_3,
            &mut self.recall_5,
            &mut self.recall_10,
            &mut self.mrr_10,
            &mut self.covered,
        ] {
            *sum = round(*sum, self.questions);
        }
        self.off_topic_refused = round(self.off_topic_refused, self.off_topic);
        self
    }
}

fn main() -> ExitCode {
    let options = Options {
        max_positional: 2,
        ..Options::default()
    };
    run("CORPUS_DIR QUESTIONS.jsonl", &options, |arguments| {
        let folder = Path::new(arguments.required(0, "CORPUS_DIR")?);
        let questions = read_questions(Path::new(arguments.required(1, "QUESTIONS.jsonl")?))?;
        let start = Instant::now();
        let corpus = corpus::read(folder)?;
        let pages = corpus.pages.len();
        let answers = Answers::new(corpus)?;
        eprintln!(
            "{pages} pages indexed in {:.2} s",
            start.elapsed().as_secs_f64()
        );
        let (mut total, mut asking) = (Total::default(), 0.0);
        for question in &questions {
            let start = Instant::now();
            let answer = answers.ask(&question.q);
            asking += start.elapsed().as_secs_f64();
            total.count(question, &answer);
            print_line(&row(question, &answer))?;
        }
        let count = questions.len().max(1) as f64;
        eprintln!("{:.2} ms a question", 1e3 * asking / count);
        print_line(&total.shares())?;
        Ok(Outcome::Good)
    })
}

fn row<'a>(question: &'a Question, answer: &'a Answer) -> Row<'a> {
    let quotes: Vec<&str> = answer
        .quotes
        .iter()
        .map(|quote| quote.text.as_str())
        .collect();
    Row {
        id: &question.id,
        pages: answer
            .hits
            .iter()
            .take(CUT)
            .map(|hit| hit.path.as_str())
            .collect(),
        answer: quotes.join("\n\n"),
        cites: answer.quotes.iter().map(|quote| quote.cite()).collect(),
        covered: answer.covered,
        confidence: answer.confidence,
    }
}

fn read_questions(file: &Path) -> Result<Vec<Question>, Box<dyn Error>> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let rows = lines.map(|(number, line)| {
        serde_json::from_str(line)
            .map_err(|error| format!("{}:{}: {error}", file.display(), number + 1).into())
    });
    rows.collect()
}
