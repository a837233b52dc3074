//! What is known of users, in memory; it serialises. The feature `history` keeps the same in a file.

use std::collections::BTreeMap;

use mistral_core::need::Need;
use mistral_core::plan::Runtime;
use mistral_core::precision::Precision;
use mistral_core::recommendation::{Choice, Hosting, Predicted, Recommendation};
use mistral_core::report::RunReport;
use serde::{Deserialize, Serialize};

use super::evaluate::Logged;
use super::preference::Observation;
use super::residual;
use crate::score::{PARTS, features};
use crate::{Context, RecommendError};

/// Longest name of a user, in bytes.
const LONGEST_USER: usize = 256;
/// Longest note, in bytes.
const LONGEST_NOTE: usize = 16_384;
/// Most choices of one answer that are kept.
const MOST_SHOWN: usize = 256;

/// An answer as it was shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Its number in the history; given when it is recorded.
    pub id: u64,
    /// When, as `YYYY-MM-DD`; handed in by the caller.
    pub day: String,
    /// The need that was answered.
    pub need: Need,
    /// What was shown, in its order.
    pub choices: Vec<ShownChoice>,
    /// What decided the order.
    pub policy: Policy,
}

/// One of the choices shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownChoice {
    /// Catalogue id.
    pub model: String,
    /// Who runs it.
    pub hosting: Hosting,
    /// Storage of the weights.
    pub precision: Option<Precision>,
    /// Engine.
    pub runtime: Option<Runtime>,
    /// Name in the hardware table.
    pub device: Option<String>,
    /// Devices.
    pub count: u32,
    /// What was predicted.
    pub predicted: Predicted,
    /// The score then.
    pub score: f64,
    /// What weights multiply, by part.
    pub features: BTreeMap<String, f64>,
    /// The chance that it had to be first.
    pub chance_to_be_first: f64,
}

impl ShownChoice {
    fn of(choice: &Choice, need: &Need) -> Self {
        let values = features(&choice.parts, choice.hosting, &choice.predicted, need);
        // Short decimals come back from JSON as they were.
        let rounded = values.map(|v| (v * 1e6).round() / 1e6);
        Self {
            model: choice.model.clone(),
            hosting: choice.hosting,
            precision: choice.precision,
            runtime: choice.runtime,
            device: choice.device.clone(),
            count: choice.count,
            predicted: choice.predicted,
            score: choice.score,
            features: PARTS.map(str::to_owned).into_iter().zip(rounded).collect(),
            chance_to_be_first: 0.0,
        }
    }

    /// In the order of [`PARTS`]; a part that isn't known counts 0 for all.
    #[must_use]
    pub fn features(&self) -> [f64; PARTS.len()] {
        PARTS.map(|part| self.features.get(part).copied().unwrap_or(0.0))
    }
}

/// What decided the order of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Policy {
    /// The score: the first was sure to be first.
    Score,
    /// Drawn weights, as [`Exploration`](super::Exploration) has them.
    Explored {
        /// Draws.
        draws: u32,
        /// The chance of any of those shown to be first.
        uniform: f64,
        /// Decides the draws.
        seed: u64,
    },
}

impl Shown {
    /// An answer as it stands, in the order of its scores.
    #[must_use]
    pub fn of(answer: &Recommendation, day: &str) -> Self {
        let mut choices: Vec<ShownChoice> = answer
            .choices
            .iter()
            .map(|c| ShownChoice::of(c, &answer.need))
            .collect();
        if let Some(first) = choices.first_mut() {
            first.chance_to_be_first = 1.0;
        }
        Self {
            id: 0,
            day: day.to_owned(),
            need: answer.need.clone(),
            choices,
            policy: Policy::Score,
        }
    }

    pub(crate) fn check(&self) -> Result<(), RecommendError> {
        let n = self.choices.len();
        if n > MOST_SHOWN {
            let expected = "at most 256";
            return Err(out_of_range("shown.choices", expected, n as f64));
        }
        for choice in &self.choices {
            let p = choice.chance_to_be_first;
            if !(0.0..=1.0).contains(&p) {
                return Err(out_of_range("shown.chance_to_be_first", "0 to 1", p));
            }
            if let Some(v) = choice.features.values().find(|v| !v.is_finite()) {
                return Err(out_of_range("shown.features", "numbers", *v));
            }
        }
        Ok(())
    }
}

