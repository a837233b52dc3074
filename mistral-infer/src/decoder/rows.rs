//! The cached rows of a sequence's first tokens: taken out, put back, copied to another sequence.

use mistral_core::model::{AttentionKind, Indexer, ModelSpec};
use mistral_kernels::{CacheBuffer, CacheShape, CacheType};

use super::state::{LayerCache, SequenceState, Sizes, State, capacity};
use crate::error::InferError;
use crate::prefix::PrefixError;

/// What a part of a layer's cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Keys,
    Values,
    Latents,
    IndexerKeys,
}

/// One buffer of one layer: what of it belongs to a prefix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    layer: usize,
    side: Side,
    heads: usize,
    width: usize,
    kind: CacheType,
    /// Positions in front of the newest one that a ring is sure to hold, with it.
    window: Option<usize>,
}

/// The buffers of a sequence, in the order in which a prefix holds their rows.
pub(crate) fn parts(spec: &ModelSpec, cache: CacheType) -> impl Iterator<Item = Part> {
    spec.layers.iter().enumerate().flat_map(move |(i, layer)| {
        let part = move |side, heads, width, window| Part {
            layer: i,
            side,
            heads,
            width,
            kind: cache,
            window,
        };
        let own = layer.kv_source == i;
        let [first, second] = match &spec.attention {
            _ if !own => [None, None],
            AttentionKind::Gqa(g) => [Side::Keys, Side::Values]
                .map(|side| Some(part(side, g.n_kv_heads, g.head_dim, layer.window))),
            AttentionKind::Mla(m) => {
                let width = m.kv_lora_rank + m.split(layer.rope).1;
                [Some(part(Side::Latents, 1, width, None)), None]
            }
        };
        let third = match (layer.indexer, &spec.indexer) {
            (Indexer::Full, Some(x)) => Some(Part {
                kind: CacheType::F32,
                ..part(Side::IndexerKeys, 1, x.head_dim, None)
            }),
            _ => None,
        };
        [first, second, third].into_iter().flatten()
    })
}

/// Bytes of the rows of a prefix of `len` tokens; `None` when that is beyond the address space.
pub(crate) fn rows_bytes(spec: &ModelSpec, cache: CacheType, len: usize) -> Option<usize> {
    parts(spec, cache).try_fold(0usize, |sum, part| sum.checked_add(part.bytes(len)?))
}

impl Part {
    /// First position that a prefix of `len` tokens holds. A window's rows go one further back than
    /// the next token sees, so that the last token of a prompt can be computed again.
    fn first(&self, len: usize) -> usize {
        self.window.map_or(0, |window| len.saturating_sub(window))
    }

    /// Bytes of the rows of `len` tokens.
    fn bytes(&self, len: usize) -> Option<usize> {
        (len - self.first(len))
            .checked_mul(self.heads)?
            .checked_mul(self.kind.row_bytes(self.width))
    }

    /// Bytes of the buffer of a session of these sizes.
    pub(super) fn capacity_bytes(&self, sizes: &Sizes) -> Option<usize> {
        capacity(self.window, sizes)
            .checked_mul(self.heads)?
            .checked_mul(self.kind.row_bytes(self.width))
    }

    fn buffer<'s>(&self, sequence: &'s SequenceState) -> Option<&'s CacheBuffer> {
        match (self.side, &sequence.caches[self.layer]) {
            (Side::Keys, LayerCache::Gqa { k, .. }) => Some(k),
            (Side::Values, LayerCache::Gqa { v, .. }) => Some(v),
            (Side::Latents, LayerCache::Latent { rows, .. }) => Some(rows),
            (Side::IndexerKeys, _) => sequence.indexer_keys.get(self.layer),
            _ => None,
        }
    }

    fn buffer_mut<'s>(&self, sequence: &'s mut SequenceState) -> Option<&'s mut CacheBuffer> {
        match (self.side, &mut sequence.caches[self.layer]) {
            (Side::Keys, LayerCache::Gqa { k, .. }) => Some(k),
            (Side::Values, LayerCache::Gqa { v, .. }) => Some(v),
            (Side::Latents, LayerCache::Latent { rows, .. }) => Some(rows),
            (Side::IndexerKeys, _) => sequence.indexer_keys.get_mut(self.layer),
            _ => None,
        }
    }

    fn shape(&self, sequence: &SequenceState, seq_len: usize) -> CacheShape {
        let capacity = match (self.side, &sequence.caches[self.layer]) {
            (Side::Keys | Side::Values, LayerCache::Gqa { capacity, .. }) => *capacity,
            _ => seq_len,
        };
        CacheShape {
            heads: self.heads,
            capacity,
            width: self.width,
        }
    }
}

