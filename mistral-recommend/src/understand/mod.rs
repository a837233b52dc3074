//! From words to a need.
//!
//! A grammar of amounts, names and phrases in English and French: no model is needed, the same
//! text gives the same need, and any text at all is survived.

mod amounts;
mod machines;
mod meaning;
mod names;
mod pieces;
mod vocabulary;
mod words;

use std::collections::BTreeSet;

use mistral_core::need::{HardwareNeed, HostingNeed, Need, Ownership};
use mistral_core::recommendation::Question;

use crate::{Context, RecommendError};
use pieces::{Kind, Piece};
use words::Words;

/// Longest text that is read, in characters: a page, and far more than any need.
pub const MAX_TEXT: usize = 20_000;

/// A need with what its text left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Understood {
    /// The need as said.
    pub need: Need,
    /// What the reading itself had to assume, as `name: value`.
    pub assumed: Vec<String>,
    /// What the text contradicts or leaves so open that it must be asked.
    pub question: Option<Question>,
    /// The language to answer in.
    pub language: Language,
}

impl From<Need> for Understood {
    fn from(need: Need) -> Self {
        Self {
            language: Language::of(&need),
            need,
            assumed: Vec::new(),
            question: None,
        }
    }
}

impl Understood {
    /// Replaces the machines of the need; who names a machine means to use it.
    pub fn on(&mut self, hardware: Vec<HardwareNeed>) {
        self.need.hardware = hardware;
        self.assumed.retain(|a| !a.starts_with("hardware."));
        if matches!(self.need.hosting, None | Some(HostingNeed::Api)) {
            self.need.hosting = Some(HostingNeed::SelfHosted);
        }
    }
}

/// The languages that are read and asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// French.
    French,
}

impl Language {
    /// The language of a need's own words; English when it has none.
    #[must_use]
    pub fn of(need: &Need) -> Self {
        let said = need.text.as_deref().unwrap_or_default();
        let start: String = said.chars().take(MAX_TEXT).collect();
        language(&pieces::cut(&pieces::fold(&start)))
    }
}

/// What reading leaves beside the need.
#[derive(Debug, Default)]
struct Notes {
    /// Assumptions, each once, in order.
    assumed: BTreeSet<String>,
    /// A budget for each user, until their number is known.
    usd_per_user_and_month: Option<f64>,
}

impl Notes {
    fn assume(&mut self, name: &str, value: &str) {
        self.assumed.insert(format!("{name}: {value}"));
    }
}

/// Reads a need.
///
/// # Errors
/// [`RecommendError::Empty`], [`RecommendError::TooLong`], [`RecommendError::NotUnderstood`] when
/// nothing in the text is a job, a machine, a model or a limit, and
/// [`RecommendError::OutOfRange`] for amounts that can't be meant.
pub fn understand(text: &str, context: &Context<'_>) -> Result<Understood, RecommendError> {
    let found = text.chars().count();
    if found > MAX_TEXT {
        return Err(RecommendError::TooLong {
            limit: MAX_TEXT,
            found,
        });
    }
    if text.trim().is_empty() {
        return Err(RecommendError::Empty);
    }
    let pieces = names::recognise(pieces::cut(&pieces::fold(text)), context);
    let language = language(&pieces);
    let mut need = Need {
        text: Some(text.trim().to_owned()),
        ..Need::default()
    };
    let mut notes = Notes::default();
    let words = Words::of(&pieces);
    words::read(&words, &mut need);

    let amounts = amounts::amounts(&pieces);
    let mut used = vec![false; amounts.len()];
    need.hardware = machines::machines(&pieces, &amounts, &mut used, context, &mut notes)?;
    for (amount, used) in amounts.iter().zip(&mut used) {
        if !*used {
            *used = meaning::place(amount, &pieces, &mut need, &mut notes)?;
        }
    }
    settle_budget(&mut need, &mut notes);
    models(&pieces, &mut need);

    let said = Need {
        text: None,
        ..need.clone()
    };
    if said == Need::default() {
        return Err(RecommendError::NotUnderstood);
    }
    let mut question = None;
    if words::hosting_conflict(&words) {
        question = Some(crate::question::of(
            "constraint_conflict",
            "ask.network",
            language,
        ));
    }
    settle_ownership(&pieces, &words, &mut need, &mut notes);
    settle_hosting(&words, &mut need, &mut notes);
    Ok(Understood {
        need,
        assumed: notes.assumed.into_iter().collect(),
        question,
        language,
    })
}

