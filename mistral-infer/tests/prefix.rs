//! Prefixes: whatever the architecture, continuing behind rows that were copied, put in or read
//! from a file gives to the bit what continuing where they were computed gives.

mod support;

use std::path::{Path, PathBuf};

use mistral_core::model::ModelSpec;
use mistral_infer::prefix::PrefixError;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{
    CacheType, InferError, LogitRows, Model, Prefix, PrefixStore, Run, Session, SessionLimits,
};

/// Sequences beside each other, for prompts in pieces of 12.
fn limits(max_seq_len: usize, cache: CacheType) -> SessionLimits {
    SessionLimits {
        max_seq_len: Some(max_seq_len),
        max_sequences: 3,
        max_batch_tokens: 12,
        max_logits: 12,
        cache: Some(cache),
    }
}

fn tokens(count: usize, vocab: usize) -> Vec<u32> {
    let mut noise = support::Noise(5);
    let mut id = || (noise.next() + 0.3) / 0.6 * vocab as f32;
    (0..count)
        .map(|_| (id() as u32).min(vocab as u32 - 1))
        .collect()
}

/// Logits of a few passes of different widths behind what a sequence has.
fn continued(session: &mut Session<'_>, sequence: usize, next: &[u32]) -> Vec<f32> {
    let (piece, single) = next.split_at(5);
    let mut all = Vec::new();
    for tokens in std::iter::once(piece).chain(single.chunks(1)) {
        let run = Run {
            sequence,
            tokens,
            logits: LogitRows::All,
        };
        all.extend_from_slice(session.forward(&[run]).expect("valid tokens"));
    }
    all
}

fn same(name: &str, found: &[f32], expected: &[f32]) {
    assert!(expected.iter().all(|x| x.is_finite()), "{name}");
    let differ = |(a, b): &(&f32, &f32)| a.to_bits() != b.to_bits();
    let first = found.iter().zip(expected).find(differ);
    assert!(
        found.len() == expected.len() && first.is_none(),
        "{name}: {first:?}"
    );
}

/// The same but for sums in another order.
fn close(name: &str, found: &[f32], expected: &[f32]) {
    let distance = |(a, b): (&f32, &f32)| (a - b).abs();
    let worst = (found.iter().zip(expected).map(distance)).fold(0.0, f32::max);
    assert!(
        found.len() == expected.len() && worst <= 2e-4,
        "{name}: {worst}"
    );
}

/// Takes the first `cut` of `ids` out of a sequence and continues in every other place.
fn check(name: &str, model: &Model, ids: &[u32], cut: usize, cache: CacheType) {
    let name = &format!("{name}, {cut} tokens, {cache:?}");
    let next = &ids[cut..];
    let mut session = model.session(limits(60, cache)).expect("small buffers");
    session.prefill(1, &ids[..cut]).expect("valid tokens");
    let prefix = session.prefix(1, cut).expect("all of it is cached");
    session.copy_prefix(1, 2, cut).expect("all of it is cached");
    let expected = continued(&mut session, 1, next);
    same(
        &format!("{name}, copied"),
        &continued(&mut session, 2, next),
        &expected,
    );
    assert_eq!(session.tokens(2), ids);

    let read = Prefix::from_bytes(&prefix.to_bytes(), model).expect("what was written");
    assert_eq!(read, prefix, "{name}");
    // Another context, a batch that gives rings another capacity, a context that is just enough.
    let windowed = model
        .spec()
        .layers
        .iter()
        .any(|layer| layer.window.is_some());
    let wider = SessionLimits {
        max_batch_tokens: 9,
        ..limits(90, cache)
    };
    for limits in [limits(80, cache), wider, limits(ids.len(), cache)] {
        let name = &format!("{name}, context {:?}", limits.max_seq_len);
        let rings = windowed && limits != self::limits(80, cache);
        let agree = if rings { close } else { same };
        let mut other = model.session(limits).expect("small buffers");
        let turned: Vec<u32> = ids.iter().rev().copied().collect();
        for earlier in [&[][..], &turned] {
            other.clear(0);
            if !earlier.is_empty() {
                other.prefill(0, earlier).expect("valid tokens");
            }
            other.restore(0, &read, cut).expect("the same model");
            assert_eq!(other.tokens(0), &ids[..cut]);
            agree(name, &continued(&mut other, 0, next), &expected);
        }
        // Without its last token, which a prompt that equals the prefix computes again.
        let less = read.usable(&ids[..cut]);
        assert_eq!(less, cut - 1, "{name}");
        other.restore(0, &read, less).expect("one less");
        other.prefill(0, &ids[less..cut]).expect("a valid token");
        if cache == CacheType::F32 {
            close(name, &continued(&mut other, 0, next), &expected);
        }
    }
}

