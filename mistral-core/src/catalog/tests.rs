use super::*;
use crate::capability::Capability;
use crate::precision::Precision;

#[test]
fn every_file_parses_and_every_configuration_is_read() {
    let catalog = Catalog::parse(embedded::FILES.iter().copied()).expect("files are models");
    assert_eq!(catalog.iter().count(), embedded::FILES.len());
    assert!(catalog.iter().filter(|m| m.has_open_weights()).count() >= 39);
    let mut failures = Vec::new();
    for m in catalog.iter() {
        if let Err(e) = m.spec() {
            failures.push(format!("{}: {e}", m.id));
        }
        if m.has_open_weights() && m.parameters().is_none() {
            failures.push(format!("{}: no size", m.id));
        }
        for b in &m.benchmarks {
            if !(0.0..=1.0).contains(&b.value) {
                failures.push(format!("{}: {} = {}", m.id, b.name, b.value));
            }
        }
        if let Some(r) = &m.replacement
            && catalog.get(&r.value).is_none()
        {
            failures.push(format!("{}: replaced by unknown {}", m.id, r.value));
        }
        if m.capabilities.value.is_empty() {
            failures.push(format!("{}: does nothing", m.id));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn files_and_list_agree() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/data/models");
    let files = std::fs::read_dir(folder).expect("the data folder").count();
    assert_eq!(files, embedded::FILES.len());
}

#[test]
fn names_lead_to_models() {
    let catalog = Catalog::embedded();
    for (name, id) in [
        ("mistral-7b-v0.3", "mistral-7b-v0.3"),
        ("Mistral 7B", "mistral-7b-v0.3"),
        ("mistralai/Mistral-7B-Instruct-v0.2", "mistral-7b-v0.2"),
        ("Nemo", "mistral-nemo-12b"),
        ("mixtral 8x7b", "mixtral-8x7b"),
        ("mixtral-8x22b", "mixtral-8x22b"),
        ("mistral-large-2", "mistral-large-2"),
        ("mistral-large-2407", "mistral-large-2"),
        ("Mistral-Small-3.2", "mistral-small-3.2"),
        ("mistral small", "mistral-small-4"),
        ("ministral-8b-2512", "ministral-3-8b"),
        ("Ministral 3 14B", "ministral-3-14b"),
        ("codestral-22b", "codestral-22b"),
        ("codestral", "codestral-2508"),
    ] {
        assert_eq!(
            catalog.find(name).map(|m| m.id.as_str()),
            Some(id),
            "{name}"
        );
    }
    assert!(catalog.find("gpt-4").is_none());
    assert!(catalog.find("").is_none());
}

#[test]
fn facts_that_decide() {
    let catalog = Catalog::embedded();
    let get = |id| catalog.get(id).unwrap_or_else(|| panic!("{id}"));
    let total = |id| get(id).parameters().map(|p| p.total);
    assert_eq!(total("mistral-7b-v0.1"), Some(7_241_732_096));
    assert_eq!(total("mixtral-8x7b"), Some(46_702_792_704));
    assert_eq!(total("mistral-large-2"), Some(122_610_069_504));
    assert_eq!(total("mistral-small-3.2"), Some(23_572_403_200));
    assert_eq!(total("mistral-medium-3.5"), Some(128_000_000_000));
    assert_eq!(
        get("ministral-3-8b")
            .licence
            .as_ref()
            .map(|l| l.value.as_str()),
        Some("Apache-2.0")
    );
    assert_eq!(
        get("mistral-small-4")
            .native_precision
            .as_ref()
            .map(|p| p.value),
        Some(Precision::Fp8)
    );
    assert_eq!(
        get("mistral-small-4").repository_for(Precision::Nvfp4),
        Some("mistralai/Mistral-Small-4-119B-2603-NVFP4")
    );
    assert_eq!(
        get("mistral-small-4").repository_for(Precision::Fp8),
        Some("mistralai/Mistral-Small-4-119B-2603")
    );
    assert!(get("codestral-22b").can(Capability::Fim));
    assert!(!get("codestral-22b").is_served("2026-11-23"));
    assert!(get("mistral-nemo-12b").is_served("2026-07-01"));
    assert!(!get("mistral-nemo-12b").is_served("2026-11-23"));
    assert!(
        get("mistral-nemo-12b")
            .config
            .as_ref()
            .is_some_and(|c| c.unverified)
    );
}

/// Every size that is computed from dimensions beside the one that was published, which is rounded to
/// 10^9 and counts the encoder or doesn't.
#[test]
fn dimensions_give_the_published_sizes() {
    let mut checked = 0;
    let mut failures = Vec::new();
    for m in Catalog::embedded().iter() {
        let (Ok(Some(spec)), Some(published)) = (m.spec(), &m.published_parameters) else {
            continue;
        };
        checked += 1;
        let p = crate::sizing::parameters(&spec);
        let encoder = m.encoder_parameters.as_ref().map_or(0, |e| e.value);
        let off = |count: u64, published: f64| {
            let rounding = (0.02 * published).max(0.5e9);
            let alone = (count as f64 - published).abs();
            alone.min((count as f64 + encoder as f64 - published).abs()) > rounding
        };
        let (total, active) = (published.value.total, published.value.active);
        if off(p.total, total) || off(p.active, active) {
            let (has, uses) = (p.total, p.active);
            failures.push(format!(
                "{}: {has} and {uses}, published {total} and {active}",
                m.id
            ));
        }
        // A promise beyond the positions of the configuration is kept by windows alone.
        let windows = spec.layers.iter().any(|l| l.window.is_some());
        let positions = spec.max_seq_len.unwrap_or(usize::MAX);
        let promised = m.context_tokens.as_ref().map_or(0, |c| c.value as usize);
        if promised > positions && !windows {
            failures.push(format!(
                "{}: {promised} tokens promised of {positions}",
                m.id
            ));
        }
    }
    assert!(
        failures.is_empty() && checked >= 30,
        "{checked}: {failures:#?}"
    );
}

#[test]
fn a_name_for_two_models_is_refused() {
    let files = [
        embedded::FILES[0],
        &embedded::FILES[0].replacen("\"id\": \"", "\"id\": \"x-", 1),
    ];
    assert!(matches!(
        Catalog::parse(files),
        Err(CatalogError::Ambiguous { .. })
    ));
    assert!(matches!(
        Catalog::parse(["{}"]),
        Err(CatalogError::File { index: 0, .. })
    ));
}