/// Reads a need in JSON (see [`Need`]). When it has a `text`, the text is read first and the other
/// fields take precedence over what it says.
///
/// # Errors
/// [`RecommendError::Json`] when it isn't a need, and as [`understand`] for its text.
pub fn understand_json(json: &str, context: &Context<'_>) -> Result<Understood, RecommendError> {
    let bad = |source| RecommendError::Json { source };
    let value: serde_json::Value = serde_json::from_str(json).map_err(bad)?;
    if !value.is_object() {
        // A list would pass as the fields in order.
        return Err(bad(serde::de::Error::custom("expected an object")));
    }
    let said: Need = serde_json::from_value(value.clone()).map_err(bad)?;
    let text = said.text.as_deref().filter(|t| !t.trim().is_empty());
    let (Some(text), serde_json::Value::Object(fields)) = (text, value) else {
        return Ok(Understood::from(said));
    };
    let mut read = understand(text, context)?;
    let mut merged = serde_json::to_value(&read.need).map_err(bad)?;
    if let Some(object) = merged.as_object_mut() {
        object.extend(fields);
    }
    read.need = serde_json::from_value(merged).map_err(bad)?;
    Ok(read)
}

/// Models that the text wants or rules out.
fn models(pieces: &[Piece], need: &mut Need) {
    for (i, piece) in pieces.iter().enumerate() {
        let Kind::Model(id) = &piece.kind else {
            continue;
        };
        let before = pieces[i.saturating_sub(2)..i].iter();
        let denied = before.clone().any(|p| {
            p.is(&[
                "no",
                "not",
                "without",
                "except",
                "but",
                "sauf",
                "pas",
                "sans",
                "avoid",
                "eviter",
                "excluding",
                "replace",
                "remplacer",
                "than",
                "que",
            ])
        });
        let list = if denied {
            &mut need.excluded_models
        } else {
            &mut need.models
        };
        if !list.contains(id) {
            list.push(id.clone());
        }
    }
}

/// A budget for each user is one for all of them.
fn settle_budget(need: &mut Need, notes: &mut Notes) {
    let Some(each) = notes.usd_per_user_and_month else {
        return;
    };
    let users = need
        .load
        .users
        .or(need.load.concurrency)
        .unwrap_or_else(|| {
            notes.assume("load.users", "1");
            1
        });
    let all = each * f64::from(users);
    let limit = need.budget.usd_per_month.map_or(all, |old| old.min(all));
    need.budget.usd_per_month = Some(limit);
}

fn settle_ownership(pieces: &[Piece], words: &Words, need: &mut Need, notes: &mut Notes) {
    if need.hardware.is_empty() {
        return;
    }
    let said = words::ownership(words);
    let ownership = match said {
        Some(o) => o,
        // A price an hour is a rent.
        None if need.budget.usd_per_hour.is_some() => Ownership::Rented,
        None => Ownership::Owned,
    };
    for machine in &mut need.hardware {
        machine.ownership = ownership;
    }
    if said.is_none() && !machines::belongs_to_user(pieces) {
        let name = match ownership {
            Ownership::Owned => "owned",
            Ownership::Rented => "rented",
        };
        notes.assume("hardware.ownership", name);
    }
}

/// Who names a machine means to use it; who names the API beside it compares them.
fn settle_hosting(words: &Words, need: &mut Need, notes: &mut Notes) {
    if need.hardware.is_empty() {
        return;
    }
    match need.hosting {
        Some(HostingNeed::Api) if words::names_mistrals_api(words) => {
            need.hosting = None;
            notes.assume("hosting", "self_hosted or api");
        }
        None | Some(HostingNeed::Api) => {
            need.hosting = Some(HostingNeed::SelfHosted);
            notes.assume("hosting", "self_hosted");
        }
        _ => {}
    }
}

fn language(pieces: &[Piece]) -> Language {
    const FRENCH: &[&str] = &[
        "le", "la", "les", "un", "une", "des", "du", "pour", "avec", "sur", "je", "mon", "ma",
        "mes", "nous", "notre", "moins", "par", "mois", "et", "en", "est", "sans", "jour",
        "besoin", "veux", "qui", "dans", "au", "aux", "quel", "quelle",
    ];
    const ENGLISH: &[&str] = &[
        "the", "a", "an", "for", "with", "on", "my", "our", "we", "need", "under", "per", "month",
        "and", "in", "is", "without", "day", "want", "that", "to", "of", "which", "what", "i",
    ];
    let count = |words: &[&str]| pieces.iter().filter(|p| p.is(words)).count();
    if count(FRENCH) > count(ENGLISH) {
        Language::French
    } else {
        Language::English
    }
}

#[cfg(test)]
mod tests;
