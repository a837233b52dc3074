//! The state of a run, saved whole: variables, moments, random state, history.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::evaluate::Evaluation;
use super::model::Variables;
use super::optimizer::AdamW;
use super::{Error, files};

/// What isn't a tensor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The arguments that decide the weights; another command may not continue this run.
    pub(crate) recipe: String,
    /// Updates done.
    pub(crate) step: usize,
    /// State of the batch generator.
    pub(crate) random: u64,
    /// Wall-clock seconds spent.
    pub(crate) seconds: f64,
    /// Every twentieth step.
    pub(crate) curve: Vec<TrainPoint>,
    /// Every evaluation.
    pub(crate) evaluations: Vec<EvaluationPoint>,
    /// The evaluation of the best weights.
    pub(crate) best: Option<EvaluationPoint>,
}

/// Means over the steps since the last point.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TrainPoint {
    pub(crate) step: usize,
    /// Cross-entropy in nats a token.
    pub(crate) loss: f64,
    /// The load-balancing loss before its coefficient; 1 is balance.
    pub(crate) aux: f64,
    /// Norm of the gradients before clipping.
    pub(crate) grad_norm: f64,
}

/// An evaluation and its step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EvaluationPoint {
    pub(crate) step: usize,
    pub(crate) evaluation: Evaluation,
}

const FILE: &str = "state.safetensors";

/// Saves everything under `folder`.
pub(crate) fn save(
    folder: &Path,
    variables: &Variables,
    optimizer: &AdamW,
    progress: &Progress,
) -> Result<(), Error> {
    let mut tensors = BTreeMap::new();
    for ((name, var), moments) in variables.iter().zip(&optimizer.moments) {
        let (shape, device) = (var.dims(), &Device::Cpu);
        tensors.insert(format!("{name}.value"), var.as_detached_tensor());
        tensors.insert(
            format!("{name}.m"),
            Tensor::from_slice(&moments.first, shape, device)?,
        );
        tensors.insert(
            format!("{name}.v"),
            Tensor::from_slice(&moments.second, shape, device)?,
        );
    }
    // One file, so that weights and progress can't come from different moments.
    let metadata = [("progress".to_owned(), serde_json::to_string(progress)?)];
    let bytes = safetensors::serialize(&tensors, Some(metadata.into()))?;
    files::write(&folder.join(FILE), &bytes)
}

/// Restores a saved run into `variables` and `optimizer`; `None` when there is none.
pub(crate) fn load(
    folder: &Path,
    recipe: &str,
    variables: &Variables,
    optimizer: &mut AdamW,
) -> Result<Option<Progress>, Error> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes)?;
    let json = header.metadata().as_ref().and_then(|m| m.get("progress"));
    let json = json.ok_or_else(|| format!("{}: not a training state", path.display()))?;
    let progress: Progress = serde_json::from_str(json)?;
    if progress.recipe != recipe {
        let found = &progress.recipe;
        return Err(format!(
            "{}: belongs to another run ({found}, not {recipe}); name another --work",
            path.display()
        )
        .into());
    }
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
    let get = |name: String| -> Result<Tensor, Error> {
        let tensor = tensors
            .get(&name)
            .ok_or_else(|| format!("{name}: missing in the state"))?;
        Ok(tensor.to_dtype(DType::F32)?)
    };
    for ((name, var), moments) in variables.iter().zip(&mut optimizer.moments) {
        var.set(&get(format!("{name}.value"))?)?;
        moments.first = get(format!("{name}.m"))?.flatten_all()?.to_vec1()?;
        moments.second = get(format!("{name}.v"))?.flatten_all()?.to_vec1()?;
    }
    Ok(Some(progress))
}
