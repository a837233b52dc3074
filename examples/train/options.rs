//! What a run is told.

use std::path::PathBuf;

use mistral_examples::{Arguments, UsageError};

/// Arguments of one training run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) text: PathBuf,
    pub(crate) out: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) steps: usize,
    pub(crate) seed: u64,
    pub(crate) dim: usize,
    pub(crate) layers: usize,
    pub(crate) expert_hidden: usize,
    pub(crate) vocab: usize,
    pub(crate) seq: usize,
    pub(crate) batch: usize,
    pub(crate) lr: f64,
    pub(crate) weight_decay: f64,
    pub(crate) aux: f64,
    pub(crate) dropout: f64,
    pub(crate) eval_every: usize,
    /// Last step of this call; the learning rate still follows `steps`.
    pub(crate) until: usize,
    /// Wall-clock seconds after which the run saves its state and ends.
    pub(crate) stop_after: Option<u64>,
}

/// The names that a command line may have.
pub(crate) const NAMES: mistral_examples::Options<'static> = mistral_examples::Options {
    valued: &[
        "out",
        "work",
        "steps",
        "seed",
        "dim",
        "layers",
        "expert-hidden",
        "vocab",
        "seq",
        "batch",
        "lr",
        "weight-decay",
        "dropout",
        "aux",
        "eval-every",
        "until",
        "stop-after",
    ],
    switches: &[],
    max_positional: 1,
};

impl Options {
    /// The settings of the model in `assets/`, changed by `arguments`.
    pub(crate) fn read(arguments: &Arguments) -> Result<Self, UsageError> {
        let path = |name, default: &str| PathBuf::from(arguments.text(name).unwrap_or(default));
        let options = Self {
            text: PathBuf::from(arguments.required(0, "TEXT.txt")?),
            out: path("out", "assets/tiny-mixtral"),
            work: path("work", "target/train-tiny"),
            steps: arguments.value("steps", 3000)?,
            seed: arguments.value("seed", 1)?,
            dim: arguments.value("dim", 128)?,
            layers: arguments.value("layers", 4)?,
            expert_hidden: arguments.value("expert-hidden", 64)?,
            vocab: arguments.value("vocab", 1024)?,
            seq: arguments.value("seq", 256)?,
            batch: arguments.value("batch", 8)?,
            lr: arguments.value("lr", 3e-3)?,
            weight_decay: arguments.value("weight-decay", 0.1)?,
            aux: arguments.value("aux", 0.02)?,
            dropout: arguments.value("dropout", 0.0)?,
            eval_every: arguments.value("eval-every", 200)?,
            until: arguments.value("until", usize::MAX)?,
            stop_after: match arguments.text("stop-after") {
                Some(_) => Some(arguments.value("stop-after", 0)?),
                None => None,
            },
        };
        options.check().map_err(UsageError)?;
        Ok(options)
    }

    fn check(&self) -> Result<(), String> {
        let positive = [
            ("steps", self.steps),
            ("dim", self.dim),
            ("layers", self.layers),
            ("expert-hidden", self.expert_hidden),
            ("seq", self.seq),
            ("batch", self.batch),
            ("eval-every", self.eval_every),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("--{name} must be at least 1"));
        }
        if !self.dim.is_multiple_of(2 * super::model::N_HEADS) {
            return Err(format!(
                "--dim must be a multiple of {}",
                2 * super::model::N_HEADS
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err("--dropout must be at least 0 and below 1".to_owned());
        }
        if self.vocab < 300 {
            return Err("--vocab must be at least 300: 256 bytes and some merges".to_owned());
        }
        Ok(())
    }
}
