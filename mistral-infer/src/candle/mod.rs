//! The decoder once more, as a differentiable candle module.
//!
//! [`Decoder`] covers every architecture that `ModelSpec`
//! describes, in plain candle operations, so that gradients reach the parameters. It shares no
//! arithmetic with the decoder that generates text: training uses this one, and the fixtures hold
//! both equal. It keeps no cache: [`Decoder::forward`] takes whole sequences.
//!
//! Parameters come from a function from canonical name and shape to tensor, so that a checkpoint,
//! the variables of a training run and a map in a test all serve:
//!
//! ```
//! use candle_core::{DType, Device, Result, Tensor};
//! use mistral_infer::candle::Decoder;
//! # use mistral_core::model::ModelSpec;
//! # fn spec() -> ModelSpec { ModelSpec::from_hf_config(include_str!("../../testdata/tiny_mixtral.json")).unwrap() }
//! let constant = |_: &str, shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu);
//! let decoder = Decoder::new(&spec(), &constant)?;
//! let ids = Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?;
//! assert_eq!(decoder.forward(&ids)?.dims(), [1, 3, spec().vocab_size]);
//! # Ok::<(), candle_core::Error>(())
//! ```

mod attention;
mod decoder;
mod indexer;
mod moe;
mod norm;
mod rope;

pub use decoder::{Decoder, Disturb, LayerTrace, Trace};
pub use indexer::Selection;
pub use moe::{Routing, load_balancing_loss};

use candle_core::{DType, Device, Result, Tensor};
use mistral_core::model::{Architecture, ModelSpec};
use mistral_kernels::WeightData;

use crate::weights::Checkpoint;

/// Gives a parameter by its canonical name and expected shape, or an error that names it.
///
/// A tensor of another shape is refused by [`Decoder::new`]. The tensor's dtype is the model's:
/// f32 or bf16, save that a parameter may stay in f32 where the file keeps it so (Large 4's
/// `gate.weight` and `lerope.alpha`).
pub type Parameters<'a> = dyn Fn(&str, &[usize]) -> Result<Tensor> + 'a;

/// A decoder over the weights of `checkpoint`, in `dtype` (f32 or bf16).
///
/// Large 4's router and its learned rope scale stay f32, as its reference keeps them.
///
/// # Errors
/// When a tensor is missing or has another shape (the message names it).
pub fn load(
    spec: &ModelSpec,
    checkpoint: &Checkpoint,
    dtype: DType,
    device: &Device,
) -> Result<Decoder> {
    let large4 = spec.architecture == Architecture::MistralLarge4;
    Decoder::new(spec, &|name: &str, shape: &[usize]| {
        let weight = checkpoint
            .tensor(name, shape)
            .map_err(candle_core::Error::wrap)?;
        let tensor = match weight.data() {
            WeightData::F32(v) => Tensor::from_slice(v, shape, device)?,
            WeightData::F16(v) => Tensor::from_slice(v, shape, device)?,
            WeightData::Bf16(v) => Tensor::from_slice(v, shape, device)?,
            // Training and the witness work on what blocks stand for.
            _ => Tensor::from_vec(weight.to_f32(), shape, device)?,
        };
        let wide = large4 && (name == "lerope.alpha" || name.ends_with(".gate.weight"));
        tensor.to_dtype(if wide { DType::F32 } else { dtype })
    })
}

/// Fetches `name` and checks its shape.
fn parameter(parameters: &Parameters, name: &str, shape: &[usize]) -> Result<Tensor> {
    let tensor = parameters(name, shape)?;
    if tensor.dims() != shape {
        candle_core::bail!(
            "{name}: expected shape {shape:?}, found {:?}",
            tensor.dims()
        );
    }
    Ok(tensor)
}
