//! Sampling rows: probabilities after each chain of steps.

use std::error::Error;

use mistral_kernels::{Sampler, Sampling};
use serde_json::Value;

use crate::ops::Inputs;
use crate::report::{Checks, Tolerance};

/// Largest difference of a probability.
const MAX: f64 = 1e-5;

/// Compares the probabilities of every row of logits.
pub(crate) fn check(inputs: &Inputs<'_>, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let name = inputs
        .label
        .strip_prefix("sampling.")
        .unwrap_or(inputs.label);
    let settings = settings(name, inputs.params)?;
    let (logits, previous) = (inputs.tensor("logits")?, inputs.tensor("prev_ids")?);
    let (vocab, ids) = (logits.width(), previous.ids());
    let mut found = Vec::with_capacity(logits.values.len());
    for (row, seen) in logits
        .values
        .chunks(vocab)
        .zip(ids.chunks(previous.width()))
    {
        let mut out = vec![0.0; row.len()];
        Sampler::new(settings, 0)?.probabilities(&mut row.to_vec(), seen, &mut out)?;
        found.extend(out);
    }
    checks.compare(
        "probs",
        &found,
        &inputs.tensor("probs")?.values,
        Tolerance::Max(MAX),
    );
    Ok(())
}

/// The settings of a row: numbers among its parameters where it has them, else those that its name
/// spells (`t0.7_p0.9`, `k5`, `minp0.05`, `rep1.3`).
fn settings(name: &str, params: &Value) -> Result<Sampling, String> {
    let mut settings = Sampling {
        temperature: 1.0,
        ..Sampling::default()
    };
    let mut set = |key: &str, value: f64| {
        match key {
            "t" | "temperature" => settings.temperature = value as f32,
            "p" | "top_p" => settings.top_p = value as f32,
            "k" | "top_k" => settings.top_k = value as usize,
            "minp" | "min_p" => settings.min_p = value as f32,
            "rep" | "repetition_penalty" => settings.repetition_penalty = value as f32,
            _ => return false,
        }
        true
    };
    let numbers = params.as_object().into_iter().flatten();
    let given = numbers.filter_map(|(key, value)| Some((key.as_str(), value.as_f64()?)));
    if given.fold(false, |any, (key, value)| set(key, value) || any) {
        return Ok(settings);
    }
    if name == "all" {
        // The one name that spells nothing; the reference was made with these.
        let all = [("rep", 1.1), ("t", 0.8), ("k", 20.0), ("p", 0.85)];
        all.into_iter().for_each(|(key, value)| {
            set(key, value);
        });
        return Ok(settings);
    }
    for part in name.split('_') {
        let digits = part
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(part.len());
        let (key, value) = part.split_at(digits);
        let known = value.parse().is_ok_and(|value| set(key, value));
        if !known {
            return Err(format!(
                "the settings of sampling row {name:?} are not known"
            ));
        }
    }
    Ok(settings)
}
