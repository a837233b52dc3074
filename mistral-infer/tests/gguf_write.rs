//! GGUF files that are written here: read back, held against gguf-py's, and against the weights
//! that they were made from.

mod gguf_files;

use std::path::{Path, PathBuf};

use gguf_files::noise;
use mistral_core::model::ModelSpec;
use mistral_core::precision::{Format, Precision};
use mistral_infer::blueprint::for_each_tensor;
use mistral_infer::gguf::{
    Gguf, GgufError, GgufWriter, Metadata, MetadataValue, QuantizeOptions, QuantizeReport,
    TensorHeader, quantize_model,
};
use mistral_infer::tokenizer::Tokenizer;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{CacheType, InferError, LoadOptions, LogitRows, Model, Run, SessionLimits};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-mixtral");
const TOKENIZERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tokenizer");

fn fixtures() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures");
    folder.is_dir().then_some(folder)
}

fn write(from: &Path, to: &Path, precision: Precision) -> Result<QuantizeReport, InferError> {
    let options = QuantizeOptions {
        precision,
        threads: 2,
        context_length: None,
    };
    quantize_model(from, to, &options, &mut |_| ())
}

fn load(path: &Path) -> Model {
    let options = LoadOptions {
        threads: 1,
        ..LoadOptions::default()
    };
    Model::load(path, &options).unwrap_or_else(|e| panic!("{}: {e:?}", path.display()))
}

fn widened(path: &Path) -> Model {
    let spec = load(path).spec().clone();
    let files = Checkpoint::open(path, WeightStorage::Mapped).expect("tensors");
    Model::from_parts(spec, &files.widened(), None, 1).expect("a model")
}

/// Logits of every position, with a cache in f32.
fn logits(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let limits = SessionLimits {
        max_seq_len: Some(tokens.len()),
        max_batch_tokens: tokens.len(),
        max_logits: tokens.len(),
        cache: Some(CacheType::F32),
        ..SessionLimits::default()
    };
    let mut session = model.session(limits).expect("a session");
    let run = Run {
        sequence: 0,
        tokens,
        logits: LogitRows::All,
    };
    session.forward(&[run]).expect("finite logits").to_vec()
}

/// The middle one of the rows' largest differences: rounding may tip an undecided router, and with
/// it a row.
fn middle_error(a: &[f32], b: &[f32], width: usize) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut worst: Vec<f32> = (a.chunks(width).zip(b.chunks(width)))
        .map(|(a, b)| {
            let differences = a.iter().zip(b).map(|(x, y)| (x - y).abs());
            differences.fold(0.0, f32::max)
        })
        .collect();
    worst.sort_by(f32::total_cmp);
    worst[worst.len() / 2]
}