#[test]
fn every_architecture_goes_on_as_if_nothing_happened() {
    for (name, spec) in support::specs() {
        let model = support::described(spec, 61);
        let ids = tokens(45, support::VOCAB);
        for cut in [1, 2, 6, 7, 13, 36] {
            check(name, &model, &ids[..cut + 9], cut, CacheType::F32);
        }
        for cache in [CacheType::F16, CacheType::Bf16, CacheType::Q8] {
            check(name, &model, &ids, 36, cache);
        }
    }
}

#[test]
fn fixtures_go_on_as_if_nothing_happened() {
    let dir = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/fixtures"
    ));
    let Ok(cases) = std::fs::read_dir(dir) else {
        return;
    };
    let is_model =
        |dir: &Path| dir.join("config.json").is_file() && dir.join("model.safetensors").is_file();
    for case in cases
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|p| is_model(p))
    {
        let config = std::fs::read_to_string(case.join("config.json")).expect("a text");
        let Ok(spec) = ModelSpec::from_hf_config(&config) else {
            continue;
        };
        let files = [case.join("model.safetensors")];
        let weights = Checkpoint::open_files(&files, WeightStorage::Mapped).expect("sound files");
        let ids = tokens(43, spec.vocab_size);
        let model = Model::from_parts(spec, &weights, None, 2).expect("weights that fit");
        check(
            &case.display().to_string(),
            &model,
            &ids,
            34,
            CacheType::F32,
        );
    }
}

#[test]
fn parts_of_a_prefix_serve_prompts_that_share_them() {
    for (name, spec) in support::specs() {
        let windowed = spec.layers.iter().any(|layer| layer.window.is_some());
        let model = support::described(spec, 62);
        let ids = tokens(30, support::VOCAB);
        let mut session = model
            .session(limits(60, CacheType::F32))
            .expect("small buffers");
        session.prefill(0, &ids).expect("valid tokens");
        let prefix = session.prefix(0, 24).expect("within a ring");
        let other = [&ids[..20], &[3; 10]].concat();
        assert_eq!(prefix.usable(&ids), 24, "{name}");
        assert_eq!(prefix.usable(&ids[..24]), 23, "{name}");
        assert_eq!(prefix.usable(&[]), 0, "{name}");
        let usable = prefix.usable(&other);
        assert_eq!(usable, if windowed { 0 } else { 20 }, "{name}");
        session.restore(1, &prefix, usable).expect("what is usable");
        session.prefill(1, &other[usable..]).expect("valid tokens");
        let refused = session.restore(1, &prefix, 20);
        assert_eq!(refused.is_err(), windowed, "{name}");
        if let Err(error) = refused {
            assert!(
                matches!(
                    error,
                    InferError::Prefix(PrefixError::Overwritten {
                        oldest: 17 | 19,
                        ..
                    })
                ),
                "{name}: {error:?}"
            );
            assert_eq!(
                session.tokens(1),
                other,
                "{name}: what was refused changes nothing"
            );
        }
    }
}

#[test]
fn what_a_ring_has_overwritten_is_refused() {
    let params = support::with(support::dense(), "sliding_window", serde_json::json!(7));
    let model = support::model(&params, 63);
    let ids = tokens(50, support::VOCAB);
    // Rings of 7 + 12.
    let mut session = model
        .session(limits(60, CacheType::F16))
        .expect("small buffers");
    session.prefill(0, &ids).expect("valid tokens");
    assert!(session.prefix(0, 50).is_ok());
    assert!(session.prefix(0, 38).is_ok());
    let error = session.prefix(0, 37).expect_err("position 30 is gone");
    let expected = PrefixError::Overwritten {
        layer: 0,
        needed: 30,
        oldest: 31,
    };
    assert!(
        matches!(&error, InferError::Prefix(e) if *e == expected),
        "{error:?}"
    );
    assert!(session.copy_prefix(0, 1, 37).is_err());
    // A copy brought a window: it can't be rewound into what wasn't copied.
    session.copy_prefix(0, 1, 50).expect("the newest");
    let beside = [&ids[..48], &[1, 2]].concat();
    assert_eq!(session.keep_prefix(1, &beside), 0);
    assert_eq!(session.keep_prefix(0, &beside), 48);
}

