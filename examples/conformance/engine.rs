//! What a model case asks of whatever runs the model.

use std::collections::BTreeMap;
use std::error::Error;

use mistral_infer::{
    EndOfSequence, GenerateOptions, LogitRows, Model, Observer, Point, Routing, Run, Session,
    SessionLimits,
};

/// What one pass over whole sequences computed, under the names of the reference files.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// `[tokens, vocab_size]`.
    pub(crate) logits: Vec<f32>,
    /// `hidden.*`, `attn_out.*`, `mlp_out.*`, `router.logits.*`, `router.weights.*`.
    pub(crate) values: BTreeMap<String, Vec<f32>>,
    /// `router.experts.*`, `[tokens, k]`.
    pub(crate) experts: BTreeMap<String, Vec<u32>>,
    /// `indexer.topk.*`: one ascending list a token.
    pub(crate) selected: BTreeMap<String, Vec<Vec<u32>>>,
}

/// Runs one model.
pub(crate) trait Engine {
    /// Sequences of equal length side by side, from position 0.
    fn prefill(&mut self, sequences: &[Vec<u32>]) -> Result<Trace, Box<dyn Error>>;

    /// Logits `[tokens, vocab_size]` of a sequence that is fed in pieces of `piece` tokens; `None`
    /// when the engine has no cache.
    fn chunked(&mut self, ids: &[u32], piece: usize) -> Result<Option<Vec<f32>>, Box<dyn Error>>;

    /// Logits `[sequences, steps, vocab_size]` of the positions from `prefix` on, fed one by one
    /// after `prefix` tokens; `None` when the engine has no cache.
    fn decode(
        &mut self,
        sequences: &[Vec<u32>],
        prefix: usize,
        steps: usize,
    ) -> Result<Option<Vec<f32>>, Box<dyn Error>>;

    /// Whether a step reuses what the steps before it computed.
    fn has_cache(&self) -> bool;

    /// The `n` likeliest tokens, each given those before it.
    fn greedy(&mut self, prompt: &[u32], n: usize) -> Result<Vec<u32>, Box<dyn Error>>;
}

/// The decoder on our kernels.
#[derive(Debug)]
pub(crate) struct CpuEngine {
    pub(crate) model: Model,
}

impl CpuEngine {
    fn session(
        &self,
        sequences: usize,
        seq_len: usize,
        batch_tokens: usize,
    ) -> Result<Session<'_>, Box<dyn Error>> {
        Ok(self.model.session(SessionLimits {
            max_seq_len: Some(seq_len),
            max_sequences: sequences,
            max_batch_tokens: batch_tokens,
            max_logits: batch_tokens,
            ..SessionLimits::default()
        })?)
    }
}

fn runs<'a>(tokens: &[&'a [u32]], logits: LogitRows) -> Vec<Run<'a>> {
    (0..)
        .zip(tokens)
        .map(|(sequence, &tokens)| Run {
            sequence,
            tokens,
            logits,
        })
        .collect()
}

impl Engine for CpuEngine {
    fn prefill(&mut self, sequences: &[Vec<u32>]) -> Result<Trace, Box<dyn Error>> {
        let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
        let total = sequences.iter().map(Vec::len).sum();
        let mut session = self.session(sequences.len(), longest, total)?;
        let tokens: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
        let mut trace = Trace::default();
        let logits = session.forward_observed(&runs(&tokens, LogitRows::All), &mut trace)?;
        trace.logits = logits.to_vec();
        Ok(trace)
    }

    fn chunked(&mut self, ids: &[u32], piece: usize) -> Result<Option<Vec<f32>>, Box<dyn Error>> {
        let mut session = self.session(1, ids.len(), piece)?;
        let mut all = Vec::new();
        for tokens in ids.chunks(piece) {
            all.extend_from_slice(session.forward(&runs(&[tokens], LogitRows::All))?);
        }
        Ok(Some(all))
    }

    fn decode(
        &mut self,
        sequences: &[Vec<u32>],
        prefix: usize,
        steps: usize,
    ) -> Result<Option<Vec<f32>>, Box<dyn Error>> {
        let n = sequences.len();
        let mut session = self.session(n, prefix + steps, n * prefix.max(1))?;
        let part = |from: usize, to: usize| -> Vec<&[u32]> {
            sequences.iter().map(|s| &s[from..to]).collect()
        };
        if prefix > 0 {
            session.forward(&runs(&part(0, prefix), LogitRows::None))?;
        }
        let vocab = self.model.spec().vocab_size;
        let mut out = vec![0.0; n * steps * vocab];
        for step in 0..steps {
            let at = prefix + step;
            let logits = session.forward(&runs(&part(at, at + 1), LogitRows::Last))?;
            for (sequence, row) in logits.chunks_exact(vocab).enumerate() {
                let place = (sequence * steps + step) * vocab;
                out[place..place + vocab].copy_from_slice(row);
            }
        }
        Ok(Some(out))
    }

    fn has_cache(&self) -> bool {
        true
    }

    fn greedy(&mut self, prompt: &[u32], n: usize) -> Result<Vec<u32>, Box<dyn Error>> {
        let mut session = self.session(1, prompt.len() + n, prompt.len())?;
        let options = GenerateOptions {
            max_tokens: n,
            end: EndOfSequence::Ignored,
            ..GenerateOptions::default()
        };
        let pieces = session.generate(prompt, &options)?;
        let tokens: Result<Vec<u32>, _> = pieces.map(|piece| piece.map(|p| p.token)).collect();
        Ok(tokens?)
    }
}

impl Observer for Trace {
    fn values(&mut self, point: Point, values: &[f32]) {
        let name = match point {
            Point::Embedding => "hidden.embed".to_owned(),
            Point::AttentionOut(layer) => format!("attn_out.layer.{layer}"),
            Point::FeedForwardOut(layer) => format!("mlp_out.layer.{layer}"),
            Point::Layer(layer) => format!("hidden.layer.{layer}"),
            Point::FinalNorm => "hidden.final_norm".to_owned(),
            Point::RouterLogits(layer) => format!("router.logits.layer.{layer}"),
            _ => return,
        };
        self.values.insert(name, values.to_vec());
    }

    fn routing(&mut self, layer: usize, routing: &Routing) {
        let experts = routing.experts().to_vec();
        self.experts
            .insert(format!("router.experts.layer.{layer}"), experts);
        let weights = routing.weights().to_vec();
        self.values
            .insert(format!("router.weights.layer.{layer}"), weights);
    }

    fn selected(&mut self, layer: usize, _sequence: usize, _position: usize, chosen: &[u32]) {
        let rows = self
            .selected
            .entry(format!("indexer.topk.layer.{layer}"))
            .or_default();
        rows.push(chosen.to_vec());
    }
}
