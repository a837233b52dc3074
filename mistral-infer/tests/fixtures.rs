//! The slice decoder against reference logits, where the fixtures are at hand.

use std::path::{Path, PathBuf};

use mistral_core::model::ModelSpec;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{LogitRows, Model, Run, SessionLimits};
use safetensors::SafeTensors;

/// The reference's own prefill and decode differ by 1e-5 to 4e-5; the smallest structural mistake
/// moves logits by more than 0.2.
const TOLERANCE: f32 = 2e-3;

fn fixtures() -> Option<PathBuf> {
    let dir = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/fixtures"
    ));
    dir.is_dir().then_some(dir)
}

struct Expected(Vec<u8>);

impl Expected {
    fn ids(&self, name: &str) -> Option<Vec<u32>> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).ok()?;
        let (chunks, _) = tensor.data().as_chunks::<4>();
        Some(chunks.iter().map(|b| u32::from_le_bytes(*b)).collect())
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let (chunks, _) = file.tensor(name).unwrap().data().as_chunks::<4>();
        chunks.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let distance = |(x, y): (&f32, &f32)| match x.is_finite() {
        true => (x - y).abs(),
        false => f32::INFINITY,
    };
    a.iter().zip(b).map(distance).fold(0.0, f32::max)
}

fn check(case: &Path) -> Result<(), String> {
    let config = std::fs::read_to_string(case.join("config.json")).unwrap();
    let spec = ModelSpec::from_hf_config(&config).map_err(|e| e.to_string())?;
    let vocab = spec.vocab_size;
    let files = [case.join("model.safetensors")];
    let weights = Checkpoint::open_files(&files, WeightStorage::Mapped);
    let weights = weights.map_err(|e| e.to_string())?;
    let model = Model::from_parts(spec, &weights, None, 2).map_err(|e| e.to_string())?;
    let expected = Expected(std::fs::read(case.join("expected.safetensors")).unwrap());
    let Some(ids) = expected.ids("input_ids.b1") else {
        return Ok(());
    };
    let limits = SessionLimits {
        max_logits: ids.len(),
        max_batch_tokens: ids.len(),
        ..SessionLimits::default()
    };
    let mut session = model.session(limits).map_err(|e| e.to_string())?;
    let whole = [Run {
        sequence: 0,
        tokens: &ids,
        logits: LogitRows::All,
    }];
    let logits = session.forward(&whole).map_err(|e| e.to_string())?;
    let error = worst(logits, &expected.f32("prefill.logits.b1"));
    if error > TOLERANCE {
        return Err(format!("prefill: {error}"));
    }
    let decode = expected.f32("decode.logits.b1");
    let prefix = ids.len() - decode.len() / vocab;
    session.clear(0);
    session
        .prefill(0, &ids[..prefix])
        .map_err(|e| e.to_string())?;
    for (i, row) in decode.chunks_exact(vocab).enumerate() {
        let at = prefix + i;
        let logits = session
            .prefill(0, &ids[at..=at])
            .map_err(|e| e.to_string())?;
        let error = worst(logits, row);
        if error > TOLERANCE {
            return Err(format!("decode at {at}: {error}"));
        }
    }
    Ok(())
}

#[test]
fn logits_of_every_case() {
    let Some(dir) = fixtures() else { return };
    let mut cases: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.join("config.json").is_file() && p.join("expected.safetensors").is_file())
        .collect();
    cases.sort();
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            check(case)
                .err()
                .map(|e| format!("{}: {e}", case.display()))
        })
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(cases.len() >= 10, "{}", cases.len());
}
