//! GGUF files that attack their reader: each class gets the error that names it. Files are some
//! hundred bytes long and claim far more than any machine has, so that a test ends at all only if
//! nothing is allocated or walked because of a claim.

mod gguf_files;

use gguf_files::{
    ARRAY, BOOL, F32, GGML_F32, GGML_Q8_0, I32, TEXT, U8, U32, U64, array, entry, floats, start,
    tensor_entry, text,
};
use mistral_infer::gguf::{Gguf, GgufError, Value};
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{GenerateOptions, InferError, LoadOptions, Model, SessionLimits};

/// Counts that overflow, wrap or exceed any file.
const CLAIMS: [u64; 6] = [
    1 << 20,
    u32::MAX as u64,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

#[track_caller]
fn refused(bytes: Vec<u8>) -> GgufError {
    Gguf::from_bytes(bytes).expect_err("a broken file is refused")
}

/// A file with one entry.
fn with_entry(entry: Vec<u8>) -> Vec<u8> {
    [start(0, 1), entry].concat()
}

/// A file with these tensors, no metadata and `data` bytes of data.
fn with_tensors(tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut out = start(tensors.len() as u64, 0);
    out.extend(tensors.concat());
    out.resize(out.len().next_multiple_of(32) + data, 0);
    out
}

#[test]
fn the_format_is_told_by_its_first_bytes() {
    assert!(matches!(
        refused(b"GGML\x03\0\0\0".to_vec()),
        GgufError::Magic { .. }
    ));
    assert!(matches!(refused(Vec::new()), GgufError::Truncated { .. }));
    assert!(matches!(
        refused(b"GGUF\x01\0\0\0".to_vec()),
        GgufError::Version { found: 1 }
    ));
    assert!(matches!(
        refused(b"GGUF\0\0\0\x03".to_vec()),
        GgufError::BigEndian { version: 3 }
    ));
    let mut second = start(0, 0);
    second[4] = 2;
    assert_eq!(Gguf::from_bytes(second).expect("version 2").version(), 2);
}

#[test]
fn every_cut_of_a_file_is_refused() {
    let whole = gguf_files::tiny().finish();
    // Up to the end of the last tensor: what follows it is padding.
    for end in 0..whole.len() - 32 {
        let found = Gguf::from_bytes(whole[..end].to_vec());
        assert!(found.is_err(), "{end} of {} bytes", whole.len());
    }
    Gguf::from_bytes(whole).expect("the whole file");
}

#[test]
fn counts_beyond_the_file_are_refused() {
    for claim in CLAIMS {
        for bytes in [start(claim, 0), start(0, claim)] {
            assert!(
                matches!(refused(bytes), GgufError::Count { found, .. } if found == claim),
                "{claim}"
            );
        }
    }
}

#[test]
fn lengths_of_texts_and_arrays_beyond_the_file_are_refused() {
    for claim in CLAIMS {
        let length = claim.to_le_bytes();
        let key = [start(0, 1), length.to_vec(), vec![b'a'; 32]].concat();
        let value = with_entry(entry("a", TEXT, &[&length[..], b"text"].concat()));
        let mut files = vec![key, value];
        for kind in [U8, U32, F32, BOOL, TEXT, U64] {
            files.push(with_entry(entry(
                "a",
                ARRAY,
                &array(kind, claim, b"abcdefgh"),
            )));
        }
        // A long array that holds one text of a claimed length.
        files.push(with_entry(entry("a", ARRAY, &array(TEXT, 1, &length))));
        for (i, bytes) in files.into_iter().enumerate() {
            let error = refused(bytes);
            let named = matches!(error, GgufError::Count { found, .. } if found == claim);
            assert!(named, "file {i} with {claim}: {error}");
        }
        let name = [start(1, 0), length.to_vec(), vec![0; 64]].concat();
        assert!(matches!(refused(name), GgufError::Count { .. }));
    }
}

#[test]
fn arrays_of_arrays_are_refused() {
    let mut nested = array(U8, 0, &[]);
    for _ in 0..1000 {
        nested = array(ARRAY, 1, &nested);
    }
    let found = refused(with_entry(entry("a", ARRAY, &nested)));
    assert!(matches!(found, GgufError::NestedArray { key } if key == "a"));
}

#[test]
fn unknown_value_types_are_refused() {
    for kind in [13, 14, 255, u32::MAX] {
        let plain = with_entry(entry("a", kind, &[0; 16]));
        let inside = with_entry(entry("a", ARRAY, &array(kind, 1, &[0; 16])));
        for bytes in [plain, inside] {
            assert!(matches!(
                refused(bytes),
                GgufError::ValueType { found, .. } if found == kind
            ));
        }
    }
}

#[test]
fn duplicate_keys_and_tensors_are_refused() {
    let twice = entry("a.b", U32, &1u32.to_le_bytes());
    let bytes = [start(0, 2), twice.clone(), twice].concat();
    assert!(matches!(refused(bytes), GgufError::DuplicateKey { key } if key == "a.b"));
    let tensors = [
        tensor_entry("t", &[8], GGML_F32, 0),
        tensor_entry("t", &[8], GGML_F32, 32),
    ];
    let found = refused(with_tensors(&tensors, 64));
    assert!(matches!(found, GgufError::DuplicateTensor { name } if name == "t"));
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    let bad: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0, 0xc3, 0x28];
    let key = [start(0, 1), bad.to_vec(), vec![0; 16]].concat();
    let value = with_entry(entry("a", TEXT, bad));
    let element = with_entry(entry("a", ARRAY, &array(TEXT, 1, bad)));
    let name = [start(1, 0), bad.to_vec(), vec![0; 64]].concat();
    for (i, bytes) in [key, value, element, name].into_iter().enumerate() {
        assert!(matches!(refused(bytes), GgufError::Utf8 { .. }), "file {i}");
    }
}

