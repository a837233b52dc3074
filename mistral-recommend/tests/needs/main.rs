//! The evaluation set: needs of many kinds, and what any sound answer to each must satisfy.
//!
//! Every row is checked against its own bounds, against the limits of the need as it was
//! understood, against dominance among the choices, and every reason against the catalogue, the
//! hardware table and the estimate.

mod bounds;
mod facts;
mod numbers;
mod witness;

use mistral_core::recommendation::{Choice, Recommendation};
use mistral_recommend::{
    Context, RecommendError, answer, page, recommend, text, understand, understand_json, with,
};
use serde_json::Value;

const ROWS: &str = include_str!("../../testdata/needs.jsonl");

fn ask(row: &Value, context: &Context<'_>) -> Result<Recommendation, RecommendError> {
    let understood = match row["text"].as_str() {
        Some(text) => understand(text, context),
        None => understand_json(&row["json"].to_string(), context),
    };
    understood.and_then(|u| answer(u, context))
}

fn rows() -> Vec<Value> {
    ROWS.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

/// Runs a check on all rows and reports every one that fails.
fn all(check: impl Fn(&Value, &Recommendation, &Context<'_>) -> Result<(), String>) {
    let context = Context::embedded("2026-11-23");
    let mut wrong = Vec::new();
    let mut answered = 0;
    for row in rows() {
        let Ok(r) = ask(&row, &context) else { continue };
        answered += 1;
        if let Err(e) = check(&row, &r, &context) {
            wrong.push(format!("{}: {e}", row["id"]));
        }
    }
    assert!(answered >= 50, "{answered} rows answered");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_set_is_large_and_its_ids_differ() {
    let rows = rows();
    let mut ids: Vec<&str> = rows.iter().filter_map(|r| r["id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() >= 60 && ids.len() == rows.len(), "{}", ids.len());
}

#[test]
fn every_row_keeps_its_bounds() {
    let context = Context::embedded("2026-11-23");
    let mut wrong = Vec::new();
    for row in rows() {
        if let Err(e) = bounds::row(&row["expect"], &ask(&row, &context)) {
            wrong.push(format!("{}: {e}", row["id"]));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_choice_keeps_the_limits_of_the_need() {
    all(|_, r, context| {
        if r.choices.is_empty() != r.infeasible.is_some() {
            return Err("neither choices nor what would have to give way".to_owned());
        }
        for c in &r.choices {
            bounds::limits(c, r, context).map_err(|e| format!("{}: {e}", c.model))?;
        }
        Ok(())
    });
}

/// What is compared: higher is better.
fn axes(c: &Choice) -> [Option<f64>; 5] {
    let p = &c.predicted;
    [
        c.parts.get("quality").copied(),
        p.ttft_ms.map(|i| -i.value),
        p.tpot_ms.map(|i| -i.value),
        p.tokens_per_s.map(|i| i.value),
        p.usd_per_month.map(|i| -i.value),
    ]
}

fn beats(a: &Choice, b: &Choice) -> bool {
    let pairs = axes(a).into_iter().zip(axes(b));
    let known = pairs.clone().all(|(x, y)| x.is_some() == y.is_some());
    known && pairs.clone().all(|(x, y)| x >= y) && pairs.clone().any(|(x, y)| x > y)
}

#[test]
fn nothing_is_shown_that_something_shown_dominates() {
    all(|_, r, _| {
        for (i, c) in r.choices.iter().enumerate() {
            for other in &r.choices {
                if c.pareto && beats(other, c) {
                    return Err(format!(
                        "{} is called Pareto, {} beats it",
                        c.model, other.model
                    ));
                }
                let support = |part: &str| {
                    let (theirs, own) = (other.parts.get(part), c.parts.get(part));
                    theirs.is_some() == own.is_some() && theirs >= own
                };
                let all = ["licence", "longevity", "provenance"]
                    .into_iter()
                    .all(support);
                if other.model != c.model && beats(other, c) && all {
                    return Err(format!(
                        "{i} {} is beaten in all by {}",
                        c.model, other.model
                    ));
                }
            }
        }
        Ok(())
    });
}

/// Quality, latency, cost and memory, each higher is better.
fn four(c: &Choice) -> [Option<f64>; 5] {
    let [quality, first, each, _, cost] = axes(c);
    let memory = c.predicted.memory_gb.map(|i| -i.value);
    [quality, first, each, cost, memory]
}

#[test]
fn what_is_beaten_in_quality_latency_cost_and_memory_is_marked() {
    let marked = std::cell::Cell::new(0);
    all(|_, r, _| {
        for c in &r.choices {
            for other in &r.choices {
                let pairs = four(other).into_iter().zip(four(c));
                let known = pairs.clone().all(|(x, y)| x.is_some() == y.is_some());
                let beaten = known
                    && pairs.clone().all(|(x, y)| x >= y)
                    && pairs.clone().any(|(x, y)| x > y);
                // More requests at once are the one thing that may stand against all four.
                let serves_more = axes(c)[3] > axes(other)[3];
                if beaten && c.pareto && !serves_more {
                    return Err(format!("{} is beaten by {}", c.model, other.model));
                }
                marked.set(marked.get() + u32::from(beaten));
            }
        }
        Ok(())
    });
    assert!(
        marked.get() > 0,
        "no row has such a pair: the test can't fail"
    );
}

#[test]
fn every_number_in_an_explanation_is_one_of_its_data() {
    all(|_, r, _| numbers::check(r));
}

#[test]
fn reasons_name_true_facts_only() {
    let mmlu = witness::Mmlu::fitted(&Context::embedded("2026-11-23"));
    all(|_, r, context| {
        for c in &r.choices {
            facts::choice(c, r, context)?;
            facts::stands_on(c, &mmlu, context)?;
        }
        for l in &r.lost {
            facts::lost(l, r, context)?;
        }
        Ok(())
    });
}

#[test]
fn a_wrong_fact_is_noticed() {
    use mistral_core::reason::Fact;
    let context = Context::embedded("2026-11-23");
    let row =
        serde_json::json!({"text": "a support bot on two rented L4, 2000 $/month, under 1 s"});
    let r = ask(&row, &context).expect("understood");
    let whole = &r.choices[0];
    let mut noticed = 0;
    for (i, reason) in whole.reasons.iter().enumerate() {
        for (name, fact) in &reason.facts {
            let mut false_one = whole.clone();
            let wrong = match fact {
                Fact::Bool(b) => Fact::Bool(!b),
                Fact::Number(n) => Fact::Number(n * 1.5 + 1.0),
                Fact::Text(t) => Fact::Text(format!("{t}x")),
            };
            false_one.reasons[i].facts.insert(name.clone(), wrong);
            let found = facts::choice(&false_one, &r, &context);
            assert!(found.is_err(), "{} {name} passed though false", reason.rule);
            noticed += 1;
        }
    }
    assert!(noticed >= 15, "{noticed}");
}

#[test]
fn a_wrong_reason_for_a_loss_is_noticed() {
    use mistral_core::reason::Fact;
    let noticed = std::cell::Cell::new(0);
    all(|_, r, context| {
        for l in &r.lost {
            for (i, reason) in l.reasons.iter().enumerate() {
                let mut wrong = l.clone();
                let facts = &mut wrong.reasons[i].facts;
                let told = match reason.rule.as_str() {
                    "dominated" => facts.insert("by".to_owned(), l.model.as_str().into()),
                    "hardware.memory_gb" | "latency.ttft_ms" | "budget.usd_per_month" => {
                        let Some(Fact::Number(n)) = facts.get("needs").cloned() else {
                            return Err(format!("{}: nothing needed", l.model));
                        };
                        // More than any other cut over the same machines would need.
                        facts.insert("needs".to_owned(), (n * 40.0).into())
                    }
                    _ => continue,
                };
                if told.is_none() || facts::lost(&wrong, r, context).is_ok() {
                    return Err(format!("{}: {:?} passed", l.model, wrong.reasons[i]));
                }
                noticed.set(noticed.get() + 1);
            }
        }
        Ok(())
    });
    assert!(noticed.get() >= 100, "{noticed:?}");
}

#[test]
fn what_would_have_to_give_way_does() {
    all(|_, r, context| {
        let Some(infeasible) = &r.infeasible else {
            return Ok(());
        };
        let alone = |c: &mistral_core::recommendation::Relax| {
            with(&r.need, &c.constraint, c.to.as_ref())
                .and_then(|n| recommend(n, context).ok())
                .is_some_and(|r| !r.choices.is_empty())
        };
        let together = infeasible
            .relax
            .iter()
            .try_fold(r.need.clone(), |n, c| {
                with(&n, &c.constraint, c.to.as_ref())
            })
            .and_then(|n| recommend(n, context).ok())
            .is_some_and(|r| !r.choices.is_empty());
        let failing: Vec<&str> = infeasible
            .relax
            .iter()
            // A load that is too large has no single value in the need.
            .filter(|c| c.constraint != "load" && !alone(c))
            .map(|c| c.constraint.as_str())
            .collect();
        if failing.is_empty() || together {
            Ok(())
        } else {
            Err(format!("{failing:?} of {:?}", infeasible.relax))
        }
    });
}

#[test]
fn the_same_need_gives_the_same_bytes_and_a_page() {
    all(|row, r, context| {
        let again = ask(row, context).map_err(|e| e.to_string())?;
        let bytes = |r: &Recommendation| serde_json::to_string(r).map_err(|e| e.to_string());
        if bytes(r)? != bytes(&again)? || page(r) != page(&again) {
            return Err("differs from itself".to_owned());
        }
        let back: Recommendation =
            serde_json::from_str(&bytes(r)?).map_err(|e| format!("does not read back: {e}"))?;
        if back.choices.len() != r.choices.len() || text(r, 8).is_empty() {
            return Err("lost on the way".to_owned());
        }
        Ok(())
    });
}
