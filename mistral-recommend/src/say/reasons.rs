//! Rules and facts in sentences: why a choice stands where it stands, and why a model lost.

use mistral_core::reason::{Fact, Reason};
use mistral_core::recommendation::Lost;

use super::Voice;
use crate::understand::Language;

fn says(r: &Reason, fact: &str, value: bool) -> bool {
    r.facts.get(fact) == Some(&Fact::Bool(value))
}

fn has(r: &Reason, fact: &str) -> bool {
    r.facts.contains_key(fact)
}

/// The key of what a choice's reason says.
fn why(r: &Reason) -> String {
    let variant = match r.rule.as_str() {
        "within_budget" if has(r, "limit_usd_per_month") => ".month",
        "within_budget" => ".mtok",
        "latency_not_predicted" if has(r, "limited") => ".limited",
        "longevity" if has(r, "replacement") => ".replaced",
        "api_price" if has(r, "usd_per_1000_pages") => ".pages",
        "api_price" if has(r, "usd_per_mtok_out") => ".both",
        "quality_for_task" => match r.facts.get("basis") {
            Some(Fact::Text(t)) if t == "published_mmlu" => ".published_mmlu",
            Some(Fact::Text(t)) if t == "unknown" => ".unknown",
            _ => "",
        },
        _ => "",
    };
    format!("why.{}{variant}", r.rule)
}

/// The key of what a loss says.
fn loss(r: &Reason) -> String {
    let variant = match r.rule.as_str() {
        "retired" if has(r, "since") => ".since",
        "hosting" if has(r, "since") => ".since",
        "hosting" if !has(r, "nearest") => ".unserved",
        "hosting" if r.facts.get("limit") == Some(&"api".into()) => ".own",
        "hosting" if says(r, "open_weights", true) => ".api",
        "hosting" => ".unpublished",
        "licence.commercial" | "licence.open_source" if !has(r, "licence") => {
            return "lost.licence.unknown".to_owned();
        }
        "score" if has(r, "weakest") => ".weakest",
        _ => "",
    };
    format!("lost.{}{variant}", r.rule)
}

impl Voice {
    /// A choice's reason in words; a rule without words of its own shows its facts.
    pub(crate) fn sentence(self, r: &Reason) -> String {
        let Some(phrase) = self.find(&why(r)) else {
            return self.bare(r);
        };
        let mut said = self.tell(phrase, &r.facts);
        if has(r, "made_for_task") {
            said.push_str(self.word("why.made_for_task"));
        }
        if matches!(r.rule.as_str(), "meets_ttft" | "meets_tpot") && says(r, "safe", false) {
            said.push_str(self.word("why.unsafe"));
        }
        said
    }

    /// Why a model lost, in words; what was read back without reasons keeps its own.
    pub(crate) fn loss(self, l: &Lost) -> String {
        if l.reasons.is_empty() {
            return l.because.clone();
        }
        let said: Vec<String> = l.reasons.iter().map(|r| self.lost(r)).collect();
        said.join(self.word("semicolon"))
    }

    fn lost(self, r: &Reason) -> String {
        match self.find(&loss(r)) {
            Some(phrase) => self.tell(phrase, &r.facts),
            None => self.bare(r),
        }
    }

    fn bare(self, r: &Reason) -> String {
        let facts = r.facts.iter();
        let facts: Vec<String> = facts
            .map(|(k, v)| format!("{} {}", k.replace('_', " "), self.fact(Some(v))))
            .collect();
        format!(
            "{}{}{}",
            r.rule.replace('_', " "),
            self.word("colon"),
            facts.join(", ")
        )
    }
}

/// Reasons for a loss as [`Lost::because`] has them: each rule, a colon and a sentence.
pub(crate) fn because(reasons: &[Reason]) -> String {
    let voice = Voice(Language::English);
    let each = reasons.iter();
    let each: Vec<String> = each
        .map(|r| format!("{}: {}", r.rule, voice.lost(r)))
        .collect();
    each.join("; ")
}