#[test]
fn flags_are_zero_or_one() {
    let one = with_entry(entry("a", BOOL, &[2]));
    let list = with_entry(entry("a", ARRAY, &array(BOOL, 3, &[0, 1, 7])));
    assert!(matches!(refused(one), GgufError::Flag { found: 2, .. }));
    assert!(matches!(refused(list), GgufError::Flag { found: 7, .. }));
}

#[test]
fn alignments_are_small_powers_of_two() {
    let key = "general.alignment";
    for value in [0u32, 1, 4, 7, 24, 33, 1 << 17, 1 << 30, u32::MAX] {
        let found = refused(with_entry(entry(key, U32, &value.to_le_bytes())));
        assert!(matches!(found, GgufError::Metadata { .. }), "{value}");
    }
    for (kind, bytes) in [
        (I32, 32u32.to_le_bytes().to_vec()),
        (F32, 32f32.to_le_bytes().to_vec()),
        (U64, 32u64.to_le_bytes().to_vec()),
        (TEXT, text("32")),
        (ARRAY, array(U32, 1, &32u32.to_le_bytes())),
    ] {
        let found = refused(with_entry(entry(key, kind, &bytes)));
        assert!(matches!(found, GgufError::Metadata { .. }), "type {kind}");
    }
    for value in [8u32, 64, 1 << 16] {
        Gguf::from_bytes(with_entry(entry(key, U32, &value.to_le_bytes())))
            .unwrap_or_else(|e| panic!("{value}: {e}"));
    }
}

#[test]
fn dimensions_that_wrap_or_are_zero_are_refused() {
    let cases: &[&[u64]] = &[
        &[0],
        &[8, 0],
        &[u64::MAX],
        &[1 << 32, 1 << 32],
        &[(1 << 42) + 1, 1 << 22],
        &[1 << 62, 4],
        &[1 << 31, 1 << 31, 1 << 2],
        &[u64::MAX, u64::MAX, u64::MAX, u64::MAX],
    ];
    for dimensions in cases {
        let found = refused(with_tensors(
            &[tensor_entry("t", dimensions, GGML_F32, 0)],
            64,
        ));
        assert!(
            matches!(found, GgufError::Dimensions { .. }),
            "{dimensions:?}: {found}"
        );
    }
    for dimensions in [&[][..], &[1; 5], &[1; 100]] {
        let found = refused(with_tensors(
            &[tensor_entry("t", dimensions, GGML_F32, 0)],
            64,
        ));
        assert!(matches!(found, GgufError::Rank { .. }), "{dimensions:?}");
    }
    // A number of dimensions alone, without them.
    let mut bytes = [start(1, 0), text("t")].concat();
    bytes.extend(u32::MAX.to_le_bytes());
    bytes.resize(bytes.len() + 32, 0);
    assert!(matches!(
        refused(bytes),
        GgufError::Rank {
            found: u32::MAX,
            ..
        }
    ));
}

