//! Files of cached tokens that were cut, changed, made up, or written for another model: each ends
//! in a named error.

mod support;

use mistral_infer::prefix::PrefixError;
use mistral_infer::{CacheType, GenerateOptions, InferError, Model, Prefix, SessionLimits};

/// Header before the tokens, and the hash at the end.
const HEADER: usize = 40;
const HASH: usize = 8;

fn model() -> Model {
    support::model(&support::dense().to_string(), 71)
}

fn file(model: &Model, ids: &[u32]) -> Vec<u8> {
    let mut session = model
        .session(SessionLimits::default())
        .expect("small buffers");
    session.prefill(0, ids).expect("valid tokens");
    session.prefix(0, ids.len()).expect("cached").to_bytes()
}

/// Changes the bytes from `at` on.
fn with(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

/// With the hash that fits what it holds, as a forger would write it.
fn forged(bytes: Vec<u8>, model: &Model) -> Vec<u8> {
    match Prefix::from_bytes(&bytes, model) {
        Err(PrefixError::Corrupt { found, .. }) => {
            let end = bytes.len() - HASH;
            with(bytes, end, &found.to_le_bytes())
        }
        _ => bytes,
    }
}

#[test]
fn files_that_were_cut_or_changed_anywhere() {
    let model = model();
    let sound = file(&model, &[20, 30, 40]);
    let read = |bytes: &[u8]| Prefix::from_bytes(bytes, &model);
    assert!(read(&sound).is_ok());
    for end in 0..sound.len() {
        let error = read(&sound[..end]).expect_err("a cut file");
        let expected = match end {
            0..48 => error == PrefixError::NotAPrefix,
            _ => matches!(error, PrefixError::Length { tokens: 3, .. }),
        };
        assert!(expected, "{end}: {error}");
    }
    for at in 0..sound.len() {
        for flip in [1, 0x80] {
            let error =
                read(&with(sound.clone(), at, &[sound[at] ^ flip])).expect_err("a flipped bit");
            let expected = match at {
                0..8 => error == PrefixError::NotAPrefix,
                8..12 => matches!(error, PrefixError::Version { expected: 1, .. }),
                12 => matches!(
                    error,
                    PrefixError::UnknownCache { .. } | PrefixError::Length { .. }
                ),
                13..16 => matches!(error, PrefixError::UnknownCache { .. }),
                16..32 => matches!(error, PrefixError::OtherModel { .. }),
                32..40 => matches!(
                    error,
                    PrefixError::Length { .. } | PrefixError::Context { .. }
                ),
                _ => matches!(error, PrefixError::Corrupt { .. }),
            };
            assert!(expected, "{at}: {error}");
        }
    }
    let longer = [&sound[..], &[0]].concat();
    assert!(matches!(read(&longer), Err(PrefixError::Length { .. })));
}

#[test]
fn headers_that_claim_the_absurd() {
    // Without a context of its own the model bounds nothing.
    let mut params = support::dense();
    params
        .as_object_mut()
        .expect("an object")
        .remove("max_seq_len");
    let unbounded = support::model(&params.to_string(), 71);
    for (model, bounded) in [(&model(), true), (&unbounded, false)] {
        let sound = file(model, &[20, 30, 40]);
        for claim in [
            0u64,
            1,
            4,
            257,
            1 << 20,
            1 << 32,
            1 << 62,
            (1 << 62) + 3,
            u64::MAX,
        ] {
            let bytes = with(sound.clone(), 32, &claim.to_le_bytes());
            let error = Prefix::from_bytes(&bytes, model).expect_err("a false claim");
            let expected = match (claim, bounded) {
                (0, _) => matches!(error, PrefixError::NotCached { .. }),
                (257.., true) => matches!(
                    error,
                    PrefixError::Context {
                        max_seq_len: 256,
                        ..
                    }
                ),
                _ => matches!(error, PrefixError::Length { tokens, .. } if tokens == claim),
            };
            assert!(expected, "{claim}: {error}");
        }
    }
}

#[test]
fn files_of_other_models() {
    let dense = model();
    let sound = file(&dense, &[20, 30, 40]);
    let mut narrow = support::dense();
    narrow["n_kv_heads"] = serde_json::json!(1);
    let others = [
        support::model(&support::dense().to_string(), 72),
        support::model(&narrow.to_string(), 71),
        support::model(
            &support::with(support::dense(), "rope_theta", serde_json::json!(1e5)),
            71,
        ),
    ];
    for other in others {
        assert_ne!(other.fingerprint(), dense.fingerprint());
        let error = Prefix::from_bytes(&sound, &other).expect_err("another model");
        assert!(matches!(error, PrefixError::OtherModel { .. }), "{error}");
    }
    // What doesn't change the rows doesn't make another model.
    let shorter = support::with(support::dense(), "max_seq_len", serde_json::json!(128));
    assert!(Prefix::from_bytes(&sound, &support::model(&shorter, 71)).is_ok());
    let dir = tempfile::tempdir().expect("a folder for a moment");
    let path = dir.path().join("noise");
    std::fs::write(&path, [7; 100]).expect("the folder is writable");
    let error = Prefix::load(&path, &dense).expect_err("noise");
    assert!(
        matches!(
            error,
            InferError::PrefixFile {
                source: PrefixError::NotAPrefix,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn forged_files_end_in_an_error_or_in_text() {
    let model = model();
    let ids = [20, 30, 40];
    let sound = file(&model, &ids);
    let bad = forged(
        with(sound.clone(), HEADER + 4, &u32::MAX.to_le_bytes()),
        &model,
    );
    let error = Prefix::from_bytes(&bad, &model).expect_err("no such token");
    let expected = PrefixError::Token {
        id: u32::MAX,
        position: 1,
        vocab_size: support::VOCAB,
    };
    assert_eq!(error, expected);
    // Numbers that aren't finite are rows too: generation finds them out.
    for value in [f32::NAN, f32::INFINITY, f32::MAX] {
        let rows = sound.len() - HASH - HEADER - 12;
        let poison: Vec<u8> = value.to_le_bytes().repeat(rows / 4);
        let bytes = forged(with(sound.clone(), HEADER + 12, &poison), &model);
        let prefix = Prefix::from_bytes(&bytes, &model).expect("a file like others");
        assert_eq!(prefix.cache(), CacheType::F32);
        let mut session = model
            .session(SessionLimits::default())
            .expect("small buffers");
        session.restore(0, &prefix, 3).expect("the same model");
        let prompt = [20, 30, 40, 50];
        let outcome = session.generate(&prompt, &GenerateOptions::default());
        let outcome = outcome.and_then(mistral_infer::Generation::into_text);
        assert!(outcome.is_err(), "{value}: {outcome:?}");
    }
}
