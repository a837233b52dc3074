use mistral_core::need::{HostingNeed, LicenceNeed, Need, Ownership, Priority, Task};
use mistral_core::plan::Runtime;
use mistral_core::precision::Precision;

use super::*;

fn read(text: &str) -> Need {
    understand(text, &Context::embedded("2026-11-23"))
        .unwrap_or_else(|e| panic!("{text}: {e}"))
        .need
}

fn close(a: Option<f64>, b: f64) -> bool {
    a.is_some_and(|a| (a - b).abs() <= 1e-6 * b.abs().max(1.0))
}

#[test]
fn the_whole_sentence_of_the_design() {
    let need = read("a support bot on two L4 cards, under 300 ms to first token, 500 €/month");
    assert_eq!(need.task, Some(Task::Chat));
    assert_eq!(need.hardware.len(), 1);
    assert_eq!(
        (need.hardware[0].device.as_deref(), need.hardware[0].count),
        (Some("L4"), 2)
    );
    assert_eq!(need.latency.ttft_ms, Some(300.0));
    assert!(close(need.budget.usd_per_month, 575.0), "{:?}", need.budget);
}

#[test]
fn jobs() {
    for (text, task) in [
        ("a chatbot for my bakery", Task::Chat),
        ("code completion in my editor", Task::Fim),
        ("autocomplete (FIM) for VS Code", Task::Fim),
        (
            "an assistant that helps our team write Python code",
            Task::Code,
        ),
        ("an agent that calls tools", Task::Agents),
        ("OCR of scanned invoices", Task::Ocr),
        ("answer questions about images", Task::Vision),
        (
            "solve maths olympiad problems with reasoning",
            Task::Reasoning,
        ),
        ("RAG over our wiki", Task::Rag),
        ("summarizing medical notes", Task::Summarise),
        ("résumer de longs rapports", Task::Summarise),
        ("résume mes emails", Task::Summarise),
        ("screen resumes of applicants", Task::Extract),
        ("traduction de l'anglais vers le français", Task::Translate),
        ("classify tickets by sentiment", Task::Extract),
        ("transcrire des réunions audio", Task::Transcribe),
        ("embeddings for semantic search", Task::Embed),
        ("text to speech", Task::Speech),
        ("modération de commentaires", Task::Moderate),
        ("un assistant pour le service client", Task::Chat),
    ] {
        assert_eq!(read(text).task, Some(task), "{text}");
    }
    for text in [
        "a chatbot, no vision needed",
        "a chatbot, no need for images",
        "a chatbot; we don't need vision or tools",
        "a chatbot for 30 support agents",
        "a chatbot with our tone of voice",
        "a chatbot in a docker image",
    ] {
        let need = read(text);
        assert_eq!(
            (need.task, need.capabilities),
            (Some(Task::Chat), vec![]),
            "{text}"
        );
    }
    let agents = read("two servers with 4 H100 each, agents");
    assert_eq!(agents.task, Some(Task::Agents));
    // A word after a denied one isn't denied with it.
    assert_eq!(read("no cloud for our chatbot").task, Some(Task::Chat));
}