#[test]
fn tensors_keep_inside_the_file_and_off_each_other() {
    let tensor = |name: &str, offset| tensor_entry(name, &[8], GGML_F32, offset);
    let found = refused(with_tensors(&[tensor("t", 16)], 64));
    assert!(matches!(found, GgufError::Misaligned { offset: 16, .. }));
    for offset in [64, 1 << 20, 1 << 63, u64::MAX - 31] {
        let found = refused(with_tensors(&[tensor("t", offset)], 64));
        assert!(matches!(found, GgufError::OutOfBounds { .. }), "{offset}");
    }
    let found = refused(with_tensors(
        &[tensor_entry("t", &[1 << 40], GGML_F32, 0)],
        64,
    ));
    assert!(matches!(found, GgufError::OutOfBounds { .. }));
    let wide = tensor_entry("wide", &[16], GGML_F32, 0);
    let found = refused(with_tensors(&[tensor("late", 32), wide.clone()], 64));
    assert!(
        matches!(&found, GgufError::Overlap { first, second } if first == "wide" && second == "late")
    );
    let found = refused(with_tensors(&[tensor("same", 0), wide], 64));
    assert!(matches!(found, GgufError::Overlap { .. }));
    let both = [tensor("a", 32), tensor("b", 0)];
    Gguf::from_bytes(with_tensors(&both, 64)).expect("any order, side by side");
}

#[test]
fn unknown_storage_types_and_broken_blocks_are_refused() {
    for kind in [4, 5, 24, 26, 28, 99, u32::MAX] {
        let found = refused(with_tensors(&[tensor_entry("t", &[8], kind, 0)], 64));
        assert!(
            matches!(&found, GgufError::TensorType { name, found } if name == "t" && *found == kind)
        );
    }
    let found = refused(with_tensors(
        &[tensor_entry("t", &[48, 2], GGML_Q8_0, 0)],
        256,
    ));
    assert!(matches!(found, GgufError::RowLength { found: 48, .. }));
}

#[test]
fn names_and_keys_are_bounded() {
    let long = "n".repeat(129);
    let found = refused(with_tensors(&[tensor_entry(&long, &[8], GGML_F32, 0)], 64));
    assert!(matches!(found, GgufError::TooMany { found: 129, .. }));
    let long = "k".repeat(1 << 16);
    let found = refused(with_entry(entry(&long, U8, &[1])));
    assert!(matches!(found, GgufError::TooMany { .. }));
    let many: Vec<u8> = (0..=1u32 << 16)
        .flat_map(|i| entry(&i.to_string(), U8, &[1]))
        .collect();
    let found = refused([start(0, (1 << 16) + 1), many].concat());
    assert!(matches!(found, GgufError::TooMany { .. }));
}

