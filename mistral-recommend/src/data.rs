//! What a user's own data says about the need.

use mistral_core::dataset::{Counting, DatasetProfile};
use mistral_core::need::Need;

use crate::Understood;

/// Languages below this share of the data aren't asked for.
const LEAST_SHARE: f64 = 0.05;
/// Smallest context that is asked for, in tokens.
const LEAST_CONTEXT: u32 = 2048;
/// Largest amount that a need takes.
const MOST_TOKENS: f64 = 1e8;

/// Fills what a need leaves open from a profile of the user's data and returns what it filled, as
/// `path: value (where from)`. What was said stays.
///
/// - `load.prompt_tokens`, `load.output_tokens`: the means over the data, because tokens a month
///   are requests times the mean.
/// - `context_tokens`: what 99 of 100 rows fit in (with room for the answer where the data has
///   none), rounded up to a power of two.
/// - `languages`: those of at least one row in twenty, the most frequent first.
pub fn fill_from_data(need: &mut Need, data: &DatasetProfile) -> Vec<String> {
    let mut filled = vec![size(data)];
    if data.rows == 0 {
        return filled;
    }
    let tokens = &data.tokens;
    let mean = |l: &Option<mistral_core::dataset::Lengths>| {
        let mean = l.as_ref()?.mean.round();
        (1.0..=MOST_TOKENS).contains(&mean).then_some(mean as u32)
    };
    for (path, open, value) in [
        (
            "load.prompt_tokens",
            &mut need.load.prompt_tokens,
            mean(&tokens.prompts),
        ),
        (
            "load.output_tokens",
            &mut need.load.output_tokens,
            mean(&tokens.answers),
        ),
    ] {
        if let (None, Some(value)) = (&open, value) {
            *open = Some(value);
            filled.push(format!("{path}: {value} (mean of data)"));
        }
    }
    if need.context_tokens.is_none()
        && let Some(context) = context(need, data)
    {
        need.context_tokens = Some(context);
        filled.push(format!("context_tokens: {context} (p99 of data)"));
    }
    if need.languages.is_empty() {
        languages(need, data, &mut filled);
    }
    filled
}

impl Understood {
    /// Fills what the need leaves open from a profile of the user's data; see [`fill_from_data`].
    pub fn with_data(&mut self, data: &DatasetProfile) {
        let filled = fill_from_data(&mut self.need, data);
        self.assumed.extend(filled);
    }
}

fn size(data: &DatasetProfile) -> String {
    let counted = match &data.tokens.counting {
        Counting::Exact { tokenizer } => format!("tokens by {tokenizer}"),
        Counting::Estimated { .. } => "tokens (estimated)".to_owned(),
    };
    format!("data: {} rows, {} {counted}", data.rows, data.tokens.total)
}

/// The usual size that the rows fit in, and a request of the need's own lengths as well.
fn context(need: &Need, data: &DatasetProfile) -> Option<u32> {
    let answer = u64::from(need.load.output_tokens.unwrap_or(0));
    let prompt = u64::from(need.load.prompt_tokens.unwrap_or(0));
    let mut rows = data.tokens.rows.p99;
    if data.tokens.answers.is_none() {
        rows = rows.saturating_add(answer);
    }
    let least = rows.max(prompt.saturating_add(answer));
    let usual = least
        .checked_next_power_of_two()?
        .max(u64::from(LEAST_CONTEXT));
    u32::try_from(usual)
        .ok()
        .filter(|c| f64::from(*c) <= MOST_TOKENS)
}

