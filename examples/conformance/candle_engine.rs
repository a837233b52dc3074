//! The differentiable decoder as an engine: whole sequences, no cache.

use std::error::Error;

use candle_core::{DType, Device, Tensor};
use mistral_core::model::ModelSpec;
use mistral_infer::candle::{Decoder, load};
use mistral_infer::weights::Checkpoint;

use crate::engine::{Engine, Trace};

/// Runs in f32 on the processor.
pub(crate) struct CandleEngine {
    decoder: Decoder,
}

impl CandleEngine {
    /// Reads the weights, which are checked against `spec` first.
    pub(crate) fn new(
        spec: &ModelSpec,
        checkpoint: &Checkpoint,
    ) -> Result<CandleEngine, Box<dyn Error>> {
        checkpoint.check(spec)?;
        let decoder = load(spec, checkpoint, DType::F32, &Device::Cpu)?;
        Ok(CandleEngine { decoder })
    }
}

impl Engine for CandleEngine {
    fn prefill(&mut self, sequences: &[Vec<u32>]) -> Result<Trace, Box<dyn Error>> {
        let ids: Vec<u32> = sequences.concat();
        let shape = (sequences.len(), ids.len() / sequences.len().max(1));
        let ids = Tensor::from_vec(ids, shape, &Device::Cpu)?;
        let found = self.decoder.forward_traced(&ids)?;
        let mut trace = Trace {
            logits: flat(&found.logits)?,
            ..Trace::default()
        };
        let mut put = |name: String, tensor: &Tensor| -> candle_core::Result<()> {
            trace.values.insert(name, flat(tensor)?);
            Ok(())
        };
        put("hidden.embed".to_owned(), &found.embed)?;
        put("hidden.final_norm".to_owned(), &found.final_norm)?;
        for (i, layer) in found.layers.iter().enumerate() {
            put(format!("hidden.layer.{i}"), &layer.hidden)?;
            put(format!("attn_out.layer.{i}"), &layer.attn_out)?;
            put(format!("mlp_out.layer.{i}"), &layer.mlp_out)?;
            if let Some(routing) = &layer.routing {
                put(format!("router.logits.layer.{i}"), &routing.logits)?;
                put(format!("router.weights.layer.{i}"), &routing.weights)?;
                let experts = routing.experts.flatten_all()?.to_vec1::<u32>()?;
                let name = format!("router.experts.layer.{i}");
                trace.experts.insert(name, experts);
            }
            if let Some(selection) = &layer.selection {
                let name = format!("indexer.topk.layer.{i}");
                trace.selected.insert(name, selection.positions.clone());
            }
        }
        Ok(trace)
    }

    fn chunked(&mut self, _ids: &[u32], _piece: usize) -> Result<Option<Vec<f32>>, Box<dyn Error>> {
        Ok(None)
    }

    fn decode(
        &mut self,
        _sequences: &[Vec<u32>],
        _prefix: usize,
        _steps: usize,
    ) -> Result<Option<Vec<f32>>, Box<dyn Error>> {
        Ok(None)
    }

    fn has_cache(&self) -> bool {
        false
    }

    fn greedy(&mut self, prompt: &[u32], n: usize) -> Result<Vec<u32>, Box<dyn Error>> {
        Ok(self.decoder.greedy(prompt, n)?)
    }
}

fn flat(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}
