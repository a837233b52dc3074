use std::collections::BTreeSet;

use super::*;

fn places(phrase: &str) -> BTreeSet<String> {
    let seen = std::cell::RefCell::new(BTreeSet::new());
    fill(phrase, |kind, name| {
        seen.borrow_mut().insert(format!("{kind}:{name}"));
        String::new()
    });
    seen.into_inner()
}

#[test]
fn both_languages_have_every_key_and_the_same_places() {
    let mut keys = BTreeSet::new();
    for (key, english, french) in table::PHRASES.iter().chain(labels::LABELS) {
        assert!(keys.insert(key), "{key} stands twice");
        assert!(!french.is_empty(), "{key}");
        assert!(!english.is_empty() || key.starts_with("error."), "{key}");
        assert!(
            english.is_empty() || places(english) == places(french),
            "{key}"
        );
        // A French sign of two parts has a space before it.
        let spaced = |sign: &str| {
            let mut at = french.match_indices(sign);
            at.all(|(i, _)| french[..i].ends_with([' ', '\u{202f}', '{']) || in_place(french, i))
        };
        assert!([":", ";", "?"].into_iter().all(spaced), "{key}: {french}");
    }
}

/// Whether a sign belongs to a place to be filled.
fn in_place(phrase: &str, at: usize) -> bool {
    phrase[..at].rfind('{') > phrase[..at].rfind('}')
}

#[test]
fn three_digits_that_count() {
    for (value, english, french) in [
        (0.0, "0", "0"),
        (1.0, "1", "1"),
        (0.2, "0.2", "0,2"),
        (12.34, "12.3", "12,3"),
        (350.0, "350", "350"),
        (1234.5, "1,234", "1\u{202f}234"),
        (2_500_000.0, "2,500,000", "2\u{202f}500\u{202f}000"),
        (-1200.0, "-1,200", "-1\u{202f}200"),
        (0.00321, "0.0032", "0,0032"),
        (f64::NAN, "unknown", "inconnu"),
    ] {
        assert_eq!(Voice(Language::English).short(value), english);
        assert_eq!(Voice(Language::French).short(value), french);
    }
}

#[test]
fn every_job_ability_and_part_has_a_name() {
    use mistral_core::need::Task;
    let voice = Voice(Language::French);
    let tasks = Task::ALL.iter().map(|t| t.name());
    for name in tasks.chain(crate::PARTS) {
        assert!(voice.find(&format!("value.{name}")).is_some(), "{name}");
    }
    for name in crate::Context::embedded("2026-11-23")
        .catalog
        .iter()
        .flat_map(|m| &m.capabilities.value)
        .map(|c| c.name())
    {
        assert!(voice.find(&format!("value.{name}")).is_some(), "{name}");
    }
}

/// Words of three letters and more, in small letters.
fn words(text: &str) -> BTreeSet<String> {
    let each = text.split(|c: char| !c.is_alphabetic());
    let long = each.filter(|w| w.chars().count() > 2);
    long.map(str::to_lowercase).collect()
}

/// What a page shows, without its tags, its style and the documents that it names.
fn shown(html: &str) -> String {
    let body = html.split_once("<body>").map_or(html, |(_, body)| body);
    let body = body.split("<section class=\"sources\">").next();
    let pieces = body.unwrap_or_default().split('<');
    let texts = pieces.filter_map(|p| p.split_once('>'));
    texts.map(|(_, text)| text).collect::<Vec<_>>().join(" ")
}

#[test]
fn no_english_word_leaks_into_a_french_answer() {
    let context = crate::Context::embedded("2026-11-23");
    let bare = |phrase: &str| words(&fill(phrase, |_, _| " ".to_owned()));
    let all = || table::PHRASES.iter().chain(labels::LABELS);
    let french: BTreeSet<String> = all().flat_map(|p| bare(p.2)).collect();
    let english = all().flat_map(|p| bare(p.1));
    let foreign: BTreeSet<String> = english.filter(|w| !french.contains(w)).collect();
    assert!(foreign.len() > 200 && foreign.contains("costs"));
    for need in [
        "un assistant pour le support sur deux cartes L4 pour 50 personnes, moins de 300 ms, 500 $ par mois",
        "un assistant hors ligne sur mon MacBook Pro M4 Max 64 Go",
        "lire des documents par l'API pour 1000 pages par jour",
        "Mistral Large 3 sur une RTX 4090 pour notre équipe",
    ] {
        let mut answer = crate::recommend_text(need, &context).expect("a sound need");
        crate::explain(&mut answer, &context);
        let page = crate::page(&answer);
        assert!(page.contains("<html lang=\"fr\">"), "{need}");
        let said = crate::text(&answer, 8) + &shown(&page);
        // What the user wrote and what models are called is shown as it is.
        let models = context.catalog.iter().flat_map(|m| words(&m.id));
        let own: BTreeSet<String> = words(need).into_iter().chain(models).collect();
        let mut leaked = words(&said);
        leaked.retain(|w| foreign.contains(w) && !own.contains(w));
        assert!(leaked.is_empty(), "{need}: {leaked:?}");
    }
}
