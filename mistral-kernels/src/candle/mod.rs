//! The operations as candle ops with gradients.
//!
//! Forward passes run the kernels of this crate on CPU tensors; backward passes are composed of
//! plain candle operations. Activations are f32; weights of [`linear()`] and [`experts`] may be
//! f32, f16 or bf16. Other dtypes are refused by name. A result carries a gradient whenever an
//! input does; whatever an operation can't trace through its kernel ([`route`]'s weights,
//! [`experts`]) it composes of parts that it can.
//!
//! ```
//! use std::sync::Arc;
//!
//! use candle_core::{Device, Tensor, Var};
//! use mistral_kernels::{Cpu, candle};
//!
//! let cpu = Arc::new(Cpu::new(1));
//! let x = Tensor::new(&[[1f32, 2.0]], &Device::Cpu)?;
//! let w = Var::new(&[[3f32, 4.0], [5.0, 6.0], [7.0, 8.0]], &Device::Cpu)?;
//!
//! let y = candle::linear(&cpu, &x, &w)?;
//! assert_eq!(y.to_vec2::<f32>()?, [[11.0, 17.0, 23.0]]);
//!
//! let grads = y.sum_all()?.backward()?;
//! assert_eq!(grads.get(&w).unwrap().to_vec2::<f32>()?[0], [1.0, 2.0]);
//! # Ok::<(), candle_core::Error>(())
//! ```

mod access;
mod attention;
mod gradient;
mod linear;
mod moe;
mod norm;
mod rope;
mod swiglu;

pub use attention::attention;
pub use linear::linear;
pub use moe::{Expert, RoutedTokens, experts, moe, route};
pub use norm::rms_norm;
pub use rope::rope;
pub use swiglu::swiglu;
