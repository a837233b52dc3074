//! The run itself: batches, updates, evaluations, and what is kept.

pub(crate) mod card;
pub(crate) mod corpus;
pub(crate) mod curve;
pub(crate) mod evaluate;
pub(crate) mod files;
pub(crate) mod model;
pub(crate) mod optimizer;
pub(crate) mod options;
pub(crate) mod random;
pub(crate) mod state;

use std::cell::RefCell;
use std::time::Instant;

use candle_core::Tensor;
use mistral_core::model::ModelSpec;
use mistral_infer::candle::{Decoder, load_balancing_loss};
use serde_json::json;
use tokenizers::Tokenizer;

use corpus::{Batch, Corpus};
use model::Variables;
use optimizer::AdamW;
use options::Options;
use random::Random;
use state::{EvaluationPoint, Progress, TrainPoint};

/// Whatever stops a run.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Steps between two points of the curve.
const LOG_EVERY: usize = 20;

/// What a run works with.
struct Trainer<'a> {
    options: &'a Options,
    arguments: &'a [String],
    corpus: Corpus,
    tokenizer: Tokenizer,
    config: String,
    spec: ModelSpec,
    variables: Variables,
    decoder: Decoder,
    optimizer: AdamW,
    progress: Progress,
}

/// Trains, or continues, as `options` say.
pub(crate) fn run(options: &Options, arguments: &[String]) -> Result<(), Error> {
    let mut trainer = Trainer::new(options, arguments)?;
    let mut random = Random(trainer.progress.random);
    let begin = Instant::now();
    let before = trainer.progress.seconds;
    let mut sums = [0.0; 3];
    while trainer.progress.step < options.steps.min(options.until) {
        let batch = trainer
            .corpus
            .batch(options.batch, options.seq, &mut random)?;
        let values = trainer.step(&batch, &mut random)?;
        sums.iter_mut()
            .zip(values)
            .for_each(|(sum, value)| *sum += value);
        let step = trainer.progress.step;
        trainer.progress.random = random.0;
        trainer.progress.seconds = before + begin.elapsed().as_secs_f64();
        if step.is_multiple_of(LOG_EVERY) {
            let [loss, aux, grad_norm] = sums.map(|sum| sum / LOG_EVERY as f64);
            sums = [0.0; 3];
            trainer.progress.curve.push(TrainPoint {
                step,
                loss,
                aux,
                grad_norm,
            });
            let seconds = trainer.progress.seconds;
            eprintln!(
                "step {step}/{}  loss {loss:.4}  aux {aux:.4}  grad {grad_norm:.3}  {seconds:.0} s",
                options.steps
            );
        }
        // Only where a point of the curve was just made, so that no mean is lost.
        let over = options
            .stop_after
            .is_some_and(|s| begin.elapsed().as_secs() >= s);
        let stop = over && step.is_multiple_of(LOG_EVERY);
        if step.is_multiple_of(options.eval_every)
            || step == options.steps.min(options.until)
            || stop
        {
            trainer.evaluate()?;
        }
        if stop {
            eprintln!("stopped after {step} steps; the same command continues");
            break;
        }
    }
    trainer.publish_card()
}

impl<'a> Trainer<'a> {
    fn new(options: &'a Options, arguments: &'a [String]) -> Result<Self, Error> {
        let (corpus, tokenizer) = Corpus::read(&options.text, options.vocab)?;
        let vocab = tokenizer.get_vocab_size(true);
        let config = serde_json::to_string_pretty(&model::config(options, vocab))?;
        let spec = ModelSpec::from_hf_config(&config)?;
        let mut random = Random(options.seed);
        let (variables, decoder) = model::initialise(&spec, &mut random)?;
        let mut optimizer = AdamW::new(&variables, options.weight_decay);
        let recipe = recipe(options);
        let saved = state::load(&options.work, &recipe, &variables, &mut optimizer)?;
        let fresh = Progress {
            recipe,
            random: random.0,
            ..Progress::default()
        };
        let trainer = Self {
            options,
            arguments,
            corpus,
            tokenizer,
            config,
            spec,
            variables,
            decoder,
            optimizer,
            progress: saved.unwrap_or(fresh),
        };
        eprintln!(
            "{} training tokens, {} held out ({} bytes), vocabulary {vocab}, {} parameters, step {}",
            trainer.corpus.train.len(),
            trainer.corpus.held_out.len(),
            trainer.corpus.held_out_bytes,
            trainer.parameters(|_| true),
            trainer.progress.step,
        );
        Ok(trainer)
    }

