//! The memory that a model and a session take, told from headers before anything is loaded.

use std::path::Path;

use crate::decoder::{SessionBytes, SessionLimits, Sizes};
use crate::error::InferError;
use crate::model::{LoadOptions, Model, default_cache, open_weights};
use crate::weights::WeightStorage;

/// Bytes of a loaded model and one session.
///
/// What isn't here is small or the system's: the tokenizer (up to some ten megabytes for large
/// vocabularies), tables and lists, threads' stacks.
///
/// ```
/// use mistral_infer::{LoadOptions, Model, SessionLimits, memory};
///
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-mixtral");
/// let limits = SessionLimits::default();
/// let plan = memory(path, &LoadOptions::default(), &limits)?;
/// println!("{plan}");
/// // A model that doesn't fit is refused by name before it is loaded.
/// plan.within(1 << 30)?;
/// let model = Model::load(path, &LoadOptions::default())?;
/// assert_eq!(model.memory(&limits)?, plan);
/// # Ok::<(), mistral_infer::InferError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryPlan {
    /// Weights that stay in their mapped files. The system reads them when they are used and may
    /// drop them again, at the price of reading them once more.
    pub weights_mapped: u64,
    /// Weights in memory of their own: all of them with [`WeightStorage::Copied`], else vectors and
    /// what isn't aligned or has to be joined.
    pub weights_copied: u64,
    /// Cached keys and values of all sequences, full.
    pub cache: u64,
    /// What one pass works in.
    pub working: u64,
    /// Rows of logits.
    pub logits: u64,
}

impl MemoryPlan {
    /// All of it, mapped files among it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.session()
            .saturating_add(self.weights_mapped)
            .saturating_add(self.weights_copied)
    }

    /// What a session takes beside the model.
    #[must_use]
    pub fn session(&self) -> u64 {
        (self.cache)
            .saturating_add(self.working)
            .saturating_add(self.logits)
    }

    /// The plan, if it takes at most `max_bytes`.
    ///
    /// # Errors
    /// [`InferError::MemoryBound`].
    pub fn within(self, max_bytes: u64) -> Result<MemoryPlan, InferError> {
        match self.total() <= max_bytes {
            true => Ok(self),
            false => Err(InferError::MemoryBound {
                needed: self.total(),
                max_bytes,
            }),
        }
    }

    fn of_session(bytes: &SessionBytes) -> MemoryPlan {
        MemoryPlan {
            cache: bytes.cache as u64,
            working: bytes.working as u64,
            logits: bytes.logits as u64,
            ..MemoryPlan::default()
        }
    }
}

impl std::fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        write!(
            f,
            "{}: weights {} mapped and {} in memory, cache {}, working memory {}, logits {}",
            mb(self.total()),
            mb(self.weights_mapped),
            mb(self.weights_copied),
            mb(self.cache),
            mb(self.working),
            mb(self.logits)
        )
    }
}

/// What loading the model at `path` and a session of it would take. Reads headers only, whatever
/// [`LoadOptions::storage`] says, and no tokenizer. Without a storage it is what fits now.
///
/// # Errors
/// As [`Model::load`] and [`Model::session`] for what headers tell.
pub fn memory(
    path: impl AsRef<Path>,
    options: &LoadOptions,
    limits: &SessionLimits,
) -> Result<MemoryPlan, InferError> {
    let (spec, checkpoint) = open_weights(path.as_ref(), WeightStorage::Mapped)?;
    let storage = options.storage.unwrap_or_else(|| checkpoint.fitting());
    let weights = checkpoint.footprint(&spec, storage)?;
    let format = checkpoint.embedding_format(&spec)?;
    let sizes = Sizes::new(&spec, limits, default_cache(format))?;
    let bytes = SessionBytes::new(&spec, &sizes, options.threads);
    let bytes = bytes.ok_or(InferError::OutOfMemory { bytes: usize::MAX })?;
    Ok(MemoryPlan {
        weights_mapped: weights.mapped as u64,
        weights_copied: weights.copied as u64,
        ..MemoryPlan::of_session(&bytes)
    })
}

impl Model {
    /// What this model and one session of it take.
    ///
    /// # Errors
    /// As [`Model::session`].
    pub fn memory(&self, limits: &SessionLimits) -> Result<MemoryPlan, InferError> {
        let sizes = Sizes::new(self.spec(), limits, default_cache(self.format()))?;
        let bytes = SessionBytes::new(self.spec(), &sizes, self.cpu().threads());
        let bytes = bytes.ok_or(InferError::OutOfMemory { bytes: usize::MAX })?;
        let weights = self.footprint();
        Ok(MemoryPlan {
            weights_mapped: weights.mapped as u64,
            weights_copied: weights.copied as u64,
            ..MemoryPlan::of_session(&bytes)
        })
    }
}