/// What a user took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// [`Shown::id`].
    pub shown: u64,
    /// Position among what was shown, from 0.
    pub position: usize,
    /// When, as `YYYY-MM-DD`.
    pub day: String,
}

/// How it went with what a user took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`Shown::id`].
    pub shown: u64,
    /// From 1 (a mistake) to 5 (right). A choice that disappointed says less about what is wanted.
    pub rating: Option<u8>,
    /// In words.
    pub note: Option<String>,
    /// When, as `YYYY-MM-DD`.
    pub day: String,
}

impl Outcome {
    pub(crate) fn check(&self) -> Result<(), RecommendError> {
        if let Some(rating) = self.rating.filter(|r| !(1..=5).contains(r)) {
            return Err(out_of_range("rating", "1 to 5", f64::from(rating)));
        }
        let note = self.note.as_ref().map_or(0, String::len);
        if note > LONGEST_NOTE {
            return Err(out_of_range("note", "at most 16384 bytes", note as f64));
        }
        Ok(())
    }
}

/// Whether other users' answers may use a report. What a user needed and chose never leaves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// No.
    #[default]
    Private,
    /// By those who ask for shared reports.
    Shared,
}

/// A measured run and whose it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptReport {
    /// Whether others may use it.
    pub sharing: Sharing,
    /// The run.
    pub report: RunReport,
}

/// All that is known of one user.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserHistory {
    /// Answers, oldest first.
    pub shown: Vec<Shown>,
    /// Choices, oldest first.
    pub chosen: Vec<Chosen>,
    /// Outcomes, oldest first.
    pub outcomes: Vec<Outcome>,
    /// Measured runs, oldest first.
    pub reports: Vec<KeptReport>,
}

impl UserHistory {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The answer of this number.
    ///
    /// # Errors
    /// [`RecommendError::NotRecorded`] when there is none.
    pub fn shown(&self, id: u64) -> Result<&Shown, RecommendError> {
        let found = self.shown.iter().find(|s| s.id == id);
        found.ok_or(RecommendError::NotRecorded { shown: id })
    }

    /// The last choice of each answer, in the order of the answers.
    fn last_choices(&self) -> impl Iterator<Item = (&Shown, usize)> {
        let last: BTreeMap<u64, usize> =
            self.chosen.iter().map(|c| (c.shown, c.position)).collect();
        self.shown
            .iter()
            .filter_map(move |s| last.get(&s.id).map(|p| (s, *p)))
    }

    /// What preferences are learned from.
    #[must_use]
    pub fn observations(&self) -> Vec<Observation> {
        let ratings: BTreeMap<u64, u8> = self
            .outcomes
            .iter()
            .filter_map(|o| Some((o.shown, o.rating?)))
            .collect();
        self.last_choices()
            .map(|(shown, chosen)| Observation {
                shown: shown.choices.iter().map(ShownChoice::features).collect(),
                chosen,
                weight: ratings.get(&shown.id).map_or(1.0, |r| f64::from(*r) / 3.0),
            })
            .collect()
    }

    /// What other policies are judged by: the reward is 1 when what was put first was chosen.
    #[must_use]
    pub fn log(&self) -> Vec<Logged> {
        self.last_choices()
            .filter_map(|(shown, chosen)| {
                Some(Logged {
                    candidates: shown.choices.iter().map(ShownChoice::features).collect(),
                    first: 0,
                    chance: shown.choices.first()?.chance_to_be_first,
                    reward: f64::from(u8::from(chosen == 0)),
                })
            })
            .collect()
    }
}

/// The histories of users, in memory.
///
/// One user's needs, answers, choices and outcomes are never part of another's; of reports only those
/// that were recorded as [`Sharing::Shared`], and only by [`History::shared_reports`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Version of this type's serialised form.
    pub schema: u32,
    /// The number that the next answer gets.
    next: u64,
    users: BTreeMap<String, UserHistory>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            schema: Self::SCHEMA,
            next: 1,
            users: BTreeMap::new(),
        }
    }
}

impl History {
    /// Version of the serialised form that this code writes.
    pub const SCHEMA: u32 = 1;

