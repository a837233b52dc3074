//! How good the model is on the text it never saw, and what it writes.

use candle_core::{Device, Tensor};
use mistral_infer::candle::Decoder;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::Error;
use super::corpus::{BOS, Corpus};
use super::random::Random;

/// Measured on the held-out text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Evaluation {
    /// Mean cross-entropy in nats a token.
    pub(crate) loss: f64,
    /// Bits a byte of text.
    pub(crate) bits_per_byte: f64,
    /// Tokens that were predicted.
    pub(crate) tokens: usize,
    /// For each layer the share of choices that each expert received.
    pub(crate) expert_share: Vec<Vec<f64>>,
}

impl Evaluation {
    /// Perplexity a token.
    pub(crate) fn perplexity(&self) -> f64 {
        self.loss.exp()
    }

    /// For each layer the busiest and the idlest expert's load over the mean.
    pub(crate) fn balance(&self) -> Vec<(f64, f64)> {
        let over_mean = |shares: &Vec<f64>| {
            let n = shares.len() as f64;
            let max = shares.iter().copied().fold(0.0, f64::max);
            let min = shares.iter().copied().fold(1.0, f64::min);
            (max * n, min * n)
        };
        self.expert_share.iter().map(over_mean).collect()
    }
}

/// Evaluates `decoder`, which should not track gradients.
pub(crate) fn evaluate(
    decoder: &Decoder,
    corpus: &Corpus,
    batch: usize,
    seq: usize,
) -> Result<Evaluation, Error> {
    let (mut nats, mut tokens) = (0.0, 0);
    let mut loads: Vec<Vec<usize>> = Vec::new();
    for batch in corpus.held_out_batches(batch, seq)? {
        let trace = decoder.forward_traced(&batch.inputs)?;
        let n = batch.targets.dim(0)?;
        let logits = trace.logits.reshape((n, ()))?;
        let loss = candle_nn::loss::cross_entropy(&logits, &batch.targets)?.to_scalar::<f32>()?;
        nats += f64::from(loss) * n as f64;
        tokens += n;
        let routings = trace.layers.iter().filter_map(|l| l.routing.as_ref());
        for (i, counts) in routings.map(|r| &r.tokens_per_expert).enumerate() {
            if loads.len() == i {
                loads.push(vec![0; counts.len()]);
            }
            loads[i]
                .iter_mut()
                .zip(counts)
                .for_each(|(sum, n)| *sum += n);
        }
    }
    if tokens == 0 {
        return Err("the held-out text is shorter than one row".into());
    }
    let bytes = corpus.held_out_bytes as f64 * tokens as f64 / corpus.held_out.len() as f64;
    let share = |counts: &Vec<usize>| {
        let total: usize = counts.iter().sum();
        counts.iter().map(|&c| c as f64 / total as f64).collect()
    };
    Ok(Evaluation {
        loss: nats / tokens as f64,
        bits_per_byte: nats / std::f64::consts::LN_2 / bytes,
        tokens,
        expert_share: loads.iter().map(share).collect(),
    })
}

/// `n` tokens after `prompt`, drawn at `temperature`, as text with the prompt.
pub(crate) fn sample(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    prompt: &str,
    n: usize,
    temperature: f64,
    random: &mut Random,
) -> Result<String, Error> {
    let mut ids = vec![BOS];
    ids.extend(tokenizer.encode(prompt, false)?.get_ids());
    let context = decoder.spec().max_seq_len.unwrap_or(usize::MAX);
    for _ in 0..n.min(context - ids.len()) {
        let input = Tensor::new(&ids[..], &Device::Cpu)?.unsqueeze(0)?;
        let logits = decoder
            .forward(&input)?
            .get(0)?
            .get(ids.len() - 1)?
            .to_vec1::<f32>()?;
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let power = |&l: &f32| (f64::from(l - max) / temperature).exp();
        let mut left = random.uniform() * logits.iter().map(power).sum::<f64>();
        let chosen = logits.iter().map(power).position(|p| {
            left -= p;
            left < 0.0
        });
        ids.push(chosen.unwrap_or(logits.len() - 1) as u32);
    }
    tokenizer.decode(&ids, true)
}