    /// One update; returns loss, load-balancing loss and gradient norm.
    fn step(&mut self, batch: &Batch, random: &mut Random) -> Result<[f64; 3], Error> {
        let (rate, random) = (self.options.dropout, RefCell::new(random));
        let dropout = |x: &Tensor| {
            if rate == 0.0 {
                return Ok(x.clone());
            }
            let factors = random.borrow_mut().dropout(x.elem_count(), rate);
            x * Tensor::from_vec(factors, x.shape(), x.device())?
        };
        let trace = self.decoder.forward_disturbed(&batch.inputs, &dropout)?;
        let logits = trace.logits.reshape((batch.targets.dim(0)?, ()))?;
        let loss = candle_nn::loss::cross_entropy(&logits, &batch.targets)?;
        let aux = load_balancing_loss(trace.layers.iter().filter_map(|l| l.routing.as_ref()))?;
        let grads = (&loss + (&aux * self.options.aux)?)?.backward()?;
        self.progress.step += 1;
        let step = self.progress.step;
        let rate = optimizer::learning_rate(self.options, step);
        let norm = self.optimizer.step(&grads, step, rate)?;
        let value = |t: &Tensor| t.to_scalar::<f32>().map(f64::from);
        Ok([value(&loss)?, value(&aux)?, norm])
    }

    /// Evaluates the weights as the file would hold them; keeps them when they are the best so far.
    fn evaluate(&mut self) -> Result<(), Error> {
        let rounded = model::rounded(&self.spec, &self.variables)?;
        let (batch, seq) = (self.options.batch, self.options.seq);
        let evaluation = evaluate::evaluate(&rounded, &self.corpus, batch, seq)?;
        let balance = evaluation.balance();
        let worst = balance.iter().map(|b| b.0).fold(0.0, f64::max);
        let idlest = balance.iter().map(|b| b.1).fold(f64::INFINITY, f64::min);
        eprintln!(
            "step {}: held out {:.4} nats a token, {:.4} bits a byte; load {worst:.2} max/mean, {idlest:.2} min/mean",
            self.progress.step, evaluation.loss, evaluation.bits_per_byte
        );
        let best = self
            .progress
            .best
            .as_ref()
            .map_or(f64::INFINITY, |b| b.evaluation.loss);
        let improved = evaluation.loss < best;
        let point = EvaluationPoint {
            step: self.progress.step,
            evaluation,
        };
        self.progress.evaluations.push(point.clone());
        if improved {
            self.progress.best = Some(point);
            self.publish_model()?;
        }
        state::save(
            &self.options.work,
            &self.variables,
            &self.optimizer,
            &self.progress,
        )
    }

    /// Writes the model and its tokenizer.
    fn publish_model(&self) -> Result<(), Error> {
        let out = &self.options.out;
        let tokenizer_config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "add_bos_token": true,
            "add_eos_token": false,
            "clean_up_tokenization_spaces": false,
            "model_max_length": self.options.seq,
        });
        let generation_config = json!({
            "bos_token_id": 1,
            "eos_token_id": 2,
            "do_sample": true,
            "temperature": 0.8,
            "max_length": self.options.seq,
        });
        files::write(&out.join("config.json"), self.config.as_bytes())?;
        files::write(
            &out.join("tokenizer.json"),
            self.tokenizer.to_string(false)?.as_bytes(),
        )?;
        for (name, value) in [
            ("tokenizer_config.json", tokenizer_config),
            ("generation_config.json", generation_config),
        ] {
            files::write(
                &out.join(name),
                serde_json::to_string_pretty(&value)?.as_bytes(),
            )?;
        }
        files::write(
            &out.join("model.safetensors"),
            &model::export(&self.variables)?,
        )
    }

    /// Writes the card and the curve of the model in `--out`, read back from there.
    fn publish_card(&self) -> Result<(), Error> {
        let path = self.options.out.join("model.safetensors");
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let decoder = model::load(&self.spec, &bytes)?;
        let mut random = Random(self.options.seed);
        let length = self.options.seq;
        let samples = ["ROMEO:\n", "KING RICHARD III:\n", "First Citizen:\n"]
            .map(|p| evaluate::sample(&decoder, &self.tokenizer, p, length, 0.8, &mut random))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        let run = card::Run {
            options: self.options,
            arguments: self.arguments,
            corpus: &self.corpus,
            vocab: self.spec.vocab_size,
            parameters: self.parameters(|_| true),
            active_parameters: self.parameters(|name| !name.contains(".experts."))
                + self.parameters(|name| name.contains(".experts.")) * model::ACTIVE
                    / model::EXPERTS,
            file_bytes: bytes.len(),
            samples: &samples,
        };
        let out = &self.options.out;
        files::write(&out.join("loss.svg"), curve::svg(&self.progress).as_bytes())?;
        files::write(
            &out.join("README.md"),
            card::card(&run, &self.progress).as_bytes(),
        )
    }

    /// Parameters whose name `keep` accepts.
    fn parameters(&self, keep: impl Fn(&str) -> bool) -> usize {
        let kept = self.variables.iter().filter(|(name, _)| keep(name));
        kept.map(|(_, var)| var.elem_count()).sum()
    }
}

/// The options that decide the weights.
fn recipe(o: &Options) -> String {
    format!(
        "steps {} seed {} dim {} layers {} expert-hidden {} vocab {} seq {} batch {} lr {} \
         weight-decay {} aux {} dropout {}",
        o.steps,
        o.seed,
        o.dim,
        o.layers,
        o.expert_hidden,
        o.vocab,
        o.seq,
        o.batch,
        o.lr,
        o.weight_decay,
        o.aux,
        o.dropout
    )
}
