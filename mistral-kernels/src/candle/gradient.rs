//! Backward passes by composition.

use candle_core::{Result, Tensor, Var};

/// Gradients of `composed(arguments)` for each argument, where the result's gradient is `grad`.
///
/// The operation is run once more in plain candle operations over fresh variables, and candle
/// differentiates those. An argument that `composed` ignores gets `None`.
pub(super) fn gradients<const N: usize>(
    arguments: [&Tensor; N],
    grad: &Tensor,
    composed: impl FnOnce(&[Tensor; N]) -> Result<Tensor>,
) -> Result<[Option<Tensor>; N]> {
    let mut variables = Vec::with_capacity(N);
    for argument in arguments {
        variables.push(Var::from_tensor(&argument.detach())?);
    }
    let leaves: [Tensor; N] = std::array::from_fn(|i| variables[i].as_tensor().clone());
    let result = composed(&leaves)?;
    let grads = (result * grad.detach())?.sum_all()?.backward()?;
    Ok(std::array::from_fn(|i| grads.get(&variables[i]).cloned()))
}