#[test]
fn written_models_give_the_logits_of_their_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let original = load(Path::new(TINY));
    let text = "DUKE:\nWhat, is the messenger come from the wood? Speak, man, and be brief.\n";
    let ids = original
        .tokenizer()
        .expect("one")
        .encode(text)
        .expect("ids");
    let width = original.spec().vocab_size;
    let expected = logits(&original, &ids);
    // How far logits may be from those of the original weights: twice what was measured. Kernels
    // round activations beside bf16.
    for (precision, bits, far) in [
        (Precision::F32, 32.0, 0.05),
        (Precision::Bf16, 16.1, 0.05),
        (Precision::F16, 16.1, 0.05),
        (Precision::Q8_0, 8.6, 0.3),
        (Precision::Q6K, 8.6, 0.3),
        (Precision::Q5KM, 6.8, 1.5),
        (Precision::Q4KM, 6.5, 1.5),
        (Precision::Q4KS, 6.2, 1.5),
        (Precision::Q4_0, 5.3, 3.0),
    ] {
        let path = folder.path().join(format!("{precision}.gguf"));
        let report = write(Path::new(TINY), &path, precision).expect("a file");
        assert!(report.bits_per_weight <= bits, "{precision}: {report:?}");
        assert_eq!(report.weights, 1_250_432);
        assert_eq!(report.bytes, path.metadata().expect("a file").len());
        let model = load(&path);
        assert_eq!(model.precision(), Some(precision));
        let found = logits(&model, &ids);
        let exact = logits(&widened(&path), &ids);
        let error = middle_error(&exact, &expected, width);
        assert!(error < far, "{precision}: {error} from the original");
        let kernels = middle_error(&found, &exact, width);
        assert!(kernels < 0.3, "{precision}: {kernels} from its weights");
        let tokenizer = model.tokenizer().expect("one");
        assert_eq!(tokenizer.encode(text).expect("ids"), ids);
        assert_eq!(tokenizer.decode(&ids).expect("text"), text);
        assert_eq!(tokenizer.bos_id(), Some(1));
        assert_eq!(model.spec().eos_token_ids, [2]);
    }
    // What was written can be written again.
    let again = folder.path().join("again.gguf");
    write(&folder.path().join("bf16.gguf"), &again, Precision::Q4KM).expect("a file");
    let first = std::fs::read(folder.path().join("q4_k_m.gguf")).expect("a file");
    assert!(std::fs::read(&again).expect("a file") == first);
}

/// gguf-py wrote these with its own rounding and its own order of rows.
#[test]
fn tensors_have_the_bytes_of_gguf_py() {
    let Some(folder) = fixtures() else { return };
    let out = tempfile::tempdir().expect("a folder");
    for (model, precision) in [
        ("mistral_full", Precision::Q8_0),
        ("mixtral", Precision::Q8_0),
    ] {
        let name = format!("{model}.{precision}.gguf");
        let theirs = Gguf::open(folder.join("gguf").join(&name), WeightStorage::Mapped);
        let theirs = theirs.expect("a fixture");
        let path = out.path().join(&name);
        write(&folder.join(model), &path, precision).expect("a file");
        let ours = Gguf::open(&path, WeightStorage::Mapped).expect("a file");
        let mut same = 0;
        for tensor in theirs.tensors() {
            let (found, bytes) = ours.tensor(&tensor.name).expect("the same names");
            assert_eq!(found.shape, tensor.shape, "{}", tensor.name);
            if found.format == tensor.format {
                let (_, expected) = theirs.tensor(&tensor.name).expect("it is listed");
                assert!(bytes == expected, "{name}: {}", tensor.name);
                same += 1;
            }
        }
        assert_eq!(ours.tensors().count(), theirs.tensors().count(), "{name}");
        assert!(same * 10 >= ours.tensors().count() * 9, "{name}: {same}");
    }
}

/// A dense model of random weights in a folder, in Hugging Face's form.
fn folder_of(config: &Value, change: impl Fn(&str, &mut [f32])) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = ModelSpec::from_hf_config(&config.to_string()).expect("a valid config");
    let mut tensors = Vec::new();
    let _: Result<(), ()> = for_each_tensor(&spec, &mut |name, shape| {
        let mut values = noise(shape.iter().product(), tensors.len() as u64 + 1);
        change(name, &mut values);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensors.push((hugging_face(name), shape.to_vec(), bytes));
        Ok(())
    });
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("whole");
        (name.clone(), view)
    });
    let file = folder.path().join("model.safetensors");
    safetensors::serialize_to_file(views, None, &file).expect("a file");
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("a file");
    folder
}

