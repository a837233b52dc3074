//! Laws of the GGUF reader on random and damaged files.

mod gguf_files;

use gguf_files::{Writer, noise};
use mistral_infer::gguf::{Gguf, Value};
use mistral_infer::weights::Checkpoint;
use mistral_infer::{LogitRows, Model, Run, SessionLimits, Tokenizer};
use proptest::prelude::*;

/// What holds of every file that is accepted.
fn check(file: &Gguf, len: usize) -> Result<(), TestCaseError> {
    let mut ranges = Vec::new();
    for tensor in file.tensors() {
        prop_assert!(tensor.range.end <= len && !tensor.range.is_empty());
        let count = tensor.shape.iter().product();
        prop_assert_eq!(tensor.format.bytes(count), Some(tensor.range.len()));
        prop_assert_eq!(file.tensor(&tensor.name).map(|(t, _)| t), Some(tensor));
        ranges.push((tensor.range.start, tensor.range.end));
    }
    ranges.sort_unstable();
    prop_assert!(ranges.windows(2).all(|w| w[0].1 <= w[1].0));
    for key in file.keys() {
        prop_assert!(file.value(key).is_some());
    }
    Ok(())
}

/// Takes an accepted file as far as it goes; only panics count.
fn use_it(file: &Gguf) {
    let tokenizer = Tokenizer::from_gguf(file).ok().flatten();
    let (Ok(spec), Ok(files)) = (file.spec(), Checkpoint::from_gguf(file)) else {
        return;
    };
    let Ok(model) = Model::from_parts(spec, &files, tokenizer, 1) else {
        return;
    };
    let limits = SessionLimits {
        max_seq_len: Some(4),
        max_batch_tokens: 4,
        ..SessionLimits::default()
    };
    if let Ok(mut session) = model.session(limits) {
        let run = Run {
            sequence: 0,
            tokens: &[0, 1, 2],
            logits: LogitRows::Last,
        };
        let _ = session.forward(&[run]);
    }
}

fn scalar() -> impl Strategy<Value = (u32, Vec<u8>, Value<'static>)> {
    prop_oneof![
        any::<u8>().prop_map(|n| (0, vec![n], Value::Unsigned(n.into()))),
        any::<i8>().prop_map(|n| (1, n.to_le_bytes().to_vec(), Value::Signed(n.into()))),
        any::<u16>().prop_map(|n| (2, n.to_le_bytes().to_vec(), Value::Unsigned(n.into()))),
        any::<i16>().prop_map(|n| (3, n.to_le_bytes().to_vec(), Value::Signed(n.into()))),
        any::<u32>().prop_map(|n| (4, n.to_le_bytes().to_vec(), Value::Unsigned(n.into()))),
        any::<i32>().prop_map(|n| (5, n.to_le_bytes().to_vec(), Value::Signed(n.into()))),
        any::<f32>().prop_map(|x| (6, x.to_le_bytes().to_vec(), Value::Float(x.into()))),
        any::<bool>().prop_map(|b| (7, vec![u8::from(b)], Value::Bool(b))),
        any::<u64>().prop_map(|n| (10, n.to_le_bytes().to_vec(), Value::Unsigned(n))),
        any::<i64>().prop_map(|n| (11, n.to_le_bytes().to_vec(), Value::Signed(n))),
        any::<f64>().prop_map(|x| (12, x.to_le_bytes().to_vec(), Value::Float(x))),
    ]
}

proptest! {
    #[test]
    fn any_bytes_give_a_value_or_an_error(tail in prop::collection::vec(any::<u8>(), 0..400), magic: bool) {
        let mut bytes = if magic { b"GGUF\x03\0\0\0".to_vec() } else { Vec::new() };
        bytes.extend(tail);
        let len = bytes.len();
        if let Ok(file) = Gguf::from_bytes(bytes) {
            check(&file, len)?;
        }
    }

    #[test]
    fn damaged_files_give_a_value_or_an_error(
        flips in prop::collection::vec((0.0..1.0f64, any::<u8>()), 1..6),
        header_only: bool,
        cut in prop::option::of(0.0..1.0f64),
    ) {
        let mut bytes = gguf_files::tiny().finish();
        // Most of the file is data: half of the cases damage what describes it.
        let reach = if header_only { 1800 } else { bytes.len() };
        for (at, value) in flips {
            bytes[(at * reach as f64) as usize] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        let len = bytes.len();
        if let Ok(file) = Gguf::from_bytes(bytes) {
            check(&file, len)?;
            use_it(&file);
        }
    }

    #[test]
    fn what_is_written_is_read(
        entries in prop::collection::btree_map("[a-z.]{1,12}", scalar(), 0..12),
        texts in prop::collection::vec(".{0,8}", 0..6),
        sizes in prop::collection::vec(1usize..5, 1..5),
    ) {
        let mut writer = Writer::default();
        for (key, (kind, bytes, _)) in &entries {
            writer.put(&format!("x.{key}"), *kind, bytes);
        }
        writer.texts("texts", &texts);
        let values = noise(sizes.iter().product(), 3);
        writer.tensor("t", &sizes, gguf_files::GGML_F32, gguf_files::floats(&values));
        let file = Gguf::from_bytes(writer.finish()).expect("a valid file");
        for (key, (.., expected)) in &entries {
            let found = file.value(&format!("x.{key}"));
            // NaN is equal to nothing, itself included.
            let nan = matches!(expected, Value::Float(x) if x.is_nan());
            prop_assert!(nan || found == Some(*expected), "{key}: {found:?}, {expected:?}");
        }
        let list = file.value("texts").and_then(Value::array).expect("a list");
        let read: Result<Vec<&str>, _> = list.texts().expect("texts").collect();
        prop_assert_eq!(read.expect("unchanged"), texts);
        let (tensor, bytes) = file.tensor("t").expect("there");
        prop_assert_eq!(&tensor.shape, &sizes);
        prop_assert_eq!(bytes, gguf_files::floats(&values));
    }
}
