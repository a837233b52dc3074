//! Canonical tensor names -> ggml's.
//!
//! Source: `constants.py` of gguf-py 0.19.0, architectures `llama`, `mistral3` and `mistral4`.

use super::names::{Candidate, Part, expert_of, split_layer, whole};

/// Divisors of the rotary frequencies, which llama.cpp applies where a file has them.
pub(super) const FREQUENCIES: &str = "rope_freqs.weight";

/// The places where `canonical` may stand, likeliest first.
pub(super) fn candidates(canonical: &str) -> Vec<Candidate> {
    match canonical {
        "tok_embeddings.weight" => return vec![whole("token_embd.weight".to_owned())],
        "norm.weight" => return vec![whole("output_norm.weight".to_owned())],
        "output.weight" => return vec![whole("output.weight".to_owned())],
        _ => {}
    }
    let Some((layer, rest)) = split_layer(canonical) else {
        return Vec::new();
    };
    if let Some((expert, matrix)) = expert_of(rest) {
        return expert_candidates(layer, expert, matrix);
    }
    let name = match rest {
        "attention_norm.weight" => "attn_norm",
        "ffn_norm.weight" => "ffn_norm",
        "attention.wq.weight" => "attn_q",
        "attention.wk.weight" => "attn_k",
        "attention.wv.weight" => "attn_v",
        "attention.wo.weight" => "attn_output",
        "attention.wq_a.weight" => "attn_q_a",
        "attention.q_a_norm.weight" => "attn_q_a_norm",
        "attention.wq_b.weight" => "attn_q_b",
        "attention.wkv_a_with_mqa.weight" => "attn_kv_a_mqa",
        "attention.kv_a_norm.weight" => "attn_kv_a_norm",
        "attention.wkv_b.weight" => "attn_kv_b",
        "gate.weight" => "ffn_gate_inp",
        "feed_forward.w1.weight" => "ffn_gate",
        "feed_forward.w2.weight" => "ffn_down",
        "feed_forward.w3.weight" => "ffn_up",
        "shared_experts.w1.weight" => "ffn_gate_shexp",
        "shared_experts.w2.weight" => "ffn_down_shexp",
        "shared_experts.w3.weight" => "ffn_up_shexp",
        _ => return Vec::new(),
    };
    vec![whole(format!("blk.{layer}.{name}.weight"))]
}

/// Where the files that are written have `canonical`: a tensor's name, and for an expert its number
/// in the stack.
pub(crate) fn place(canonical: &str) -> Option<(String, Option<usize>)> {
    let Candidate { name, part } = candidates(canonical).into_iter().next()?;
    match part {
        Part::Whole => Some((name, None)),
        Part::Expert { expert, .. } => Some((name, Some(expert))),
    }
}

/// The two halves of `wkv_b` of a layer, as files for absorbed attention have it: keys transposed,
/// `[heads, kv_lora_rank, qk_nope_head_dim]`, and values `[heads, v_head_dim, kv_lora_rank]`.
pub(super) fn split_latent(canonical: &str) -> Option<(String, String)> {
    let (layer, rest) = split_layer(canonical)?;
    (rest == "attention.wkv_b.weight").then(|| {
        (
            format!("blk.{layer}.attn_k_b.weight"),
            format!("blk.{layer}.attn_v_b.weight"),
        )
    })
}

/// Experts: all of a layer stacked, gate and up together or apart, or one tensor each in files of
/// early 2024.
fn expert_candidates(layer: &str, expert: usize, matrix: &str) -> Vec<Candidate> {
    let name = match matrix {
        "w1" => "ffn_gate",
        "w3" => "ffn_up",
        _ => "ffn_down",
    };
    let stacked = |name: String, run, of| Candidate {
        name,
        part: Part::Expert { expert, run, of },
    };
    let mut out = vec![
        stacked(format!("blk.{layer}.{name}_exps.weight"), 0, 1),
        whole(format!("blk.{layer}.{name}.{expert}.weight")),
    ];
    if let Some(run) = ["w1", "w3"].iter().position(|m| *m == matrix) {
        let fused = format!("blk.{layer}.ffn_gate_up_exps.weight");
        out.push(stacked(fused, run, 2));
    }
    out
}