fn hugging_face(name: &str) -> String {
    let name = name
        .replace("tok_embeddings", "model.embed_tokens")
        .replace("attention_norm", "input_layernorm")
        .replace("ffn_norm", "post_attention_layernorm");
    let name = match name.strip_prefix("layers.") {
        Some(rest) => format!("model.layers.{rest}"),
        None if name == "norm.weight" => "model.norm.weight".to_owned(),
        None => name.replace("output", "lm_head"),
    };
    let mut name = name.replace(".attention.w", ".self_attn.");
    for letter in ["q", "k", "v", "o"] {
        name = name.replace(
            &format!("self_attn.{letter}.weight"),
            &format!("self_attn.{letter}_proj.weight"),
        );
    }
    for (w, projection) in [("w1", "gate"), ("w2", "down"), ("w3", "up")] {
        name = name.replace(
            &format!("feed_forward.{w}"),
            &format!("mlp.{projection}_proj"),
        );
    }
    name
}

fn config(vocab: usize) -> Value {
    json!({
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": vocab,
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
        "sliding_window": null, "hidden_act": "silu", "tie_word_embeddings": true,
        "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
    })
}

#[test]
fn tokenizers_and_templates_come_back() {
    let texts = [
        "",
        "The small model reads the text.",
        "  two  spaces  and\n\n\tlines 12345",
        "Été, Noël, œuvre 文字 \u{1f600} [INST] </s>",
        "\u{2581}under <0x41>",
    ];
    for name in [
        "tekken_v11.json",
        "tekken_v15.json",
        "tokenizer.json",
        "tokenizer.model.v7",
    ] {
        let source = Path::new(TOKENIZERS).join(name);
        let expected = Tokenizer::from_file(&source).expect("a tokenizer");
        // A round number of rows, some of them without a token.
        let model = folder_of(
            &config(expected.vocab_size().next_multiple_of(64)),
            |_, _| (),
        );
        let target = match name.split_once("_v") {
            Some(_) => "tekken.json",
            None => name,
        };
        std::fs::copy(&source, model.path().join(target)).expect("a copy");
        let template = "{{ bos_token }}[INST] {{ messages[0].content }}[/INST]";
        std::fs::write(model.path().join("chat_template.jinja"), template).expect("a file");
        let path = model.path().join("out.gguf");
        write(model.path(), &path, Precision::Q8_0).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let found = load(&path);
        let found = found.tokenizer().expect("one");
        assert_eq!(found.chat_template(), Some(template), "{name}");
        for text in texts {
            let ids = expected.encode(text).expect("ids");
            assert_eq!(found.encode(text).expect("ids"), ids, "{name}: {text:?}");
            let decoded = found.decode(&ids).expect("text");
            assert_eq!(decoded, expected.decode(&ids).expect("text"), "{name}");
        }
        for id in 0..expected.vocab_size() as u32 {
            assert_eq!(
                found.is_control(id),
                expected.is_control(id),
                "{name}: {id}"
            );
        }
    }
}

