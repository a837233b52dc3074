//! The decoder: one forward pass for every architecture, driven by [`ModelSpec`].
//!
//! Blueprint ([`ModelSpec`]), weights ([`DecoderWeights`]) and running state ([`State`]) are three
//! types. A pass takes runs of tokens, one a sequence, and computes all linear operations over all
//! of them together; attention goes sequence by sequence.

mod bytes;
mod feed_forward;
mod fingerprint;
mod gqa;
mod indexer;
mod mla;
mod observe;
mod rows;
mod state;
mod weights;

use mistral_core::model::ModelSpec;
use mistral_kernels::{Cpu, KernelError, WeightData, add_rms_norm, linear, rms_norm, softcap};

use crate::error::InferError;

pub(crate) use bytes::SessionBytes;
pub use observe::{NoObserver, Observer, Point};
pub(crate) use rows::rows_bytes;
pub use state::SessionLimits;
pub(crate) use state::{Sizes, State};
pub(crate) use weights::{AttentionWeights, DecoderWeights};

/// New tokens of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Which of the session's sequences.
    pub sequence: usize,
    /// Its next tokens.
    pub tokens: &'a [u32],
    /// Which of them want logits.
    pub logits: LogitRows,
}

/// Which tokens of a run want logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitRows {
    /// None: the run only fills the cache.
    None,
    /// The last.
    Last,
    /// All.
    All,
}

impl Run<'_> {
    pub(crate) fn logit_rows(&self) -> usize {
        match self.logits {
            LogitRows::None => 0,
            LogitRows::Last => 1,
            LogitRows::All => self.tokens.len(),
        }
    }
}

/// One run's place in the batch.
#[derive(Debug, Clone, Copy)]
struct Span {
    sequence: usize,
    /// First token in the batch.
    start: usize,
    len: usize,
    /// Position of that token in its sequence.
    first_position: usize,
}

impl Span {
    /// The span's part of a `[tokens, width]` buffer.
    fn of<'b>(&self, buffer: &'b [f32], width: usize) -> &'b [f32] {
        &buffer[self.start * width..(self.start + self.len) * width]
    }

    fn of_mut<'b>(&self, buffer: &'b mut [f32], width: usize) -> &'b mut [f32] {
        &mut buffer[self.start * width..(self.start + self.len) * width]
    }
}

/// What every part of a pass needs.
struct Pass<'a> {
    cpu: &'a Cpu,
    spec: &'a ModelSpec,
    tokens: usize,
    spans: &'a [Span],
}

/// Runs the decoder over `runs` and returns the wanted rows of logits, `[rows, vocab_size]`.
///
/// On an error the sequences of the batch are forgotten: their caches may be half written.
pub(crate) fn forward<'s>(
    cpu: &Cpu,
    spec: &ModelSpec,
    weights: &DecoderWeights,
    state: &'s mut State,
    runs: &[Run<'_>],
    observer: &mut dyn Observer,
) -> Result<&'s mut [f32], InferError> {
    let spans = plan(spec, state, runs)?;
    let tokens = spans.last().map_or(0, |s| s.start + s.len);
    let pass = Pass {
        cpu,
        spec,
        tokens,
        spans: &spans,
    };
    match layers(&pass, weights, state, runs, observer) {
        Ok(rows) => {
            for run in runs {
                let sequence = &mut state.sequences[run.sequence];
                sequence.tokens.extend_from_slice(run.tokens);
                sequence.written = sequence.written.max(sequence.tokens.len());
            }
            Ok(&mut state.buffers.logits[..rows * spec.vocab_size])
        }
        Err(error) => {
            runs.iter().for_each(|run| state.clear(run.sequence));
            Err(error)
        }
    }
}

