//! Laws of recommendations: what must hold for every need.

use std::collections::BTreeSet;

use mistral_core::need::{Budget, HardwareNeed, Need, Ownership, Task};
use mistral_recommend::{
    Candidate, Context, answer, feasible, recommend, understand, understand_json,
};
use proptest::prelude::*;

const TODAY: &str = "2026-11-23";
const DEVICES: &[&str] = &[
    "L4",
    "RTX 4090",
    "H100-SXM",
    "T4",
    "Apple M4 Pro",
    "Core i9-13900K DDR5-6400",
    "MI300X",
    "TPU v5e",
];

fn machine() -> impl Strategy<Value = HardwareNeed> {
    (0..DEVICES.len(), 1u32..5, 4.0f64..200.0, any::<bool>()).prop_map(|(d, count, gb, rented)| {
        HardwareNeed {
            device: Some(DEVICES[d].to_owned()),
            count,
            memory_gb: Some(gb),
            ownership: if rented {
                Ownership::Rented
            } else {
                Ownership::Owned
            },
        }
    })
}

fn need() -> impl Strategy<Value = Need> {
    (
        proptest::option::of(0..Task::ALL.len()),
        machine(),
        proptest::option::of(50.0f64..5000.0),
        proptest::option::of(5.0f64..20_000.0),
        proptest::option::of(1u32..200),
        proptest::option::of(512u32..200_000),
    )
        .prop_map(|(task, machine, ttft, budget, concurrency, context)| {
            let mut need = Need {
                task: task.map(|t| Task::ALL[t]),
                ..Need::default()
            };
            need.hardware.push(machine);
            need.latency.ttft_ms = ttft;
            need.budget = Budget {
                usd_per_month: budget,
                ..Budget::default()
            };
            need.load.concurrency = concurrency;
            need.context_tokens = context;
            need
        })
}

/// What distinguishes candidates.
fn keys(candidates: &[Candidate]) -> BTreeSet<String> {
    let key = |c: &Candidate| {
        format!(
            "{} {:?} {:?} {:?} {} {}",
            c.model, c.precision, c.runtime, c.device, c.count, c.tensor_parallel
        )
    };
    candidates.iter().map(key).collect()
}

fn kept(need: &Need) -> BTreeSet<String> {
    keys(&feasible(need, &Context::embedded(TODAY)).expect("a sound need"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn more_memory_never_removes_a_candidate(need in need(), factor in 1.0f64..4.0) {
        let before = kept(&need);
        let mut larger = need;
        for h in &mut larger.hardware {
            h.memory_gb = h.memory_gb.map(|gb| gb * factor);
        }
        let after = kept(&larger);
        prop_assert!(before.is_subset(&after), "{:?}", before.difference(&after).collect::<Vec<_>>());
    }

    #[test]
    fn a_bigger_budget_never_removes_a_candidate(need in need(), factor in 1.0f64..10.0, named in any::<bool>()) {
        let mut need = need;
        if !named {
            need.hardware.clear();
        }
        let before = kept(&need);
        let mut richer = need;
        richer.budget.usd_per_month = richer.budget.usd_per_month.map(|b| b * factor);
        let after = kept(&richer);
        prop_assert!(before.is_subset(&after), "{:?}", before.difference(&after).collect::<Vec<_>>());
    }

    #[test]
    fn more_patience_never_removes_a_candidate(need in need(), factor in 1.0f64..10.0) {
        let before = kept(&need);
        let mut patient = need;
        patient.latency.ttft_ms = patient.latency.ttft_ms.map(|t| t * factor);
        prop_assert!(before.is_subset(&kept(&patient)));
    }

    #[test]
    fn the_same_need_gives_the_same_bytes_and_keeps_its_limits(need in need()) {
        let context = Context::embedded(TODAY);
        let first = recommend(need.clone(), &context).expect("a sound need");
        let again = recommend(need.clone(), &context).expect("a sound need");
        let bytes = serde_json::to_string(&first).expect("serialises");
        prop_assert_eq!(&bytes, &serde_json::to_string(&again).expect("serialises"));
        prop_assert!(!bytes.contains("null,\"lo\""), "every number is finite");
        prop_assert_eq!(first.choices.is_empty(), first.infeasible.is_some());
        for pair in first.choices.windows(2) {
            prop_assert!(pair[0].score >= pair[1].score);
        }
        for c in &first.choices {
            prop_assert!((0.0..=1.0).contains(&c.score));
            prop_assert!(c.parts.values().all(|p| (0.0..=1.0).contains(p)));
            prop_assert!(!c.reasons.is_empty());
            if let (Some(limit), Some(value)) = (need.latency.ttft_ms, c.predicted.ttft_ms) {
                prop_assert!(value.value <= limit && value.lo <= value.value && value.value <= value.hi);
            }
            if let (Some(limit), Some(value)) = (need.budget.usd_per_month, c.predicted.usd_per_month) {
                prop_assert!(value.value <= limit);
            }
            let machine = &need.hardware[0];
            if let Some(gb) = c.predicted.memory_gb {
                let has = machine.memory_gb.expect("set") * f64::from(c.count);
                prop_assert!(gb.value <= has, "{} needs {} of {}", c.model, gb.value, has);
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(text in ".{0,300}") {
        let context = Context::embedded(TODAY);
        let _ = understand(&text, &context);
        let _ = understand_json(&text, &context);
    }

    #[test]
    fn any_words_are_survived(words in proptest::collection::vec(0..WORDS.len(), 1..12)) {
        let context = Context::embedded(TODAY);
        let text: Vec<&str> = words.iter().map(|w| WORDS[*w]).collect();
        let _ = understand(&text.join(" "), &context);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn any_words_are_answered(words in proptest::collection::vec(0..WORDS.len(), 1..12)) {
        let context = Context::embedded(TODAY);
        let text: Vec<&str> = words.iter().map(|w| WORDS[*w]).collect();
        if let Ok(understood) = understand(&text.join(" "), &context)
            && let Ok(r) = answer(understood, &context)
        {
                prop_assert_eq!(r.choices.is_empty(), r.infeasible.is_some());
        }
    }
}

/// Pieces of needs, sensible and not.
const WORDS: &[&str] = &[
    "chat",
    "code",
    "for",
    "on",
    "a",
    "two",
    "L4",
    "H100",
    "4090",
    "2x",
    "x",
    "-",
    "$",
    "€",
    "500",
    "0",
    "-1",
    "1e999",
    "99999999999999999999",
    "/month",
    "per",
    "month",
    "hour",
    "ms",
    "tokens",
    "first",
    "token",
    "k",
    "32k",
    "context",
    "GB",
    "16",
    "Go",
    "laptop",
    "users",
    "concurrent",
    "offline",
    "API",
    "sans",
    "no",
    "not",
    "Mixtral",
    "8x7b",
    "mistral",
    "nemo",
    ",",
    ";",
    "million",
    "/",
    "%",
    "par",
    "mois",
    "jour",
    "\u{0}",
    "🦀",
    "é",
    "fp8",
    "q4_k_m",
    "vllm",
    "1,000",
    "1 000",
    "0,5",
];