/// YaRN with and without its magnitude, windows, tied embeddings: what is written gives the same
/// logits, and what can't be written is refused by its field.
#[test]
fn fixtures_keep_their_logits_or_are_refused() {
    let Some(folder) = fixtures() else { return };
    let out = tempfile::tempdir().expect("a folder");
    for name in [
        "mistral_full",
        "mistral_swa",
        "mistral_nemo_tied",
        "mistral_yarn",
        "mixtral",
        "ministral3",
    ] {
        let path = out.path().join(format!("{name}.gguf"));
        write(&folder.join(name), &path, Precision::F32)
            .unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let (original, written) = (load(&folder.join(name)), load(&path));
        let vocab = original.spec().vocab_size;
        let ids: Vec<u32> = (0..96).map(|i| (7 * i + 3) % vocab as u32).collect();
        let (a, b) = (logits(&original, &ids), logits(&written, &ids));
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
        assert!(worst.fold(0.0, f32::max) < 2e-3, "{name}");
    }
    for (name, field) in [
        ("ministral_interleaved", "layers"),
        ("mistral4_small4", "attention"),
        ("mistral_large4_text", "attention"),
    ] {
        let path = out.path().join(format!("{name}.gguf"));
        match write(&folder.join(name), &path, Precision::Q8_0) {
            Err(InferError::NotInGguf { field: found, .. }) => assert_eq!(found, field, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        assert!(!path.exists());
    }
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let broken = folder_of(&config(32), |name, values| {
        if name == "layers.1.feed_forward.w2.weight" {
            values[100] = f32::NAN;
        }
    });
    let path = broken.path().join("out.gguf");
    std::fs::write(&path, "what was there").expect("a file");
    match write(broken.path(), &path, Precision::Q8_0) {
        Err(InferError::Weight { tensor, .. }) => {
            assert_eq!(tensor, "layers.1.feed_forward.w2.weight");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read(&path).expect("a file"), b"what was there");
    let left = std::fs::read_dir(broken.path()).expect("a folder");
    assert_eq!(left.count(), 3, "config, weights and the old file");
    match write(broken.path(), &path, Precision::Awq) {
        Err(InferError::NotInGguf { field, .. }) => assert_eq!(field, "precision"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_of_the_writer_are_read_as_they_were_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("any.gguf");
    let header = |name: &str, format, shape: &[usize]| TensorHeader {
        name: name.to_owned(),
        format,
        shape: shape.to_vec(),
    };
    let tensors = [
        header("a", Format::F16, &[3]),
        header("b", Format::Q4K, &[2, 256]),
        header("c", Format::F32, &[1, 2, 1]),
    ];
    let mut metadata = Metadata::new();
    for (key, value) in [
        ("x.count", MetadataValue::U32(7)),
        ("x.flag", MetadataValue::Bool(true)),
        ("x.text", MetadataValue::Text("é".to_owned())),
        (
            "x.texts",
            MetadataValue::Texts(vec![String::new(), "b".to_owned()]),
        ),
        ("x.f32s", MetadataValue::F32s(vec![0.5])),
        ("x.i32s", MetadataValue::I32s(vec![-1, 1])),
    ] {
        metadata.insert(key.to_owned(), value);
    }
    let data: Vec<Vec<u8>> = vec![vec![1; 6], vec![2; 288], vec![3; 8]];
    let mut file = GgufWriter::create(&path, &metadata, &tensors).expect("a file");
    for bytes in &data {
        // In pieces of any size.
        for piece in bytes.chunks(5) {
            file.data(piece).expect("room");
        }
    }
    assert!(matches!(
        file.data(&[0]),
        Err(InferError::Gguf {
            source: GgufError::DataLength { .. },
            ..
        })
    ));
    file.finish().expect("whole");
    let read = Gguf::open(&path, WeightStorage::Copied).expect("a valid file");
    assert_eq!(read.value("x.text").and_then(|v| v.text()), Some("é"));
    assert_eq!(read.value("x.count").and_then(|v| v.integer()), Some(7));
    assert_eq!(read.keys().count(), metadata.len());
    for (tensor, expected) in tensors.iter().zip(&data) {
        let (found, bytes) = read.tensor(&tensor.name).expect("it was written");
        assert_eq!((&found.shape, found.format), (&tensor.shape, tensor.format));
        assert_eq!(bytes, expected);
    }
    for (tensor, what) in [
        (header("t", Format::Q4K, &[2, 128]), "half a block"),
        (header("t", Format::Int8, &[2]), "no type"),
        (header("t", Format::F32, &[]), "no dimension"),
        (header("t", Format::F32, &[0]), "nothing"),
        (header("t", Format::F32, &[usize::MAX, 8]), "too much"),
    ] {
        let found = GgufWriter::create(&path, &metadata, &[tensor]);
        assert!(matches!(found, Err(InferError::Gguf { .. })), "{what}");
    }
    let file = GgufWriter::create(&path, &metadata, &tensors).expect("a file");
    assert!(matches!(file.finish(), Err(InferError::Gguf { .. })));
    assert!(
        Gguf::open(&path, WeightStorage::Copied).is_ok(),
        "the old one"
    );
}