#[test]
fn machines_by_name_number_and_memory() {
    for (text, device, count, memory) in [
        ("chat on a single H100", "H100-SXM", 1, None),
        ("chat on 4x A100 80GB", "A100-80GB-SXM", 4, None),
        ("chat on 2 x RTX 4090", "RTX 4090", 2, None),
        ("chat on two 4090s", "RTX 4090", 2, None),
        ("deux L4 pour un chatbot", "L4", 2, None),
        ("un chatbot sur 8 H200", "H200-SXM", 8, None),
        ("chat on A100 40GB", "A100-40GB-SXM", 1, None),
        ("chat, H100 x4", "H100-SXM", 4, None),
        ("a pair of L40S for chat", "L40S", 2, None),
        (
            "chat on my laptop with 16 GB",
            "Core i9-13900K DDR5-6400",
            1,
            Some(16.0),
        ),
        (
            "un chat sur mon PC portable avec 16 Go de RAM",
            "Core i9-13900K DDR5-6400",
            1,
            Some(16.0),
        ),
        ("chat that fits in 24 GB", "L4", 1, None),
        ("chat on H100s", "H100-SXM", 8, None),
        ("chat on 2x4090", "RTX 4090", 2, None),
        ("chat on 2xRTX 4090", "RTX 4090", 2, None),
        ("chat, 8xH100 80GB", "H100-SXM", 8, None),
        ("chat on H100x4", "H100-SXM", 4, None),
        ("two servers with 4 H100 each, chat", "H100-SXM", 8, None),
        ("2 nodes of 8xH100 for chat", "H100-SXM", 16, None),
        ("2 to 4 GPUs with 24 GB each, chat", "L4", 4, None),
        ("chat, 32 GB RAM and 8 GB VRAM", "RTX 2080", 1, None),
        ("chat on an RTX 4060 8GB", "RTX 2080", 1, None),
        ("chat with 640 GB of VRAM", "A100-80GB-SXM", 8, None),
        ("RAG over our documents on a 24 GB GPU", "L4", 1, None),
        ("RAG over 10 GB of documents, 24 GB GPU", "L4", 1, None),
        (
            "we don't have a GPU, 32 GB of RAM, chat",
            "Core i9-13900K DDR5-6400",
            1,
            Some(32.0),
        ),
        ("chat on a 24 GB GPU", "L4", 1, None),
        ("chat with 8GB VRAM card", "RTX 2080", 1, None),
        ("M4 Pro with 24 GB, coding", "Apple M4 Pro", 1, Some(24.0)),
        ("MacBook with 32GB, chat", "Apple M4", 1, None),
        ("Raspberry Pi 5, chat", "Raspberry Pi 5 8GB", 1, None),
        (
            "CPU only, 64 GB of RAM, chat",
            "Core i9-13900K DDR5-6400",
            1,
            Some(64.0),
        ),
    ] {
        let need = read(text);
        let h = need
            .hardware
            .first()
            .unwrap_or_else(|| panic!("{text}: no machine"));
        assert_eq!(
            (h.device.as_deref(), h.count, h.memory_gb),
            (Some(device), count, memory),
            "{text}"
        );
    }
    for text in [
        "summarise 40 GB of data",
        "RAG over 10 GB of documents",
        "RAG sur 1 To de PDF",
        "chat for 10 to 20 users",
    ] {
        assert!(read(text).hardware.is_empty(), "{text}");
    }
    assert_eq!(
        read("chat on 2 rented L4 in the cloud").hardware[0].ownership,
        Ownership::Rented
    );
    assert_eq!(
        read("chat on my two L4").hardware[0].ownership,
        Ownership::Owned
    );
}

#[test]
fn money() {
    for (text, usd) in [
        ("chat for $500/month", 500.0),
        ("chat, 500 dollars a month", 500.0),
        ("chat pour 200 € par mois", 230.0),
        ("chat, budget 2k€ per month", 2300.0),
        ("chat under $12,000 per year", 1000.0),
        ("chat, max 1 000 euros par mois", 1150.0),
        ("chat, budget of $300", 300.0),
        ("chat - $300/month", 300.0),
        ("chat, USD 500 per month", 500.0),
        ("chat, budget of 500 per month", 500.0),
        ("chat, $20 per user per month for 50 users", 1000.0),
    ] {
        assert!(
            close(read(text).budget.usd_per_month, usd),
            "{text}: {:?}",
            read(text).budget
        );
    }
    assert!(close(read("chat for $2/hour").budget.usd_per_hour, 2.0));
    for text in [
        "chat at $0.5 per million tokens",
        "chat, max $0.5 per 1M tokens",
        "chat, $0.5/Mtok",
        "chat at $0.0005 per 1k tokens",
    ] {
        assert!(close(read(text).budget.usd_per_mtok, 0.5), "{text}");
        assert_eq!(read(text).context_tokens, None, "{text}");
    }
}

#[test]
fn limits_on_time() {
    for (text, ms) in [
        ("chat, first token under 300ms", 300.0),
        ("chat, TTFT < 0.5 s", 500.0),
        ("chat, premier token en moins de 2 secondes", 2000.0),
        ("chat, latency below 200 ms", 200.0),
        ("chat, responds within 1 second", 1000.0),
        ("chat, first token in half a second", 500.0),
        ("chat, replies in under a second", 1000.0),
        ("chat, premier token en moins d'une seconde", 1000.0),
    ] {
        assert!(
            close(read(text).latency.ttft_ms, ms),
            "{text}: {:?}",
            read(text).latency
        );
    }
    assert!(close(read("chat, 50 ms per token").latency.tpot_ms, 50.0));
    assert!(close(
        read("chat at 40 tokens/s per user").latency.tpot_ms,
        25.0
    ));
    assert!(close(
        read("chat, 2000 tokens per second in total")
            .latency
            .tokens_per_s,
        2000.0
    ));
    assert!(close(
        read("chat, the complete answer in 5 seconds")
            .latency
            .answer_ms,
        5000.0
    ));
}

