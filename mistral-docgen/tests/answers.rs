//! Questions asked of pages.

use mistral_docgen::answer::Answers;
use mistral_docgen::corpus::{self, Corpus};
use proptest::prelude::*;
use std::path::Path;
use std::sync::LazyLock;

const PAGES: &[(&str, &str)] = &[
    (
        "admin/keys.md",
        "# API keys\n\nKeys belong to a workspace.\n\n## Rotate a key\n\nRevoke the old key, then create another.\n",
    ),
    (
        "inference/sampling.md",
        "# Sampling\n\n## Temperature\n\nLower values give the likeliest words.\n\n## Frequency penalty\n\nWords that were said already become less likely.\n",
    ),
    (
        "workflows/errors.md",
        "# Error codes\n\n| Code | Meaning |\n|---|---|\n| WF_1101 | Already started |\n| WF_1102 | Not found |\n\n## Retries\n\nSet `retry_policy_max_attempts` on an activity.\n",
    ),
    (
        "batch.md",
        "# Batch inference\n\nAsynchronous jobs at a 50 % discount.\n\n## Limits\n\nA job holds at most one million requests.\n",
    ),
    (
        "billing.md",
        "# Invoices\n\nDownload invoices from the billing page.\n",
    ),
];

static ANSWERS: LazyLock<Answers> =
    LazyLock::new(|| Answers::new(Corpus::from_texts("en", PAGES.iter().copied())).unwrap());

fn first(question: &str) -> String {
    let answer = ANSWERS.ask(question);
    answer
        .hits
        .first()
        .map_or(String::new(), |hit| format!("{}#{}", hit.path, hit.anchor))
}

#[test]
fn words_of_users_find_the_section() {
    for (question, expected) in [
        ("how do I rotate a key", "admin/keys.md#rotate-a-key"),
        (
            "make answers less random",
            "inference/sampling.md#temperature",
        ),
        ("how to rotaet a key", "admin/keys.md#rotate-a-key"),
        ("WF_1101", "workflows/errors.md#error-codes"),
        ("wf1102 what is it", "workflows/errors.md#error-codes"),
        ("retry_policy_max_attempts", "workflows/errors.md#retries"),
        (
            "run prompts overnight at half price",
            "batch.md#batch-inference",
        ),
        ("où télécharger mes factures", "billing.md#invoices"),
    ] {
        assert_eq!(first(question), expected, "{question}");
    }
}

#[test]
fn quotes_stand_on_the_lines_they_cite() {
    let answer = ANSWERS.ask("how do I rotate a key");
    assert!(answer.covered);
    let quote = &answer.quotes[0];
    assert_eq!(quote.text, "Revoke the old key, then create another.");
    let text = PAGES
        .iter()
        .find(|(path, _)| *path == quote.path)
        .unwrap()
        .1;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[quote.lines.start - 1], quote.text);
}

#[test]
fn what_no_page_has_is_not_covered() {
    for question in [
        "recipe for apple pie",
        "who won the football match",
        "",
        "?!",
        "the of and",
    ] {
        let answer = ANSWERS.ask(question);
        assert!(
            !answer.covered && answer.quotes.is_empty(),
            "{question}: {answer:?}"
        );
    }
}

#[test]
fn translations_share_a_path() {
    let mut pages = Corpus::from_texts("en", [("a.md", "# Invoices\n\nDownload them.\n")]);
    let french = Corpus::from_texts(
        "fr",
        [(
            "a.md",
            "# Factures\n\nTéléchargez vos factures avec la TVA.\n",
        )],
    );
    pages.pages.extend(french.pages);
    let answer = Answers::new(pages)
        .unwrap()
        .ask("où sont mes factures avec TVA");
    assert_eq!(answer.language, "fr");
    assert_eq!(answer.hits.len(), 1);
    assert_eq!(answer.hits[0].language, "fr");
}

#[test]
fn pasted_logs_are_bounded() {
    let log = "retry_policy_max_attempts exceeded at 0x1f ".repeat(50_000);
    assert_eq!(first(&log), "workflows/errors.md#retries");
    // What follows the first letters is not read.
    assert_eq!(ANSWERS.ask(&format!("{log} invoices")), ANSWERS.ask(&log));
}

proptest! {
    #[test]
    fn any_question_has_an_answer(question in ".{0,200}") {
        let answer = ANSWERS.ask(&question);
        prop_assert!(answer.confidence.is_finite());
        prop_assert!(answer.hits.iter().all(|hit| hit.score.is_finite()));
        prop_assert_eq!(&answer, &ANSWERS.ask(&question));
    }
}

/// The public questions, where the checkout has them beside it.
#[test]
fn public_questions_are_answered() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let Ok(rows) = std::fs::read_to_string(shared.join("eval/qa/questions.jsonl")) else {
        return;
    };
    let answers = Answers::new(corpus::read(&shared.join("data/corpus")).unwrap()).unwrap();
    let (mut first, mut fifth, mut covered, mut count) = (0, 0, 0, 0);
    for row in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let answer = answers.ask(row["q"].as_str().unwrap());
        let expected: Vec<&str> = row["expected"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|page| page.as_str())
            .collect();
        let rank = answer
            .hits
            .iter()
            .position(|hit| expected.contains(&hit.path.as_str()));
        first += u32::from(rank == Some(0));
        fifth += u32::from(rank.is_some_and(|rank| rank < 5));
        covered += u32::from(answer.covered);
        count += 1;
    }
    assert!(100 * first >= 80 * count, "{first} of {count} first");
    assert!(
        100 * fifth >= 93 * count,
        "{fifth} of {count} among the first five"
    );
    assert!(100 * covered >= 95 * count, "{covered} of {count} covered");
}
