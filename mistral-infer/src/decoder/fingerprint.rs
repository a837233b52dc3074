//! What tells a model from others: its description and samples of its weights.

use mistral_core::model::ModelSpec;

use super::weights::{
    AttentionWeights, DecoderWeights, FeedForwardWeights, LayerWeights, QueryWeights, SwiGlu,
};
use crate::prefix::Fingerprint;
use crate::weights::Tensor;

/// Rows of a matrix that are sampled, and of an expert's, of which there are thousands.
const ROWS: usize = 4;
const EXPERT_ROWS: usize = 1;
/// Numbers of a sampled row: a multiple of every block.
const COLUMNS: usize = 256;

impl DecoderWeights {
    /// Of two models of the same shape, every tensor that training changed differs in almost all
    /// of its numbers, so that a few of each tell them apart. What doesn't change keys and values
    /// is left out: ids that end a sequence, and the longest context.
    pub(crate) fn fingerprint(&self, spec: &ModelSpec) -> Fingerprint {
        let spec = ModelSpec {
            max_seq_len: None,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            ..spec.clone()
        };
        let mut seen = Samples(serde_json::to_vec(&spec).expect("plain data becomes JSON"));
        seen.tensor(&self.embedding, ROWS);
        for layer in &self.layers {
            seen.layer(layer);
        }
        seen.numbers(&self.norm);
        if let Some(output) = &self.output {
            seen.tensor(output, ROWS);
        }
        seen.numbers(&self.inv_freq);
        Fingerprint::of(&seen.0)
    }
}

/// Bytes that stand for the weights.
struct Samples(Vec<u8>);

impl Samples {
    fn numbers(&mut self, numbers: &[f32]) {
        self.0.extend((numbers.len() as u64).to_le_bytes());
        self.0.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
    }

    /// Format, shape, and the beginnings of some rows, evenly spread, first and last among them.
    fn tensor(&mut self, tensor: &Tensor, most: usize) {
        self.0.extend_from_slice(tensor.format().name().as_bytes());
        for dimension in tensor.shape() {
            self.0.extend((*dimension as u64).to_le_bytes());
        }
        let (data, rows) = (tensor.data(), tensor.shape().first().copied().unwrap_or(0));
        let width = data.len().checked_div(rows).unwrap_or(0);
        let mut sample = vec![0.0; width.min(COLUMNS)];
        let count = rows.min(most);
        for i in 0..count {
            let row = i * (rows - 1) / (count - 1).max(1);
            data.widen(row * width, &mut sample);
            self.numbers(&sample);
        }
    }

    fn swiglu(&mut self, weights: &SwiGlu, rows: usize) {
        for tensor in [&weights.w1, &weights.w2, &weights.w3] {
            self.tensor(tensor, rows);
        }
    }

    fn layer(&mut self, layer: &LayerWeights) {
        self.numbers(&layer.attention_norm);
        match &layer.attention {
            AttentionWeights::Gqa(w) => {
                for tensor in [&w.wq, &w.wk, &w.wv, &w.wo] {
                    self.tensor(tensor, ROWS);
                }
            }
            AttentionWeights::Mla(w) => {
                match &w.query {
                    QueryWeights::Direct(wq) => self.tensor(wq, ROWS),
                    QueryWeights::LowRank { wq_a, norm, wq_b } => {
                        self.tensor(wq_a, ROWS);
                        self.numbers(norm);
                        self.tensor(wq_b, ROWS);
                    }
                }
                if let Some((wkv_a, norm)) = &w.latent {
                    self.tensor(wkv_a, ROWS);
                    self.numbers(norm);
                }
                self.tensor(&w.wkv_b, ROWS);
                self.tensor(&w.wo, ROWS);
                if let Some(ssmax) = &w.ssmax {
                    self.numbers(&ssmax.scale);
                    self.numbers(&ssmax.bias);
                }
            }
        }
        if let Some(x) = &layer.indexer {
            for tensor in [&x.wq, &x.wk, &x.weights] {
                self.tensor(tensor, ROWS);
            }
            for numbers in [&x.q_norm.0, &x.q_norm.1, &x.k_norm.0, &x.k_norm.1] {
                self.numbers(numbers);
            }
            self.numbers(&x.ssmax.scale);
            self.numbers(&x.ssmax.bias);
        }
        self.numbers(&layer.ffn_norm);
        match &layer.feed_forward {
            FeedForwardWeights::Dense(w) => self.swiglu(w, ROWS),
            FeedForwardWeights::Moe {
                gate,
                experts,
                shared,
            } => {
                self.tensor(gate, ROWS);
                experts.iter().for_each(|w| self.swiglu(w, EXPERT_ROWS));
                if let Some(shared) = shared {
                    self.swiglu(shared, ROWS);
                }
            }
        }
    }
}
