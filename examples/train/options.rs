//! What a run is told.

use std::path::PathBuf;

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

impl Options {
    /// The settings of the model in `assets/`, changed by `arguments`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            text: PathBuf::new(),
            out: PathBuf::from("assets/tiny-mixtral"),
            work: PathBuf::from("target/train-tiny"),
            steps: 3000,
            seed: 1,
            dim: 128,
            layers: 4,
            expert_hidden: 64,
            vocab: 1024,
            seq: 256,
            batch: 8,
            lr: 3e-3,
            weight_decay: 0.1,
            aux: 0.02,
            dropout: 0.0,
            eval_every: 200,
            until: usize::MAX,
            stop_after: None,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(name) = argument.strip_prefix("--") else {
                options.text = PathBuf::from(argument);
                continue;
            };
            let value = rest
                .next()
                .ok_or_else(|| format!("--{name} needs a value"))?;
            match name {
                "out" => options.out = PathBuf::from(value),
                "work" => options.work = PathBuf::from(value),
                "steps" => options.steps = number(name, value)?,
                "seed" => options.seed = number(name, value)?,
                "dim" => options.dim = number(name, value)?,
                "layers" => options.layers = number(name, value)?,
                "expert-hidden" => options.expert_hidden = number(name, value)?,
                "vocab" => options.vocab = number(name, value)?,
                "seq" => options.seq = number(name, value)?,
                "batch" => options.batch = number(name, value)?,
                "lr" => options.lr = number(name, value)?,
                "weight-decay" => options.weight_decay = number(name, value)?,
                "dropout" => options.dropout = number(name, value)?,
                "aux" => options.aux = number(name, value)?,
                "eval-every" => options.eval_every = number(name, value)?,
                "until" => options.until = number(name, value)?,
                "stop-after" => options.stop_after = Some(number(name, value)?),
                _ => return Err(format!("unknown option --{name}")),
            }
        }
        if options.text.as_os_str().is_empty() {
            return Err("expected the path of a text".to_owned());
        }
        options.check()?;
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

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("--{name}: expected a number, found {value:?}"))
}
