//! Canonical tensor names -> the names that files use.

use super::gguf_names as gguf;

/// A place where a canonical tensor may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Name in the file, without the file's prefix.
    pub(super) name: String,
    /// Which part of that tensor.
    pub(super) part: Part,
}

/// The part of a stored tensor that is the canonical one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// Entry `expert` of the first dimension, and of that one of `of` equal runs of rows.
    Expert {
        expert: usize,
        run: usize,
        of: usize,
    },
}

/// How a file names its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// Mistral's own names.
    Native,
    /// ggml's names.
    Gguf,
    /// Hugging Face names; the decoder's and the output projection's stand behind prefixes.
    HuggingFace {
        decoder: &'static str,
        output: &'static str,
    },
}

const HF_PREFIXES: &[(&str, &str)] = &[
    ("model.", ""),
    ("model.language_model.", ""),
    ("language_model.model.", "language_model."),
];

impl Naming {
    /// Recognises the naming by the embedding's name.
    pub(super) fn detect(has: &dyn Fn(&str) -> bool) -> Option<Naming> {
        if has("tok_embeddings.weight") {
            return Some(Naming::Native);
        }
        if has("token_embd.weight") {
            return Some(Naming::Gguf);
        }
        HF_PREFIXES
            .iter()
            .find(|(decoder, _)| has(&format!("{decoder}embed_tokens.weight")))
            .map(|&(decoder, output)| Naming::HuggingFace { decoder, output })
    }

    /// The places where `canonical` may stand, likeliest first.
    pub(super) fn candidates(self, canonical: &str) -> Vec<Candidate> {
        match self {
            Naming::Native => native(canonical),
            Naming::Gguf => gguf::candidates(canonical),
            Naming::HuggingFace { decoder, output } => hugging_face(canonical, decoder, output),
        }
    }

    /// Whether an unaccounted tensor of this name would take part in the text decoder.
    pub(super) fn in_decoder(self, name: &str) -> bool {
        let layers = match self {
            // A GGUF file holds one decoder and nothing else. Frequencies are looked at apart.
            Naming::Gguf => return name != gguf::FREQUENCIES,
            Naming::Native => name.strip_prefix("layers."),
            Naming::HuggingFace { decoder, .. } => name
                .strip_prefix(decoder)
                .and_then(|n| n.strip_prefix("layers.")),
        };
        // Old Hugging Face files store the frequencies, which follow from the config.
        layers.is_some() && !name.ends_with("rotary_emb.inv_freq")
    }

    /// The layer number that a decoder tensor's name carries.
    pub(super) fn layer_of(self, name: &str) -> Option<usize> {
        let before = match self {
            Naming::Gguf => "blk.",
            Naming::Native | Naming::HuggingFace { .. } => "layers.",
        };
        let start = name.find(before)? + before.len();
        name[start..].split('.').next()?.parse().ok()
    }
}

pub(super) fn whole(name: String) -> Candidate {
    Candidate {
        name,
        part: Part::Whole,
    }
}

fn native(canonical: &str) -> Vec<Candidate> {
    let mut out = vec![whole(canonical.to_owned())];
    // Mixtral's files keep router and experts below `feed_forward`.
    if let Some((layer, rest)) = split_layer(canonical)
        && (rest.starts_with("experts.") || rest.starts_with("gate."))
    {
        out.push(whole(format!("layers.{layer}.feed_forward.{rest}")));
    }
    out
}

