//! The page: well-formed, whole, and safe whatever stands in the recommendation.

use std::sync::OnceLock;

use mistral_core::need::Need;
use mistral_core::reason::{Fact, Reason};
use mistral_core::recommendation::{
    BreakEven, Change, Failure, Hosting, Infeasible, Interval, Lost, Question, Recommendation,
    Relax, Winner,
};
use mistral_recommend::{Context, explain, failed, page, recommend_text, text};
use proptest::prelude::*;
use roxmltree::{Document, ParsingOptions};

/// Every element that the page may have.
const ELEMENTS: &[&str] = &[
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "main",
    "p",
    "h1",
    "h2",
    "blockquote",
    "strong",
    "section",
    "ul",
    "ol",
    "li",
    "div",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "span",
    "details",
    "summary",
    "b",
    "br",
    "i",
    "figure",
    "figcaption",
    "svg",
    "desc",
    "g",
    "line",
    "text",
    "circle",
    "rect",
    "polyline",
];

fn answered(need: &str) -> Recommendation {
    let context = Context::embedded("2026-11-23");
    let mut r = recommend_text(need, &context).unwrap_or_else(|e| panic!("{need}: {e}"));
    explain(&mut r, &context);
    r
}

/// Parses a page; fails when it has anything that the templates don't make.
fn check(html: &str) -> Result<Vec<String>, String> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(html, options).map_err(|e| e.to_string())?;
    let mut texts = Vec::new();
    for node in document.descendants() {
        if node.is_element() {
            let name = node.tag_name().name();
            if !ELEMENTS.contains(&name) {
                return Err(format!("element {name}"));
            }
            for attribute in node.attributes() {
                let (name, value) = (attribute.name(), attribute.value());
                if name.starts_with("on") || matches!(name, "href" | "src" | "action") {
                    return Err(format!("attribute {name}={value}"));
                }
            }
        }
        texts.extend(node.text().filter(|_| node.is_text()).map(str::to_owned));
        if node.is_comment() || node.is_pi() {
            return Err("a comment or an instruction".to_owned());
        }
    }
    Ok(texts)
}

#[test]
fn each_kind_of_answer_has_a_page() {
    for need in [
        "a support bot on two L4 cards, under 300 ms to first token, 500 €/month",
        "a chatbot for 50 users",
        "Mistral Large 3 on one RTX 4090",
        "un assistant hors ligne sur un MacBook Pro M4 Max 64 Go",
        "OCR through the API",
    ] {
        let r = answered(need);
        let html = page(&r);
        let texts = check(&html).unwrap_or_else(|e| panic!("{need}: {e}"));
        assert!(
            texts.iter().any(|t| t == need),
            "{need}: the need isn't shown"
        );
        assert_eq!(html, page(&r), "{need}");
        for c in &r.choices {
            assert!(texts.contains(&c.model), "{need}: {} isn't shown", c.model);
        }
        for l in &r.lost {
            let english = l.reasons.len() == 1 && html.contains("<html lang=\"en\">");
            let rule = &l.reasons[0].rule;
            let said = |t: &String| format!("{rule}: {t}") == l.because;
            assert!(texts.contains(&l.model), "{need}: {} isn't shown", l.model);
            assert!(!english || texts.iter().any(said), "{need}: {}", l.because);
        }
        let document = Document::parse_with_options(
            &html,
            ParsingOptions {
                allow_dtd: true,
                ..ParsingOptions::default()
            },
        )
        .expect("checked above");
        for node in document.descendants().filter(roxmltree::Node::is_element) {
            let has = |name| node.children().any(|c| c.has_tag_name(name));
            match node.tag_name().name() {
                "svg" => assert!(
                    has("title") && has("desc"),
                    "{need}: a drawing without words"
                ),
                "table" => assert!(has("caption"), "{need}: a table without a caption"),
                _ => {}
            }
        }
        let drawn = html.matches("<svg").count();
        let on_machines = r.choices.iter().any(|c| c.hosting == Hosting::SelfHosted);
        assert_eq!(drawn > 0, on_machines, "{need}");
        assert!(!text(&r, 3).is_empty());
    }
}