#[test]
fn what_does_not_fit_is_named() {
    let model = support::model(&support::dense().to_string(), 64);
    let ids = tokens(20, support::VOCAB);
    let mut session = model
        .session(limits(60, CacheType::F32))
        .expect("small buffers");
    session.prefill(0, &ids).expect("valid tokens");
    for (from, to) in [(0, 3), (3, 0), (usize::MAX, 0)] {
        let error = session
            .copy_prefix(from, to, 4)
            .expect_err("no such sequence");
        assert!(
            matches!(
                error,
                InferError::Limit {
                    limit: "sequence",
                    ..
                }
            ),
            "{error}"
        );
    }
    for (sequence, len) in [(0, 0), (0, 21), (1, 1), (0, usize::MAX)] {
        let error = session.prefix(sequence, len).expect_err("no such tokens");
        assert!(
            matches!(error, InferError::Prefix(PrefixError::NotCached { .. })),
            "{error}"
        );
        assert!(session.copy_prefix(sequence, 2, len).is_err());
    }
    let prefix = session.prefix(0, 20).expect("cached");
    let error = session.restore(1, &prefix, 21).expect_err("it has 20");
    assert!(matches!(
        error,
        InferError::Prefix(PrefixError::NotCached {
            tokens: 21,
            cached: 20
        })
    ));
    let mut short = model
        .session(limits(10, CacheType::F32))
        .expect("small buffers");
    let error = short.restore(0, &prefix, 20).expect_err("a context of 10");
    assert!(matches!(
        error,
        InferError::ContextExceeded {
            tokens: 20,
            max_seq_len: 10
        }
    ));
    short.restore(0, &prefix, 10).expect("half of it fits");
    let mut half = model
        .session(limits(60, CacheType::F16))
        .expect("small buffers");
    let error = half.restore(0, &prefix, 20).expect_err("another format");
    assert!(
        matches!(error, InferError::Prefix(PrefixError::OtherCache { .. })),
        "{error}"
    );
    // The same shape with other weights.
    let stranger = support::model(&support::dense().to_string(), 65);
    let mut other = stranger
        .session(limits(60, CacheType::F32))
        .expect("small buffers");
    let error = other.restore(0, &prefix, 20).expect_err("another model");
    assert!(
        matches!(error, InferError::Prefix(PrefixError::OtherModel { .. })),
        "{error}"
    );
    // Copied onto itself it is cut.
    session.copy_prefix(0, 0, 7).expect("its own beginning");
    assert_eq!(session.tokens(0), &ids[..7]);
    session.restore(0, &prefix, 0).expect("nothing");
    assert!(session.tokens(0).is_empty());
}

#[test]
fn a_file_replaces_another_or_nothing() {
    let model = support::model(&support::dense().to_string(), 66);
    let mut session = model
        .session(limits(60, CacheType::F32))
        .expect("small buffers");
    session
        .prefill(0, &tokens(20, support::VOCAB))
        .expect("valid tokens");
    let dir = tempfile::tempdir().expect("a folder for a moment");
    let path = dir.path().join("a prefix");
    for len in [20, 5] {
        let prefix = session.prefix(0, len).expect("cached");
        prefix.save(&path).expect("a folder that can be written");
        assert_eq!(
            Prefix::load(&path, &model).expect("what was written"),
            prefix
        );
    }
    let left = std::fs::read_dir(&dir).expect("a folder").count();
    assert_eq!(left, 1, "nothing lies beside it");
    let prefix = session.prefix(0, 20).expect("cached");
    for place in [
        dir.path().join("no folder/file"),
        dir.path().to_owned(),
        PathBuf::from("/"),
    ] {
        let error = prefix.save(&place).expect_err("not a place for a file");
        assert!(matches!(error, InferError::Write { .. }), "{error:?}");
    }
    for place in [dir.path().join("nothing"), dir.path().to_owned()] {
        let error = Prefix::load(&place, &model).expect_err("no file");
        assert!(matches!(error, InferError::Io { .. }), "{error:?}");
    }
}

#[test]
fn a_store_keeps_what_served_last() {
    let model = support::model(&support::dense().to_string(), 67);
    let mut session = model
        .session(limits(60, CacheType::F32))
        .expect("small buffers");
    let mut prefix = |ids: &[u32]| {
        session.clear(0);
        session.prefill(0, ids).expect("valid tokens");
        session.prefix(0, ids.len()).expect("cached")
    };
    let [a, longer, b, c] = [
        prefix(&[1, 2, 3]),
        prefix(&[1, 2, 3, 4]),
        prefix(&[5, 6, 7, 8]),
        prefix(&[9, 8, 7, 6]),
    ];
    let mut store = PrefixStore::new(longer.bytes() + b.bytes());
    assert!(store.is_empty() && store.best(&[1, 2]).is_none());
    assert!(store.insert(a.clone()));
    // One that goes on takes its place, and is not replaced by it.
    assert!(store.insert(longer.clone()));
    assert!(!store.insert(a));
    assert_eq!((store.len(), store.bytes()), (1, longer.bytes()));
    assert!(store.insert(b.clone()));
    let (found, len) = store.best(&[1, 2, 9, 9]).expect("two shared tokens");
    assert_eq!((found.tokens(), len), (longer.tokens(), 2));
    // Room for two: `b` served longest ago.
    assert!(store.insert(c));
    assert!(store.best(&[5, 6, 7, 8, 9]).is_none());
    assert_eq!(store.best(&[1, 2, 3, 4, 5]).map(|(_, len)| len), Some(4));
    assert_eq!(store.len(), 2);
    assert!(
        !PrefixStore::new(b.bytes() - 1).insert(b),
        "larger than the store"
    );
}