    /// Reads what `serde_json` wrote of a history.
    ///
    /// # Errors
    /// [`RecommendError::Json`] and [`RecommendError::Schema`].
    pub fn from_json(text: &str) -> Result<Self, RecommendError> {
        let read: Self =
            serde_json::from_str(text).map_err(|source| RecommendError::Json { source })?;
        if read.schema != Self::SCHEMA {
            return Err(RecommendError::Schema {
                expected: Self::SCHEMA,
                found: read.schema,
            });
        }
        Ok(read)
    }

    /// A copy of what is known of a user: empty for one who isn't known.
    #[must_use]
    pub fn of(&self, user: &str) -> UserHistory {
        self.users.get(user).cloned().unwrap_or_default()
    }

    /// Records an answer and returns its number.
    ///
    /// # Errors
    /// [`RecommendError::User`] for a name that isn't kept, [`RecommendError::OutOfRange`] for
    /// chances or features that can't be meant.
    pub fn record_shown(&mut self, user: &str, mut shown: Shown) -> Result<u64, RecommendError> {
        check_user(user)?;
        shown.check()?;
        shown.id = self.next;
        self.next += 1;
        let id = shown.id;
        self.users
            .entry(user.to_owned())
            .or_default()
            .shown
            .push(shown);
        Ok(id)
    }

    /// Records which of an answer's choices, by position from 0, was taken.
    ///
    /// # Errors
    /// [`RecommendError::NotRecorded`] when this user wasn't shown that answer,
    /// [`RecommendError::OutOfRange`] when it has no such position.
    pub fn record_choice(
        &mut self,
        user: &str,
        shown: u64,
        position: usize,
        day: &str,
    ) -> Result<(), RecommendError> {
        let of = self.users.get_mut(user);
        let of = of.ok_or(RecommendError::NotRecorded { shown })?;
        check_position(of.shown(shown)?.choices.len(), position)?;
        of.chosen.push(Chosen {
            shown,
            position,
            day: day.to_owned(),
        });
        Ok(())
    }

    /// Records how it went.
    ///
    /// # Errors
    /// [`RecommendError::NotRecorded`] when this user wasn't shown that answer,
    /// [`RecommendError::OutOfRange`] for a rating or note that can't be kept.
    pub fn record_outcome(&mut self, user: &str, outcome: Outcome) -> Result<(), RecommendError> {
        outcome.check()?;
        let shown = outcome.shown;
        let of = self.users.get_mut(user);
        let of = of.ok_or(RecommendError::NotRecorded { shown })?;
        of.shown(shown)?;
        of.outcomes.push(outcome);
        Ok(())
    }

    /// Records a measured run.
    ///
    /// # Errors
    /// [`RecommendError::User`], and as [`residual()`](super::residual()) when it can't be compared
    /// with the estimate.
    pub fn record_report(
        &mut self,
        user: &str,
        report: RunReport,
        sharing: Sharing,
        context: &Context<'_>,
    ) -> Result<(), RecommendError> {
        check_user(user)?;
        residual::residual(&report, context)?;
        let of = self.users.entry(user.to_owned()).or_default();
        of.reports.push(KeptReport { sharing, report });
        Ok(())
    }

    /// Reports that users other than this one shared.
    #[must_use]
    pub fn shared_reports(&self, user: &str) -> Vec<RunReport> {
        self.users
            .iter()
            .filter(|(name, _)| name.as_str() != user)
            .flat_map(|(_, of)| &of.reports)
            .filter(|kept| kept.sharing == Sharing::Shared)
            .map(|kept| kept.report.clone())
            .collect()
    }

    /// Forgets a user; returns whether anything was known.
    pub fn erase(&mut self, user: &str) -> bool {
        self.users.remove(user).is_some()
    }
}

fn out_of_range(field: &'static str, expected: &'static str, found: f64) -> RecommendError {
    RecommendError::OutOfRange {
        field,
        expected,
        found,
    }
}

pub(crate) fn check_position(shown: usize, position: usize) -> Result<(), RecommendError> {
    if position < shown {
        return Ok(());
    }
    let expected = "a position that was shown, from 0";
    Err(out_of_range("choice.position", expected, position as f64))
}

/// Names of users are kept as they are; an empty or endless one is a mistake of the caller.
pub(crate) fn check_user(user: &str) -> Result<(), RecommendError> {
    if (1..=LONGEST_USER).contains(&user.len()) {
        Ok(())
    } else {
        Err(RecommendError::User { bytes: user.len() })
    }
}