#[test]
fn load_and_context() {
    assert_eq!(read("chat for 50 users").load.users, Some(50));
    assert_eq!(
        read("chat for 200 concurrent users").load.concurrency,
        Some(200)
    );
    assert_eq!(
        read("chat, 30 utilisateurs simultanés").load.concurrency,
        Some(30)
    );
    assert_eq!(
        read("chat, 20 requests at the same time").load.concurrency,
        Some(20)
    );
    assert!(close(
        read("chat, 10k requests per day").load.requests_per_day,
        10_000.0
    ));
    assert!(close(
        read("chat, 5 requests per second").load.requests_per_s,
        5.0
    ));
    assert!(close(
        read("chat, 5 million tokens a month").load.tokens_per_month,
        5e6
    ));
    assert_eq!(read("chat with 32k context").context_tokens, Some(32_768));
    assert_eq!(
        read("chat, context of 100k tokens").context_tokens,
        Some(100_000)
    );
    assert_eq!(read("chat, contexte de 128k").context_tokens, Some(131_072));
    assert_eq!(
        read("chat, prompts of 2000 tokens").load.prompt_tokens,
        Some(2000)
    );
    assert_eq!(
        read("chat, answers of 500 tokens").load.output_tokens,
        Some(500)
    );
    let both = read("chat, 500 input tokens, 200 output tokens").load;
    assert_eq!(
        (both.prompt_tokens, both.output_tokens),
        (Some(500), Some(200))
    );
    assert_eq!(
        read("summarise documents of 100 pages").context_tokens,
        Some(72_000)
    );
    assert_eq!(
        read("summarise 100k token documents").context_tokens,
        Some(100_000)
    );
    for text in [
        "summarise 100-page reports",
        "summarise 100-page reports on an L4",
    ] {
        assert_eq!(read(text).context_tokens, Some(72_000), "{text}");
    }
    assert!(close(
        read("moderate 5k comments per day").load.requests_per_day,
        5000.0
    ));
    for (text, a_day) in [
        ("summarise discharge letters, 2000 per day", 2000.0),
        ("sentiment of tweets, 30 tweets per hour", 720.0),
    ] {
        let load = read(text).load;
        assert!(close(load.requests_per_day, a_day), "{text}: {load:?}");
    }
    assert_eq!(read("RAG, 10 GB per month").load.requests_per_day, None);
    assert!(close(
        read("answers should start within half a second, chat")
            .latency
            .ttft_ms,
        500.0
    ));
    assert_eq!(read("a voice-free chat").task, Some(Task::Chat));
    let words = read("traduire 5 millions de mots par mois").load;
    assert!(close(words.tokens_per_month, 6.75e6), "{words:?}");
    assert!(close(
        read("translate 1 million words a month")
            .load
            .tokens_per_month,
        1.35e6
    ));
}

#[test]
fn conditions_and_wishes() {
    assert_eq!(
        read("chat, fully offline").hosting,
        Some(HostingNeed::Offline)
    );
    assert_eq!(read("chat through the API").hosting, Some(HostingNeed::Api));
    assert_eq!(
        read("un chat auto-hébergé").hosting,
        Some(HostingNeed::SelfHosted)
    );
    for (text, hosting) in [
        ("chat, no cloud", HostingNeed::SelfHosted),
        ("serve a chat API on two L4", HostingNeed::SelfHosted),
        ("chat on an H100 behind a REST API", HostingNeed::SelfHosted),
    ] {
        assert_eq!(read(text).hosting, Some(hosting), "{text}");
    }
    assert_eq!(read("chat, the Mistral API or two L4").hosting, None);
    assert_eq!(read("a chatbot for our SaaS product").hosting, None);
    let unsaid = read("a chatbot for a small business, mit zwei L4");
    assert_eq!(
        (unsaid.priorities, unsaid.licence.open_source),
        (vec![], None)
    );
    for text in ["chat, not for commercial use", "chat, projet de recherche"] {
        assert_eq!(read(text).licence.commercial, Some(false), "{text}");
    }
    assert_eq!(read("moteur de recherche, RAG").licence.commercial, None);
    for (text, ownership) in [
        ("AI chat on an H100 at $3/hour", Ownership::Rented),
        ("chat on our H100, no cloud", Ownership::Owned),
        ("chat on H100s that we rent", Ownership::Rented),
    ] {
        assert_eq!(read(text).hardware[0].ownership, ownership, "{text}");
    }
    let licence = read("chat, Apache licence, commercial").licence;
    assert_eq!(
        licence,
        LicenceNeed {
            commercial: Some(true),
            open_source: Some(true),
            open_weights: None
        }
    );
    assert_eq!(
        read("chat for research only").licence.commercial,
        Some(false)
    );
    assert_eq!(read("cheapest chat").priorities, [Priority::Cost]);
    assert_eq!(
        read("le chat le moins cher et rapide").priorities,
        [Priority::Cost, Priority::Speed]
    );
    assert_eq!(read("chat with vLLM in fp8").runtime, Some(Runtime::Vllm));
    assert_eq!(
        read("chat with vLLM in fp8").precision,
        Some(Precision::Fp8)
    );
    assert_eq!(read("run Mixtral 8x7B on an H100").models, ["mixtral-8x7b"]);
    assert_eq!(
        read("chat with Large 3 on 8 H200").models,
        ["mistral-large-3"]
    );
    assert_eq!(
        read("chat, but not Mixtral 8x7B").excluded_models,
        ["mixtral-8x7b"]
    );
    assert_eq!(read("a chat in French and German").languages, ["fr", "de"]);
}