impl State {
    /// Checks that the rows of a sequence's first `len` tokens are all there.
    pub(crate) fn check_rows(
        &self,
        spec: &ModelSpec,
        sequence: usize,
        len: usize,
    ) -> Result<(), PrefixError> {
        let state = &self.sequences[sequence];
        if !(1..=state.tokens.len()).contains(&len) {
            return Err(PrefixError::NotCached {
                tokens: len,
                cached: state.tokens.len(),
            });
        }
        for part in parts(spec, self.sizes.cache) {
            let capacity = part.shape(state, self.sizes.seq_len).capacity;
            let oldest = state.oldest(part.window, capacity);
            if part.first(len) < oldest {
                return Err(PrefixError::Overwritten {
                    layer: part.layer,
                    needed: part.first(len),
                    oldest,
                });
            }
        }
        Ok(())
    }

    /// The rows of a sequence's first `len` tokens, part after part.
    pub(crate) fn take_rows(
        &self,
        spec: &ModelSpec,
        sequence: usize,
        len: usize,
    ) -> Result<Vec<u8>, InferError> {
        let cache = self.sizes.cache;
        self.check_rows(spec, sequence, len)?;
        let bytes = rows_bytes(spec, cache, len).unwrap_or(usize::MAX);
        let mut rows = Vec::new();
        (rows.try_reserve_exact(bytes)).map_err(|_| PrefixError::OutOfMemory { bytes })?;
        rows.resize(bytes, 0);
        let state = &self.sequences[sequence];
        let mut rest = &mut rows[..];
        for part in parts(spec, cache) {
            let (own, behind) = rest.split_at_mut(part.bytes(len).unwrap_or(0));
            rest = behind;
            if let Some(buffer) = part.buffer(state) {
                let shape = part.shape(state, self.sizes.seq_len);
                buffer.read_rows(&shape, part.first(len), own)?;
            }
        }
        Ok(rows)
    }

    /// Checks that a sequence may go on behind the first `len` of a prefix's tokens.
    pub(crate) fn check_end(
        &self,
        spec: &ModelSpec,
        prefix: usize,
        len: usize,
    ) -> Result<(), PrefixError> {
        for part in parts(spec, self.sizes.cache) {
            let oldest = part.first(prefix);
            let needed = part
                .window
                .map_or(0, |window| (len + 1).saturating_sub(window));
            if needed < oldest && len < prefix {
                return Err(PrefixError::Overwritten {
                    layer: part.layer,
                    needed,
                    oldest,
                });
            }
        }
        Ok(())
    }

    /// Puts the first `len` of a prefix's tokens in the place of what a sequence held. `rows` are
    /// those of all of `tokens`.
    pub(crate) fn put_rows(
        &mut self,
        spec: &ModelSpec,
        sequence: usize,
        (tokens, len): (&[u32], usize),
        rows: &[u8],
    ) -> Result<(), InferError> {
        self.clear(sequence);
        let state = &mut self.sequences[sequence];
        let mut rest = rows;
        for part in parts(spec, self.sizes.cache) {
            let (own, behind) = rest.split_at(part.bytes(tokens.len()).unwrap_or(0));
            rest = behind;
            let shape = part.shape(state, self.sizes.seq_len);
            let first = part.first(tokens.len());
            if let Some(buffer) = part.buffer_mut(state) {
                buffer.write_rows(&shape, first, len.saturating_sub(first), own)?;
            }
        }
        state.begin(&tokens[..len], tokens.len());
        Ok(())
    }

    /// Copies a sequence's first `len` tokens to another one, in the place of what that held.
    pub(crate) fn copy_rows(
        &mut self,
        spec: &ModelSpec,
        (from, to): (usize, usize),
        len: usize,
    ) -> Result<(), InferError> {
        let (cache, seq_len) = (self.sizes.cache, self.sizes.seq_len);
        self.check_rows(spec, from, len)?;
        if from == to {
            self.rewind(to, len);
            return Ok(());
        }
        self.clear(to);
        let Ok([from, to]) = self.sequences.get_disjoint_mut([from, to]) else {
            return Ok(());
        };
        for part in parts(spec, cache) {
            let (shape, first) = (part.shape(from, seq_len), part.first(len));
            if let (Some(from), Some(to)) = (part.buffer(from), part.buffer_mut(to)) {
                from.copy_rows(to, &shape, first, len - first)?;
            }
        }
        to.begin(&from.tokens[..len], len);
        Ok(())
    }
}