#[test]
fn values_come_back_as_they_were_written() {
    let mut w = gguf_files::Writer::default();
    w.put("i8", 1, &[0x80])
        .put("i16", 3, &(-2i16).to_le_bytes())
        .put("i32", 5, &(-3i32).to_le_bytes())
        .put("i64", 11, &i64::MIN.to_le_bytes())
        .put("u8", 0, &[200])
        .put("u16", 2, &60_000u16.to_le_bytes())
        .put("u64", 10, &u64::MAX.to_le_bytes())
        .put("f64", 12, &0.1f64.to_le_bytes())
        .f32("f32", 0.5)
        .bool("bool", true)
        .text("text", "é")
        .texts("texts", &["a", "", "bc"])
        .f32s("floats", &[1.0, -2.0]);
    let file = Gguf::from_bytes(w.finish()).expect("a valid file");
    let rows = [
        ("i8", Value::Signed(-128)),
        ("i16", Value::Signed(-2)),
        ("i32", Value::Signed(-3)),
        ("i64", Value::Signed(i64::MIN)),
        ("u8", Value::Unsigned(200)),
        ("u16", Value::Unsigned(60_000)),
        ("u64", Value::Unsigned(u64::MAX)),
        ("f64", Value::Float(0.1)),
        ("f32", Value::Float(0.5)),
        ("bool", Value::Bool(true)),
        ("text", Value::Text("é")),
    ];
    for (key, expected) in rows {
        assert_eq!(file.value(key), Some(expected), "{key}");
    }
    let list = |key| file.value(key).and_then(Value::array).expect("a list");
    let texts: Result<Vec<&str>, _> = list("texts").texts().expect("texts").collect();
    assert_eq!(texts.expect("unchanged"), ["a", "", "bc"]);
    let numbers: Vec<f32> = list("floats").floats().expect("floats").collect();
    assert_eq!(numbers, [1.0, -2.0]);
    assert!(list("floats").texts().is_none() && list("texts").scalars().is_none());
    assert_eq!(file.value("absent"), None);
}

/// Opens a description from metadata with one value changed.
fn spec_with(key: &str, kind: u32, value: &[u8]) -> Result<(), InferError> {
    let bytes = gguf_files::tiny().put(key, kind, value).finish();
    let file = Gguf::from_bytes(bytes).expect("the container is valid");
    let spec = file.spec()?;
    Checkpoint::from_gguf(&file)?.check(&spec)
}

#[test]
fn dimensions_that_the_tensors_do_not_have_are_refused() {
    let number = |n: u32| n.to_le_bytes();
    for (key, value) in [
        ("llama.block_count", 0),
        ("llama.block_count", 3),
        ("llama.block_count", u32::MAX),
        ("llama.attention.head_count", 0),
        ("llama.attention.head_count", 3),
        ("llama.attention.head_count", u32::MAX),
        ("llama.attention.head_count_kv", 0),
        ("llama.attention.head_count_kv", 2),
        ("llama.embedding_length", 0),
        ("llama.embedding_length", 16),
        ("llama.feed_forward_length", 0),
        ("llama.feed_forward_length", u32::MAX),
        ("llama.vocab_size", 0),
        ("llama.vocab_size", 7),
        ("llama.vocab_size", u32::MAX),
        ("llama.expert_count", 8),
        ("llama.expert_count", u32::MAX),
        ("llama.rope.dimension_count", 0),
        ("llama.rope.dimension_count", 2),
        ("llama.attention.key_length", 5),
        ("tokenizer.ggml.bos_token_id", 6),
        ("tokenizer.ggml.eos_token_id", u32::MAX),
        ("llama.attention.unheard_of", 1),
        ("llama.final_logit_softcapping", 30),
    ] {
        let found = spec_with(key, U32, &number(value));
        assert!(found.is_err(), "{key} = {value} was accepted");
    }
    spec_with("llama.vocab_size", U32, &number(6)).expect("as it was");
    let two = [2u32.to_le_bytes(), 2u32.to_le_bytes()].concat();
    spec_with("llama.attention.head_count", ARRAY, &array(U32, 2, &two))
        .expect("a list that says the same for each layer");
    let differ = [2u32.to_le_bytes(), 1u32.to_le_bytes()].concat();
    let found = spec_with("llama.attention.head_count", ARRAY, &array(U32, 2, &differ));
    assert!(matches!(found, Err(InferError::Spec { .. })));
    for (key, kind, value) in [
        ("llama.block_count", TEXT, text("2")),
        ("llama.block_count", I32, (-1i32).to_le_bytes().to_vec()),
        ("llama.rope.freq_base", F32, f32::NAN.to_le_bytes().to_vec()),
        ("llama.rope.freq_base", F32, (-1f32).to_le_bytes().to_vec()),
        (
            "tokenizer.ggml.eos_token_id",
            U64,
            u64::MAX.to_le_bytes().to_vec(),
        ),
    ] {
        assert!(
            spec_with(key, kind, &value).is_err(),
            "{key} of type {kind}"
        );
    }
}