#[test]
fn what_is_no_need_is_said_so() {
    let context = Context::embedded("2026-11-23");
    let code = |text: &str| {
        understand(text, &context)
            .map(|_| "understood")
            .unwrap_or_else(|e| e.code())
    };
    for (text, expected) in [
        ("", "empty_need"),
        ("  \n", "empty_need"),
        ("asdf qwer zxcv", "not_understood"),
        ("💥💥💥", "not_understood"),
        ("chat for 0 users", "out_of_range"),
        ("chat for 1e12 users", "out_of_range"),
        ("chat on 1e999 H100", "out_of_range"),
        ("chat for -$500 per month", "out_of_range"),
        ("chat on 0 L4", "out_of_range"),
        ("chat on 99999 H100", "out_of_range"),
        ("chat on -2 L4", "out_of_range"),
        ("chat for -5 users", "out_of_range"),
        ("chat with a context of 10 billion tokens", "out_of_range"),
        ("chat for 500 CHF per month", "unknown_currency"),
        ("chat, ¥50000 a month", "unknown_currency"),
        ("chat on an RTX 4060", "unknown_device"),
        ("chat on my iPhone", "unknown_device"),
        ("what is the weather", "not_understood"),
    ] {
        assert_eq!(code(text), expected, "{text}");
    }
    assert_eq!(code(&"a".repeat(MAX_TEXT + 1)), "too_long");
    let both = understand("offline chat through the API", &context).expect("understood");
    assert_eq!(
        both.question.map(|q| q.topic).as_deref(),
        Some("constraint_conflict")
    );
}

#[test]
fn another_variant_is_another_device() {
    let context = Context::embedded("2026-11-23");
    for (text, expected) in [
        ("a chatbot on an RTX 4070 Ti", "4070 ti"),
        ("a chatbot on my 4080 Super", "4080 super"),
        ("un assistant sur un Raspberry Pi 4", "raspberry pi 4"),
        ("a chatbot on a Raspberry Pi 4 with 4 GB", "raspberry pi 4"),
    ] {
        match understand(text, &context) {
            Err(RecommendError::UnknownDevice { name, .. }) => {
                assert!(name.ends_with(expected), "{text}: {name}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for (text, device) in [
        ("a chatbot on an RTX 3090 Ti", "RTX 3090 Ti"),
        ("a chatbot on a 5070 Ti", "RTX 5070 Ti"),
        ("a chatbot on a Raspberry Pi 5", "Raspberry Pi 5 8GB"),
        ("a chatbot on a Raspberry Pi, 8 GB", "Raspberry Pi 5 8GB"),
        ("a chatbot on a Raspberry Pi 8 GB", "Raspberry Pi 5 8GB"),
        ("a super chatbot on an RTX 4090, super fast", "RTX 4090"),
    ] {
        let found = read(text).hardware;
        assert_eq!(found[0].device.as_deref(), Some(device), "{text}");
    }
}

#[test]
fn wishes_are_those_of_the_model() {
    let small = |text| read(text).priorities.contains(&Priority::Size);
    assert!(small("a small model for a chatbot"));
    assert!(small("the smallest model for code"));
    assert!(!small("I run a small bakery and want a chatbot"));
    assert!(!small("un chatbot pour un petit hôtel"));
    let best = |text| read(text).priorities.contains(&Priority::Quality);
    assert!(best("the best coding model for one 24 GB GPU"));
    assert!(!best("a chatbot, whatever suits best"));
    assert_eq!(read("embed 10 million documents").task, Some(Task::Embed));
    assert_ne!(read("embed a chatbot in our site").task, Some(Task::Embed));
    let hosting = |text| read(text).hosting;
    assert_eq!(
        hosting("chat, API or self hosted, whichever is cheaper"),
        None
    );
    assert_eq!(hosting("chat, self hosted"), Some(HostingNeed::SelfHosted));
    let load = read("500 tokens in and 100 out, 1M requests per month").load;
    assert_eq!(
        (load.prompt_tokens, load.output_tokens),
        (Some(500), Some(100))
    );
}