fn languages(need: &mut Need, data: &DatasetProfile, filled: &mut Vec<String>) {
    let frequent = data
        .languages
        .shares
        .iter()
        .filter(|l| l.share >= LEAST_SHARE);
    let shares: Vec<String> = frequent
        .map(|l| {
            need.languages.push(l.language.clone());
            format!("{} {:.0} %", l.language, l.share * 100.0)
        })
        .collect();
    if !shares.is_empty() {
        filled.push(format!(
            "languages: {} (of {} rows of data)",
            shares.join(", "),
            data.languages.sampled_rows
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mistral_core::dataset::{
        Duplicates, LanguageProfile, LanguageShare, Lengths, TokenProfile,
    };
    use std::collections::BTreeMap;

    fn lengths(mean: f64, p99: u64) -> Lengths {
        Lengths {
            count: 100,
            total: (mean * 100.0) as u64,
            min: 1,
            max: p99,
            mean,
            p50: 5,
            p90: p99,
            p95: p99,
            p99,
            relative_error: 0.0,
        }
    }

    fn profile(prompts: Option<f64>, answers: Option<f64>, p99: u64) -> DatasetProfile {
        let share = |language: &str, share| LanguageShare {
            language: language.to_owned(),
            share,
        };
        DatasetProfile {
            schema: DatasetProfile::SCHEMA,
            files: Vec::new(),
            files_total: 1,
            files_ignored: 0,
            bytes: 1,
            rows: 100,
            blank_lines: 0,
            empty_rows: 0,
            unreadable_rows: 0,
            faults: Vec::new(),
            shapes: BTreeMap::new(),
            columns: Vec::new(),
            speakers: BTreeMap::new(),
            turns: None,
            tokens: TokenProfile {
                counting: Counting::Exact {
                    tokenizer: "words".to_owned(),
                },
                total: 5000,
                rows: lengths(50.0, p99),
                prompts: prompts.map(|m| lengths(m, 10)),
                answers: answers.map(|m| lengths(m, 10)),
            },
            languages: LanguageProfile {
                sampled_rows: 100,
                sampled_bytes_per_row: 512,
                shares: vec![share("fr", 0.67), share("en", 0.3), share("de", 0.01)],
                unknown: 0.02,
            },
            duplicates: Duplicates {
                rows: 0,
                distinct: 100,
                exact: true,
                sampled_one_in: 1,
                relative_error: 0.0,
                first: Vec::new(),
            },
            longest: Vec::new(),
        }
    }

    #[test]
    fn open_fields_are_filled_and_said() {
        let mut need = Need::default();
        let filled = fill_from_data(&mut need, &profile(Some(811.6), Some(90.2), 5000));
        assert_eq!(need.load.prompt_tokens, Some(812));
        assert_eq!(need.load.output_tokens, Some(90));
        assert_eq!(need.context_tokens, Some(8192));
        assert_eq!(need.languages, ["fr", "en"]);
        let expected = [
            "data: 100 rows, 5000 tokens by words",
            "load.prompt_tokens: 812 (mean of data)",
            "load.output_tokens: 90 (mean of data)",
            "context_tokens: 8192 (p99 of data)",
            "languages: fr 67 %, en 30 % (of 100 rows of data)",
        ];
        assert_eq!(filled, expected);
    }

    #[test]
    fn what_was_said_stays() {
        let mut need = Need {
            context_tokens: Some(4000),
            languages: vec!["it".to_owned()],
            ..Need::default()
        };
        need.load.prompt_tokens = Some(1);
        need.load.output_tokens = Some(2);
        let before = need.clone();
        let filled = fill_from_data(&mut need, &profile(Some(800.0), Some(90.0), 5000));
        assert_eq!(need, before);
        assert_eq!(filled.len(), 1);
    }

    #[test]
    fn contexts_have_room() {
        // Prompt and answer means, p99 of rows, output that was said; context.
        for (prompt, answer, p99, said, expected) in [
            (None, None, 0, None, Some(2048)),
            (None, None, 2000, Some(100), Some(4096)),
            (Some(3000.0), Some(2000.0), 100, None, Some(8192)),
            (Some(10.0), Some(10.0), 8192, None, Some(8192)),
            (Some(10.0), Some(10.0), u64::MAX, None, None),
            (Some(f64::NAN), Some(-5.0), 10, None, Some(2048)),
        ] {
            let mut need = Need::default();
            need.load.output_tokens = said;
            fill_from_data(&mut need, &profile(prompt, answer, p99));
            assert_eq!(need.context_tokens, expected, "{prompt:?} {answer:?} {p99}");
        }
    }

    #[test]
    fn empty_data_fills_nothing() {
        let mut need = Need::default();
        let mut data = profile(Some(5.0), Some(5.0), 5);
        data.rows = 0;
        fill_from_data(&mut need, &data);
        assert_eq!(need, Need::default());
    }
}