fn hugging_face(canonical: &str, decoder: &str, output: &str) -> Vec<Candidate> {
    match canonical {
        "tok_embeddings.weight" => return vec![whole(format!("{decoder}embed_tokens.weight"))],
        "norm.weight" => return vec![whole(format!("{decoder}norm.weight"))],
        "output.weight" => return vec![whole(format!("{output}lm_head.weight"))],
        _ => {}
    }
    let Some((layer, rest)) = split_layer(canonical) else {
        return Vec::new();
    };
    let stem = format!("{decoder}layers.{layer}");
    if let Some((expert, matrix)) = expert_of(rest) {
        return expert_candidates(&stem, expert, matrix);
    }
    let names: &[&str] = match rest {
        "attention_norm.weight" => &["input_layernorm.weight"],
        "ffn_norm.weight" => &["post_attention_layernorm.weight"],
        "attention.wq.weight" => &["self_attn.q_proj.weight"],
        "attention.wk.weight" => &["self_attn.k_proj.weight"],
        "attention.wv.weight" => &["self_attn.v_proj.weight"],
        "attention.wo.weight" => &["self_attn.o_proj.weight"],
        "attention.wq_a.weight" => &["self_attn.q_a_proj.weight"],
        "attention.q_a_norm.weight" => &["self_attn.q_a_layernorm.weight"],
        "attention.wq_b.weight" => &["self_attn.q_b_proj.weight"],
        "attention.wkv_a_with_mqa.weight" => &["self_attn.kv_a_proj_with_mqa.weight"],
        "attention.kv_a_norm.weight" => &["self_attn.kv_a_layernorm.weight"],
        "attention.wkv_b.weight" => &["self_attn.kv_b_proj.weight"],
        "feed_forward.w1.weight" => &["mlp.gate_proj.weight"],
        "feed_forward.w2.weight" => &["mlp.down_proj.weight"],
        "feed_forward.w3.weight" => &["mlp.up_proj.weight"],
        "shared_experts.w1.weight" => &["mlp.shared_experts.gate_proj.weight"],
        "shared_experts.w2.weight" => &["mlp.shared_experts.down_proj.weight"],
        "shared_experts.w3.weight" => &["mlp.shared_experts.up_proj.weight"],
        "gate.weight" => &["block_sparse_moe.gate.weight", "mlp.gate.weight"],
        _ => &[],
    };
    names
        .iter()
        .map(|name| whole(format!("{stem}.{name}")))
        .collect()
}

/// Experts: one tensor each (hub files of Mixtral, per-expert files), or all of a layer fused.
fn expert_candidates(stem: &str, expert: usize, matrix: &str) -> Vec<Candidate> {
    let (projection, fused, run, of) = match matrix {
        "w1" => ("gate_proj", "gate_up_proj", 0, 2),
        "w3" => ("up_proj", "gate_up_proj", 1, 2),
        _ => ("down_proj", "down_proj", 0, 1),
    };
    vec![
        whole(format!(
            "{stem}.block_sparse_moe.experts.{expert}.{matrix}.weight"
        )),
        Candidate {
            name: format!("{stem}.mlp.experts.{fused}"),
            part: Part::Expert { expert, run, of },
        },
        whole(format!("{stem}.mlp.experts.{expert}.{projection}.weight")),
    ]
}

/// `layers.3.attention.wq.weight` -> `("3", "attention.wq.weight")`.
pub(super) fn split_layer(canonical: &str) -> Option<(&str, &str)> {
    canonical.strip_prefix("layers.")?.split_once('.')
}

/// `experts.5.w1.weight` -> `(5, "w1")`.
pub(super) fn expert_of(rest: &str) -> Option<(usize, &str)> {
    let (expert, matrix) = rest.strip_prefix("experts.")?.split_once('.')?;
    Some((expert.parse().ok()?, matrix.strip_suffix(".weight")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_each_file_form() {
        let hf = Naming::HuggingFace {
            decoder: "model.",
            output: "",
        };
        let rows: &[(Naming, &str, &str)] = &[
            (
                Naming::Native,
                "layers.0.gate.weight",
                "layers.0.feed_forward.gate.weight",
            ),
            (hf, "output.weight", "lm_head.weight"),
            (
                Naming::Gguf,
                "layers.3.attention.wo.weight",
                "blk.3.attn_output.weight",
            ),
            (
                Naming::Gguf,
                "layers.3.experts.5.w2.weight",
                "blk.3.ffn_down_exps.weight",
            ),
            (
                Naming::Gguf,
                "layers.3.experts.5.w1.weight",
                "blk.3.ffn_gate.5.weight",
            ),
            (
                hf,
                "layers.7.attention.wq.weight",
                "model.layers.7.self_attn.q_proj.weight",
            ),
            (
                hf,
                "layers.7.experts.3.w3.weight",
                "model.layers.7.mlp.experts.gate_up_proj",
            ),
            (
                hf,
                "layers.7.experts.3.w2.weight",
                "model.layers.7.mlp.experts.3.down_proj.weight",
            ),
        ];
        for (naming, canonical, expected) in rows {
            let found = naming.candidates(canonical);
            assert!(
                found.iter().any(|c| c.name == *expected),
                "{canonical}: {found:?}"
            );
        }
        assert_eq!(hf.layer_of("model.layers.12.mlp.gate.weight"), Some(12));
        assert_eq!(Naming::Gguf.layer_of("blk.12.attn_q.weight"), Some(12));
        assert!(hf.in_decoder("model.layers.0.self_attn.q_proj.bias"));
        assert!(!hf.in_decoder("vision_tower.layers.0.x"));
    }
}