#[test]
fn an_error_has_a_page() {
    let error = recommend_text("", &Context::embedded("2026-11-23")).expect_err("empty");
    let html = page(&failed(Need::default(), &error));
    let texts = check(&html).expect("well-formed");
    assert!(texts.iter().any(|t| t.contains("empty_need")));
}

#[test]
fn numbers_that_no_axis_has_are_survived() {
    let mut r = answered("a support bot on two L4 cards");
    for bad in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300, 5e-324] {
        let interval = Some(Interval {
            value: bad,
            lo: bad,
            hi: bad,
        });
        let p = &mut r.choices[0].predicted;
        (p.ttft_ms, p.tpot_ms, p.usd_per_month) = (interval, interval, interval);
        if let Some(m) = &mut r.choices[0].memory {
            (m.weights_gb, m.device_gb) = (bad, bad);
        }
        let html = page(&r);
        check(&html).unwrap_or_else(|e| panic!("{bad}: {e}"));
        for word in ["NaN", "inf"] {
            assert!(!html.contains(&format!("=\"{word}")), "{bad}");
        }
    }
}

/// Texts that would break out of somewhere.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'",
        "\"",
        "&",
        "&lt;",
        "]]>",
        "<!--",
        "-->",
        "</svg>",
        "</style>",
        "</title>",
        "<?php",
        "{{ need }}",
        "{% raw %}",
        "javascript:",
        "\u{0}",
        "\u{1b}[31m",
        "\u{202e}",
        "\u{fffe}",
        "é",
        "🦀",
        "\n",
        "<",
        ">",
    ]);
    (prop::collection::vec(pieces, 1..5), ".{0,12}").prop_map(|(p, tail)| p.concat() + &tail)
}

/// A recommendation with `evil` in every text that it has.
fn full_of(evil: &str, model: &str) -> Recommendation {
    static BASE: OnceLock<Recommendation> = OnceLock::new();
    let base = BASE.get_or_init(|| answered("a support bot on two L4 cards, 500 $ per month"));
    let mut r = base.clone();
    let owned = || evil.to_owned();
    let winner = Winner {
        model: model.to_owned(),
        precision: None,
        hosting: Hosting::SelfHosted,
        device: Some(owned()),
        count: 1,
        tensor_parallel: 1,
        runtime: None,
        usd_per_month: Some(1.0),
    };
    let reason = Reason::new(evil).fact(evil, owned()).source(evil);
    r.need.text = Some(owned());
    r.need.languages = vec![owned()];
    r.need.models = vec![owned()];
    r.need.hardware[0].device = Some(owned());
    r.assumed = vec![owned(), format!("{evil}: {evil}")];
    r.question = Some(Question {
        topic: owned(),
        text: owned(),
    });
    for c in &mut r.choices {
        c.model = model.to_owned();
        c.device = Some(owned());
        c.licence = owned();
        c.parts.insert(owned(), 0.5);
        c.reasons.push(reason.clone());
    }
    r.lost = vec![Lost {
        model: owned(),
        because: owned(),
        reasons: vec![reason],
    }];
    r.infeasible = Some(Infeasible {
        relax: vec![Relax {
            constraint: owned(),
            from: Some(Fact::Text(owned())),
            to: Some(Fact::Text(owned())),
        }],
    });
    r.error = Some(Failure {
        code: owned(),
        message: owned(),
    });
    r.changes = vec![Change {
        constraint: owned(),
        from: Some(Fact::Text(owned())),
        until: None,
        to: Some(Fact::Text(owned())),
        then: winner.clone(),
    }];
    r.break_even = vec![BreakEven {
        api: winner.clone(),
        own: winner,
        requests_per_day: 1.0,
        usd_per_month: 1.0,
        now_requests_per_day: 1.0,
        prompt_tokens: 1.0,
        output_tokens: 1.0,
        sources: vec![owned()],
    }];
    r
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_user_writes_is_text(evil in hostile(), model in hostile()) {
        let r = full_of(&evil, &model);
        let html = page(&r);
        let checked = check(&html);
        prop_assert!(checked.is_ok(), "{:?} in the page of {:?}", checked, evil);
        for piece in ["<script", "<img", "<?php", "<!--"] {
            prop_assert!(!html.contains(piece), "{}", piece);
        }
        let _ = text(&r, 8);
    }
}
