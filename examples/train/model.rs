//! The model's description, its variables, and their form in a file.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use mistral_core::model::ModelSpec;
use mistral_infer::candle::Decoder;
use serde_json::json;

use super::Error;
use super::options::Options;
use super::random::Random;

/// Query heads.
pub(crate) const N_HEADS: usize = 4;
/// Key and value heads.
pub(crate) const N_KV_HEADS: usize = 2;
/// Experts a layer.
pub(crate) const EXPERTS: usize = 8;
/// Experts a token.
pub(crate) const ACTIVE: usize = 2;

/// The model's `config.json`.
pub(crate) fn config(options: &Options, vocab: usize) -> serde_json::Value {
    json!({
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "vocab_size": vocab,
        "hidden_size": options.dim,
        "intermediate_size": options.expert_hidden,
        "num_hidden_layers": options.layers,
        "num_attention_heads": N_HEADS,
        "num_key_value_heads": N_KV_HEADS,
        "head_dim": options.dim / N_HEADS,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": ACTIVE,
        "router_aux_loss_coef": options.aux,
        "max_position_embeddings": options.seq,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "sliding_window": null,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "tie_word_embeddings": false,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "bfloat16"
    })
}

/// Parameters by canonical name, in order.
pub(crate) type Variables = BTreeMap<String, Var>;

/// A decoder over fresh variables: weights normal by fan-in, those that write to the residual
/// stream smaller by √(2 · layers), norms one.
pub(crate) fn initialise(spec: &ModelSpec, random: &mut Random) -> Result<(Variables, Decoder)> {
    let variables = RefCell::new((Variables::new(), random));
    let residual = ((2 * spec.n_layers) as f64).sqrt();
    let parameters = |name: &str, shape: &[usize]| -> Result<Tensor> {
        let (variables, random) = &mut *variables.borrow_mut();
        let count = shape.iter().product();
        let values = match shape {
            [_] => vec![1.0; count],
            [_, fan_in] => {
                let std = (*fan_in as f64).powf(-0.5);
                let std = match name {
                    "tok_embeddings.weight" | "output.weight" => 0.02,
                    _ if name.ends_with("gate.weight") => 0.02,
                    _ if name.ends_with("wo.weight") || name.ends_with("w2.weight") => {
                        std / residual
                    }
                    _ => std,
                };
                random.normal(count, std)
            }
            _ => candle_core::bail!("{name}: no rule for shape {shape:?}"),
        };
        let var = Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?)?;
        let tensor = var.as_tensor().clone();
        variables.insert(name.to_owned(), var);
        Ok(tensor)
    };
    let decoder = Decoder::new(spec, &parameters)?;
    Ok((variables.into_inner().0, decoder))
}

/// A decoder over constants, as after loading the file that [`export`] gives.
pub(crate) fn rounded(spec: &ModelSpec, variables: &Variables) -> Result<Decoder> {
    Decoder::new(spec, &|name: &str, _: &[usize]| {
        let Some(var) = variables.get(name) else {
            candle_core::bail!("{name}: missing");
        };
        var.as_detached_tensor()
            .to_dtype(DType::BF16)?
            .to_dtype(DType::F32)
    })
}

/// The variables in bf16 under Hugging Face's names, as safetensors bytes.
pub(crate) fn export(variables: &Variables) -> std::result::Result<Vec<u8>, Error> {
    let tensors = variables
        .iter()
        .map(|(name, var)| {
            Ok((
                hugging_face_name(name),
                var.as_tensor().to_dtype(DType::BF16)?,
            ))
        })
        .collect::<Result<BTreeMap<_, _>>>()?;
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    Ok(safetensors::serialize(&tensors, metadata)?)
}

/// A decoder over the file that [`export`] gave, in f32.
pub(crate) fn load(spec: &ModelSpec, bytes: &[u8]) -> Result<Decoder> {
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
    Decoder::new(
        spec,
        &|name: &str, _: &[usize]| match tensors.get(&hugging_face_name(name)) {
            Some(tensor) => tensor.to_dtype(DType::F32),
            None => candle_core::bail!("{name}: missing"),
        },
    )
}

/// Mixtral's name in Hugging Face files for one of our canonical names.
fn hugging_face_name(name: &str) -> String {
    let replaced = match name {
        "tok_embeddings.weight" => return "model.embed_tokens.weight".to_owned(),
        "output.weight" => return "lm_head.weight".to_owned(),
        _ => name
            .replace(".attention_norm.", ".input_layernorm.")
            .replace(".ffn_norm.", ".post_attention_layernorm.")
            .replace(".experts.", ".block_sparse_moe.experts.")
            .replace(".gate.", ".block_sparse_moe.gate.")
            .replace(".attention.wq.", ".self_attn.q_proj.")
            .replace(".attention.wk.", ".self_attn.k_proj.")
            .replace(".attention.wv.", ".self_attn.v_proj.")
            .replace(".attention.wo.", ".self_attn.o_proj."),
    };
    format!("model.{replaced}")
}
