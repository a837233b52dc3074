//! Which tensors a file has, in which format, and what they are made from.

use mistral_core::model::{ModelSpec, RopeLayout};
use mistral_core::precision::{Precision, Role, TensorPlace};

use super::TensorHeader;
use crate::blueprint;
use crate::error::InferError;
use crate::weights::ggml_place;

/// A tensor of the file, made from tensors of the model.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) header: TensorHeader,
    /// Canonical names of the parts: one, or all experts of a layer in order.
    pub(super) parts: Vec<String>,
    /// Shape of each part.
    pub(super) shape: Vec<usize>,
    pub(super) rows: RowOrder,
}

/// Which row of a part comes where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowOrder {
    /// As in the model.
    Same,
    /// Heads of this width whose halves rotate together become heads whose neighbours do.
    Interleaved { head_dim: usize },
}

impl RowOrder {
    /// The row of the model that becomes row `row` of the file.
    pub(super) fn source(self, row: usize) -> usize {
        match self {
            RowOrder::Same => row,
            RowOrder::Interleaved { head_dim } => {
                let (head, i) = (row / head_dim, row % head_dim);
                head * head_dim + i / 2 + i % 2 * (head_dim / 2)
            }
        }
    }
}

/// The tensors of `spec` in a precision, in layer order.
pub(super) fn tensors(spec: &ModelSpec, precision: Precision) -> Result<Vec<Planned>, InferError> {
    let mut out: Vec<Planned> = Vec::new();
    blueprint::for_each_tensor::<InferError>(spec, &mut |canonical, shape| {
        let unknown = || InferError::NotInGguf {
            field: canonical.to_owned(),
            found: "a tensor without a name in the format".to_owned(),
        };
        let (name, expert) = ggml_place(canonical).ok_or_else(unknown)?;
        if let Some(expert) = expert.filter(|expert| *expert > 0) {
            // Gate, down and up of an expert come in turn.
            let stack = out.iter_mut().rev().find(|p| p.header.name == name);
            let stack = stack.ok_or_else(unknown)?;
            debug_assert_eq!(stack.parts.len(), expert);
            stack.parts.push(canonical.to_owned());
            return Ok(());
        }
        let (role, key) = role(canonical, spec.tied_embeddings);
        let place = TensorPlace {
            role,
            key,
            layer: layer(canonical),
            n_layers: spec.n_layers,
            n_experts: spec.moe.as_ref().map_or(0, |moe| moe.num_experts),
            row: shape.last().copied().unwrap_or(0),
        };
        let format = precision
            .gguf_format(&place)
            .ok_or_else(|| InferError::NotInGguf {
                field: "precision".to_owned(),
                found: precision.name().to_owned(),
            })?;
        let rotates = key || canonical.ends_with("attention.wq.weight");
        let mut stacked = shape.to_vec();
        if let (Some(_), Some(moe)) = (expert, &spec.moe) {
            stacked.insert(0, moe.num_experts);
        }
        out.push(Planned {
            header: TensorHeader {
                name,
                format,
                shape: stacked,
            },
            parts: vec![canonical.to_owned()],
            shape: shape.to_vec(),
            rows: match spec.rope.layout {
                RopeLayout::HalfSplit if rotates => RowOrder::Interleaved {
                    head_dim: spec.head_dim(),
                },
                _ => RowOrder::Same,
            },
        });
        Ok(())
    })?;
    Ok(out)
}

/// What a tensor does, and whether it makes keys.
fn role(canonical: &str, tied: bool) -> (Role, bool) {
    let plain = |role| (role, false);
    if canonical == "tok_embeddings.weight" {
        return plain(if tied { Role::Output } else { Role::Embedding });
    }
    if canonical == "output.weight" {
        return plain(Role::Output);
    }
    let mut parts = canonical.rsplit('.');
    match (parts.next(), parts.next()) {
        (Some("weight"), Some("wq")) => plain(Role::AttentionInput),
        (Some("weight"), Some("wk")) => (Role::AttentionInput, true),
        (Some("weight"), Some("wv")) => plain(Role::Value),
        (Some("weight"), Some("wo")) => plain(Role::AttentionOutput),
        (Some("weight"), Some("w1" | "w3")) => plain(Role::FeedForwardIn),
        (Some("weight"), Some("w2")) => plain(Role::FeedForwardOut),
        _ => plain(Role::Small),
    }
}

fn layer(canonical: &str) -> usize {
    let number = canonical.strip_prefix("layers.").and_then(|rest| {
        let (number, _) = rest.split_once('.')?;
        number.parse().ok()
    });
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::RowOrder;

    #[test]
    fn halves_become_neighbours() {
        let order = RowOrder::Interleaved { head_dim: 6 };
        let found: Vec<usize> = (0..12).map(|row| order.source(row)).collect();
        assert_eq!(found, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }
}