/// Checks the runs against the state and lays them out one behind the other.
fn plan(spec: &ModelSpec, state: &State, runs: &[Run<'_>]) -> Result<Vec<Span>, InferError> {
    let sizes = &state.sizes;
    let limit = |limit, found, max: usize| match found <= max {
        true => Ok(()),
        false => Err(InferError::Limit {
            limit,
            found,
            expected: format!("at most {max}"),
        }),
    };
    let mut spans: Vec<Span> = Vec::with_capacity(runs.len());
    let mut rows = 0usize;
    for run in runs {
        limit("sequence", run.sequence, sizes.sequences - 1)?;
        if spans.iter().any(|s| s.sequence == run.sequence) {
            return Err(InferError::RepeatedSequence {
                sequence: run.sequence,
            });
        }
        if run.tokens.is_empty() {
            return Err(InferError::EmptyPrompt);
        }
        check_ids(run.tokens, spec.vocab_size)?;
        let first_position = state.sequences[run.sequence].tokens.len();
        let tokens = first_position.saturating_add(run.tokens.len());
        if tokens > sizes.seq_len {
            return Err(InferError::ContextExceeded {
                tokens,
                max_seq_len: sizes.seq_len,
            });
        }
        let start = spans.last().map_or(0, |s| s.start + s.len);
        let len = run.tokens.len();
        spans.push(Span {
            sequence: run.sequence,
            start,
            len,
            first_position,
        });
        rows += run.logit_rows();
        limit("max_batch_tokens", start + len, sizes.tokens)?;
    }
    limit("max_logits", rows, sizes.logits)?;
    Ok(spans)
}

pub(crate) fn check_ids(tokens: &[u32], vocab_size: usize) -> Result<(), InferError> {
    match tokens.iter().position(|id| *id as usize >= vocab_size) {
        None => Ok(()),
        Some(position) => Err(InferError::TokenOutOfRange {
            id: tokens[position],
            position,
            vocab_size,
        }),
    }
}

fn layers(
    pass: &Pass<'_>,
    weights: &DecoderWeights,
    state: &mut State,
    runs: &[Run<'_>],
    observer: &mut dyn Observer,
) -> Result<usize, InferError> {
    let (cpu, spec, t) = (pass.cpu, pass.spec, pass.tokens);
    let eps = spec.norm_eps as f32;
    let wide = t * spec.dim;
    embed(pass, weights, state, runs)?;
    observer.values(Point::Embedding, &state.buffers.x[..wide]);
    let Some(first) = weights.layers.first() else {
        return Ok(0);
    };
    {
        let b = &mut state.buffers;
        rms_norm(
            cpu,
            &b.x[..wide],
            &first.attention_norm,
            eps,
            &mut b.h[..wide],
        )?;
    }
    for (i, layer) in weights.layers.iter().enumerate() {
        let at = |source| InferError::Layer { layer: i, source };
        attention(pass, i, layer, state, observer).map_err(at)?;
        let b = &mut state.buffers;
        observer.values(Point::AttentionOut(i), &b.out[..wide]);
        let (x, out, h) = (&mut b.x[..wide], &b.out[..wide], &mut b.h[..wide]);
        add_rms_norm(cpu, x, out, &layer.ffn_norm, eps, h).map_err(at)?;
        feed_forward::run(pass, i, layer, state, observer).map_err(at)?;
        let b = &mut state.buffers;
        observer.values(Point::FeedForwardOut(i), &b.out[..wide]);
        let next = weights
            .layers
            .get(i + 1)
            .map_or(&weights.norm, |l| &l.attention_norm);
        let (x, out, h) = (&mut b.x[..wide], &b.out[..wide], &mut b.h[..wide]);
        add_rms_norm(cpu, x, out, next, eps, h).map_err(at)?;
        observer.values(Point::Layer(i), &b.x[..wide]);
    }
    observer.values(Point::FinalNorm, &state.buffers.h[..wide]);
    logits(pass, weights, state, runs)
}

/// Token rows of the embedding into the residual stream, and the positions with their angles.
fn embed(
    pass: &Pass<'_>,
    weights: &DecoderWeights,
    state: &mut State,
    runs: &[Run<'_>],
) -> Result<(), KernelError> {
    let dim = pass.spec.dim;
    let b = &mut state.buffers;
    let table: WeightData<'_> = weights.embedding.data();
    for (span, run) in pass.spans.iter().zip(runs) {
        let rows = span.of_mut(&mut b.x, dim).chunks_exact_mut(dim);
        for (row, id) in rows.zip(run.tokens) {
            table.widen(*id as usize * dim, row);
        }
        let positions = &mut b.positions[span.start..span.start + span.len];
        for (position, place) in (span.first_position..).zip(positions) {
            *place = u32::try_from(position).unwrap_or(u32::MAX);
        }
    }
    let factor = pass.spec.rope.attention_factor as f32;
    state
        .scratch
        .angles
        .fill(&weights.inv_freq, factor, &b.positions[..pass.tokens])
}

/// Attention of layer `i`: reads `h`, leaves its output in `out`.
fn attention(
    pass: &Pass<'_>,
    i: usize,
    layer: &weights::LayerWeights,
    state: &mut State,
    observer: &mut dyn Observer,
) -> Result<(), KernelError> {
    if let Some(indexer) = &layer.indexer {
        indexer::run(pass, i, indexer, state, observer)?;
    }
    match &layer.attention {
        AttentionWeights::Gqa(gqa) => gqa::run(pass, i, gqa, state),
        AttentionWeights::Mla(mla) => mla::run(pass, i, mla, state),
    }
}

/// Gathers the normed rows that want logits and multiplies them with the output projection.
fn logits(
    pass: &Pass<'_>,
    weights: &DecoderWeights,
    state: &mut State,
    runs: &[Run<'_>],
) -> Result<usize, InferError> {
    let (dim, vocab) = (pass.spec.dim, pass.spec.vocab_size);
    let b = &mut state.buffers;
    let mut rows = 0;
    for (span, run) in pass.spans.iter().zip(runs) {
        let wanted = run.logit_rows();
        let from = (span.start + span.len - wanted) * dim;
        let to = &mut b.logit_rows[rows * dim..(rows + wanted) * dim];
        to.copy_from_slice(&b.h[from..from + wanted * dim]);
        rows += wanted;
    }
    if rows == 0 {
        return Ok(0);
    }
    let output = weights
        .output
        .as_ref()
        .unwrap_or(&weights.embedding)
        .matrix()?;
    let out = &mut b.logits[..rows * vocab];
    linear(
        pass.cpu,
        &output,
        &b.logit_rows[..rows * dim],
        out,
        &mut state.scratch.linear,
    )?;
    if let Some(cap) = pass.spec.logit_softcap {
        softcap(cap as f32, out);
    }
    Ok(rows)
}
