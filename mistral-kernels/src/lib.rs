//! CPU kernels for Mistral-family models, on plain slices.
//!
//! Operations are coarse and fused: products with float weights ([`linear()`]), causal attention
//! over a cache ([`attention()`]), norms, rotary embedding, SwiGLU, mixture of experts ([`route`],
//! [`experts()`]) and sampling ([`Sampler`]). An operation allocates nothing: scratch is handed
//! in, sized once. The instruction set is found at run time ([`available`]), and work is shared by
//! the threads of a [`Cpu`].
//!
//! This crate knows no files, no models and no tensors: `mistral-infer` puts models together.
//! With the feature `candle` (default) the same operations come as candle ops with gradients.
//!
//! ```
//! use mistral_kernels::{Router, Routing, route};
//!
//! // Two tokens, four experts, two experts a token.
//! let logits = [0.1, 2.0, -1.0, 1.0, 3.0, 0.0, 0.0, 3.0];
//! let mut routing = Routing::new(2, 2);
//! route(&Router::softmax(4, 2), &logits, None, &mut routing)?;
//!
//! assert_eq!(routing.experts(), [1, 3, 0, 3]);
//! assert_eq!(routing.weights()[2..], [0.5, 0.5]);
//! assert_eq!(routing.load(4).tokens_per_expert, [1, 1, 0, 2]);
//! # Ok::<(), mistral_kernels::KernelError>(())
//! ```

#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod bytes;
#[cfg(feature = "candle")]
pub mod candle;
mod cpu;
mod error;
mod linear;
mod matrix;
mod moe;
mod norm;
mod quant;
mod rope;
mod sample;
mod scale;
mod simd;
mod swiglu;
#[doc(hidden)]
pub mod testkit;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub use attention::{
    Attention, AttentionScratch, CacheBuffer, CacheData, CacheDataMut, CacheShape, CacheType,
    IndexScratch, Indexer, KvCache, Latent, MlaScratch, Selected, append, attention,
    attention_selected, index_topk, mla_absorb_query, mla_project_value,
};
pub use cpu::{Cpu, Isa, IsaStatus, available};
pub use error::KernelError;
pub use linear::{LinearScratch, MAX_OUTPUTS, linear, linear_many};
pub use matrix::{Matrix, WeightData};
pub use moe::{
    ExpertLoad, ExpertWeights, Experts, ExpertsScratch, Router, Routing, Scoring, experts, route,
};
pub use norm::{add_rms_norm, layer_norm, rms_norm};
pub use quant::{BLOCK_FORMATS, Blocks, dequantize, quantize};
pub use rope::{Rope, RopeAngles, RopeLayout, Yarn, inv_freq, rope, scale_inv_freq};
pub use sample::{Sampler, Sampling};
pub use scale::{llama4_scale, scale_llama4, scale_ssmax, softcap};
pub use swiglu::swiglu;
