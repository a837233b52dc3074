//! What users ask and what a good answer has.

use mistral_core::need::Need;
use mistral_core::plan::Runtime;
use mistral_core::recommendation::{Hosting, Recommendation};
use mistral_recommend::{Context, failed, plan, recommend_text, understand_json};

fn context() -> Context<'static> {
    Context::embedded("2026-11-23")
}

fn ask(text: &str) -> Recommendation {
    recommend_text(text, &context()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn a_support_bot_on_two_cards() {
    let r = ask("a support bot on two L4 cards, under 300 ms to first token, 500 €/month");
    let best = r.choices.first().expect("a choice");
    assert_eq!(
        (best.hosting, best.device.as_deref()),
        (Hosting::SelfHosted, Some("L4"))
    );
    assert!(best.count <= 2 && best.predicted.ttft_ms.is_some_and(|t| t.value <= 300.0));
    assert_eq!(best.licence, "Apache-2.0");
    assert!(
        r.lost
            .iter()
            .any(|l| l.model == "mistral-large-3" && l.because.contains("memory_gb"))
    );
    assert_eq!(r.question.expect("it asks who pays").topic, "hardware");
    assert!(r.assumed.iter().any(|a| a == "hardware.ownership: owned"));
}

#[test]
fn each_place_gets_what_runs_there() {
    for (text, runtimes) in [
        (
            "chat on my laptop with 16 GB of RAM",
            &[Runtime::LlamaServer, Runtime::MistralInfer][..],
        ),
        (
            "chat on an M4 Pro with 24 GB",
            &[Runtime::LlamaServer, Runtime::Mlx],
        ),
        ("chat on a GTX 1050 Ti", &[Runtime::LlamaServer]),
        (
            "chat on Raspberry Pi 5",
            &[Runtime::LlamaServer, Runtime::MistralInfer],
        ),
    ] {
        let r = ask(text);
        assert!(!r.choices.is_empty(), "{text}");
        for c in &r.choices {
            let runtime = c.runtime.unwrap_or_else(|| panic!("{text}: an API"));
            assert!(runtimes.contains(&runtime), "{text}: {runtime}");
        }
    }
    // A 24B model is no use on such a processor: it reads slower than people.
    let pi = ask("chat on Raspberry Pi 5");
    assert!(
        pi.choices[0].model.contains("3b"),
        "{}",
        pi.choices[0].model
    );
}

#[test]
fn the_job_decides_the_model() {
    for (text, able) in [
        (
            "fill-in-the-middle completion on an RTX 4090, research only",
            &["codestral-22b"][..],
        ),
        (
            "transcribe audio on an H100",
            &["voxtral-small-24b", "voxtral-mini-3b"],
        ),
        (
            "embeddings through the API",
            &["mistral-embed", "codestral-embed"],
        ),
        (
            "OCR through the API",
            &["mistral-ocr-3", "mistral-ocr-4.0", "mistral-ocr-4.1"],
        ),
        ("run Mixtral 8x7B on two H100", &["mixtral-8x7b"]),
    ] {
        let r = ask(text);
        let best = r
            .choices
            .first()
            .unwrap_or_else(|| panic!("{text}: nothing {:?}", r.infeasible));
        assert!(
            able.contains(&best.model.as_str()),
            "{text}: {}",
            best.model
        );
    }
    let vision = ask("questions about images on one H100");
    assert!(
        vision
            .choices
            .iter()
            .all(|c| c.capabilities.iter().any(|k| k.name() == "vision"))
    );
}

#[test]
fn licences_and_hosting_are_kept() {
    let commercial = ask("code assistant for our company on two H100");
    assert!(
        commercial
            .choices
            .iter()
            .all(|c| c.licence != "LicenseRef-MNPL")
    );
    let open = ask("open source chat on two H100");
    assert!(open.choices.iter().all(|c| c.licence == "Apache-2.0"));
    let api = ask("chat through the API for 100 users");
    assert!(
        api.choices
            .iter()
            .all(|c| c.hosting == Hosting::Api && c.device.is_none() && c.count == 0)
    );
    let offline = ask("offline chat on an H100");
    assert!(
        offline
            .choices
            .iter()
            .all(|c| c.hosting == Hosting::SelfHosted)
    );
    let open_question = ask("a chatbot for 50 users");
    assert!(
        open_question
            .choices
            .iter()
            .any(|c| c.hosting == Hosting::Api)
    );
    assert!(
        open_question
            .choices
            .iter()
            .any(|c| c.hosting == Hosting::SelfHosted)
    );
}

#[test]
fn the_impossible_says_what_would_do() {
    let r = ask("Mistral Large 3 on one RTX 4090");
    assert!(r.choices.is_empty());
    let relax = r.infeasible.expect("infeasible").relax;
    assert!(
        relax
            .iter()
            .any(|c| c.constraint == "hardware.memory_gb" && c.to.is_some()),
        "{relax:?}"
    );
    // Not to be had outside the API: all that stands in its way is named.
    let r = ask("Codestral 2508 on an A10G with vLLM in fp8");
    let relax = r.infeasible.expect("infeasible").relax;
    let named: Vec<&str> = relax.iter().map(|c| c.constraint.as_str()).collect();
    for constraint in ["hosting", "runtime", "precision"] {
        assert!(named.contains(&constraint), "{named:?}");
    }
    let r = ask("chat on an H100 that we rent, at most $10 per month");
    let relax = r.infeasible.expect("infeasible").relax;
    assert!(
        relax.iter().any(|c| c.constraint == "budget.usd_per_month"),
        "{relax:?}"
    );
    assert_eq!(
        r.question.map(|q| q.topic).as_deref(),
        Some("constraint_conflict")
    );
}

#[test]
fn a_choice_becomes_a_plan() {
    let r = ask("an agent with tools on 2 H100, 32k context, 16 concurrent users");
    let best = &r.choices[0];
    let p = plan(&r, best, &context()).expect("a plan");
    assert_eq!(p.model.id, best.model);
    assert!(
        p.model
            .hf_repo
            .as_deref()
            .is_some_and(|repo| repo.starts_with("mistralai/"))
    );
    assert_eq!(p.limits.context_tokens, 32_768);
    assert_eq!(p.limits.concurrency, 16);
    assert_eq!(p.placement.count % p.placement.tensor_parallel, 0);
    assert!(p.tools);
    assert!(
        p.memory.total_bytes > p.memory.weight_bytes
            && p.memory.total_bytes < p.memory.device_bytes
    );
    assert_eq!(p.serve.bind, "127.0.0.1");
    let json = serde_json::to_string(&p).expect("serialises");
    assert_eq!(
        serde_json::from_str::<mistral_core::plan::Plan>(&json).expect("parses"),
        p
    );

    let api = ask("chat through the API");
    let p = plan(&api, &api.choices[0], &context()).expect("a plan");
    assert_eq!(p.runtime, Runtime::MistralApi);
    assert_eq!((p.placement.device.as_str(), p.placement.count), ("api", 0));
    let model = context().catalog.get(&p.model.id).expect("listed");
    let names = &model.api_names.as_ref().expect("it is served").value;
    assert_eq!(p.serve.served_name.as_ref(), names.first());
    assert_eq!(p.serve.api_key_env.as_deref(), Some("MISTRAL_API_KEY"));
    assert!(p.expected.output_tokens.is_some());
    let json = serde_json::to_string(&p).expect("serialises");
    assert_eq!(
        serde_json::from_str::<mistral_core::plan::Plan>(&json).expect("parses"),
        p
    );
}

#[test]
fn a_need_in_json() {
    let read = |json: &str| understand_json(json, &context()).map(|u| u.need);
    let need = read(r#"{"text":"chat on an L4","context_tokens":4096}"#).expect("a need");
    assert_eq!(need.context_tokens, Some(4096));
    assert_eq!(need.hardware[0].device.as_deref(), Some("L4"));
    let code = |json: &str| {
        understand_json(json, &context())
            .and_then(|u| mistral_recommend::answer(u, &context()))
            .map_or_else(|e| e.code().to_owned(), |_| "fine".to_owned())
    };
    for (json, expected) in [
        ("{", "invalid_json"),
        ("[]", "invalid_json"),
        (r#"{"bugdet":{}}"#, "invalid_json"),
        (r#"{"schema":2}"#, "unknown_schema"),
        (r#"{"hardware":[{"device":"potato"}]}"#, "unknown_device"),
        (r#"{"models":["gpt-4"]}"#, "unsupported_model"),
        (r#"{"budget":{"usd_per_month":-1}}"#, "out_of_range"),
        (r#"{"latency":{"ttft_ms":0}}"#, "out_of_range"),
        (
            r#"{"hardware":[{"device":"L4","count":0}]}"#,
            "out_of_range",
        ),
        (r#"{"task":"chat"}"#, "fine"),
    ] {
        assert_eq!(code(json), expected, "{json}");
    }
}

#[test]
fn an_error_is_an_object_too() {
    let error = recommend_text("", &context()).expect_err("empty");
    let object = failed(Need::default(), &error);
    let json = serde_json::to_value(&object).expect("serialises");
    assert_eq!(json["error"]["code"], "empty_need");
    for field in [
        "need",
        "assumed",
        "question",
        "choices",
        "lost",
        "infeasible",
        "error",
    ] {
        assert!(json.get(field).is_some(), "{field}");
    }
}

#[test]
fn energy_is_power_over_rate() {
    let context = Context::embedded("2026-11-23");
    let answer = recommend_text("a support bot on two L4 cards", &context).expect("sound");
    let own = answer
        .choices
        .iter()
        .find(|c| c.device.as_deref() == Some("L4"));
    let own = own.expect("it runs there");
    let watts = context
        .device("L4")
        .and_then(|d| d.power_w)
        .expect("listed")
        * f64::from(own.count);
    let rate = own.predicted.tokens_per_s.expect("predicted");
    let joules = own.predicted.joules_per_token.expect("the power is known");
    assert!(
        (joules.value * rate.value / watts - 1.0).abs() < 1e-9,
        "{joules:?}"
    );
    assert!(
        joules.lo < joules.value && joules.value < joules.hi,
        "{joules:?}"
    );
    assert!(
        answer
            .choices
            .iter()
            .all(|c| c.device.is_some() || c.predicted.joules_per_token.is_none())
    );
}