#[test]
fn more_active_experts_than_experts_are_refused() {
    let mut w = gguf_files::tiny();
    w.u32("llama.expert_count", 2)
        .u32("llama.expert_used_count", 3);
    let file = Gguf::from_bytes(w.finish()).expect("the container is valid");
    let message = match file.spec() {
        Err(InferError::Spec { source, .. }) => source.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(message.contains("num_experts_per_tok"), "{message}");
}

#[test]
fn tensors_that_the_model_does_not_account_for_are_refused() {
    for (name, shape) in [
        ("blk.0.attn_q.bias", vec![8]),
        ("blk.1.exp_probs_b.bias", vec![8]),
        ("blk.0.rope_freqs.weight", vec![8]),
        ("output.bias", vec![6]),
        ("rope_factors_long.weight", vec![8]),
    ] {
        let data = floats(&vec![0.5; shape[0]]);
        let bytes = gguf_files::tiny()
            .tensor(name, &shape, GGML_F32, data)
            .finish();
        let file = Gguf::from_bytes(bytes).expect("the container is valid");
        let spec = file.spec().expect("a valid description");
        let found = Checkpoint::from_gguf(&file).expect("tensors").check(&spec);
        assert!(
            matches!(&found, Err(InferError::UnexpectedTensor { name: n }) if n == name),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn a_cut_file_names_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cut.gguf");
    let whole = gguf_files::tiny().finish();
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    for storage in [WeightStorage::Mapped, WeightStorage::Copied] {
        let options = LoadOptions {
            storage: Some(storage),
            threads: 1,
            ..LoadOptions::default()
        };
        match Model::load(&path, &options) {
            Err(InferError::Gguf { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn weights_that_are_no_numbers_end_in_an_error() {
    let blocks = |scale: half::f16| {
        let block = [&scale.to_le_bytes()[..], &[1; 32]].concat();
        block.repeat(gguf_files::VOCAB)
    };
    for scale in [half::f16::NAN, half::f16::INFINITY] {
        let mut w = gguf_files::tiny_of(32);
        w.tensor(
            "output.weight",
            &[gguf_files::VOCAB, 32],
            GGML_Q8_0,
            blocks(scale),
        );
        let file = Gguf::from_bytes(w.finish()).expect("the container is valid");
        let files = Checkpoint::from_gguf(&file).expect("tensors");
        let spec = file.spec().expect("a valid description");
        let model = Model::from_parts(spec, &files, None, 1).expect("a model");
        let mut session = model.session(SessionLimits::default()).expect("a session");
        let found: Result<Vec<_>, _> = session
            .generate(&[1, 2], &GenerateOptions::default())
            .and_then(Iterator::collect);
        assert!(found.is_err(), "{scale}");
    }
}

/// A file of holes takes no room on a disk and could hold what is claimed: limits end it.
#[test]
fn claims_that_a_file_of_holes_could_hold_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("holes.gguf");
    let long = |kind, len: u64| with_entry(entry("a", ARRAY, &array(kind, len, &[])));
    for bytes in [
        start(1 << 30, 0),
        start(0, 1 << 30),
        long(TEXT, 1 << 30),
        long(BOOL, 1 << 35),
        with_entry(entry("a", TEXT, &(1u64 << 35).to_le_bytes())),
        with_entry((1u64 << 35).to_le_bytes().to_vec()),
    ] {
        std::fs::write(&path, bytes).expect("written");
        let file = std::fs::File::options().write(true).open(&path);
        if file.and_then(|f| f.set_len(1 << 36)).is_err() {
            // Not every file system has holes.
            return;
        }
        let found = Gguf::open(&path, WeightStorage::Mapped);
        let named = matches!(
            found,
            Err(InferError::Gguf {
                source: GgufError::TooMany { .. },
                ..
            })
        );
        assert!(named, "{found:?}");
    }
}
