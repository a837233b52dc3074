//! How a model is run: threads, tokens of a prompt that are computed together, type of the cache.

use std::collections::BTreeMap;
use std::error::Error;

use mistral_codegen::tune::{Bench, Point, Space};
use mistral_examples::{machine, print_line, today};
use mistral_infer::weights::WeightStorage;
use mistral_infer::{
    CacheType, LoadOptions, MeasureOptions, Model, Provenance, SessionLimits, measure,
};

use crate::{Line, Search};

/// The request that is timed: a prompt and its answer, in tokens.
const PROMPT: usize = 512;
const ANSWER: usize = 32;
/// Types of the cache by the values of their axis; the first is the one that follows the weights.
const CACHES: [Option<CacheType>; 4] = [
    None,
    Some(CacheType::F16),
    Some(CacheType::Bf16),
    Some(CacheType::Q8),
];

/// Runs a model as a point says; models with other numbers of threads share the file's pages.
struct Serving {
    models: BTreeMap<u32, Model>,
    today: Point,
    own_first: bool,
}

impl Serving {
    /// Seconds of one request.
    fn seconds(&self, point: &Point) -> Result<f64, String> {
        let &[threads, batch, cache] = point.0.as_slice() else {
            return Err("expected three values".to_owned());
        };
        let model = self
            .models
            .get(&threads)
            .ok_or("no model with so many threads")?;
        let longest = model.spec().max_seq_len.unwrap_or(PROMPT + ANSWER);
        let prompt = PROMPT.min(longest.saturating_sub(ANSWER).max(1));
        let options = MeasureOptions {
            prompt,
            generate: ANSWER,
            repeat: 1,
            cache: CACHES.get(cache as usize).copied().flatten(),
            batch_tokens: Some(batch as usize),
            ..MeasureOptions::default()
        };
        let provenance = Provenance {
            command: String::new(),
            date: today(),
            device: machine(),
            model: String::new(),
            load_ms: None,
            peak_rss_bytes: || None,
        };
        let report =
            measure(model, &options, &provenance, &mut |_| {}).map_err(|e| e.to_string())?;
        let rates = report.prefill_tokens_per_s.zip(report.decode_tokens_per_s);
        let (prefill, decode) = rates.ok_or("nothing was measured")?;
        Ok(prompt as f64 / prefill + ANSWER as f64 / decode)
    }
}

impl Bench for Serving {
    /// Other settings change answers by rounding at most: there is nothing to compare bit by bit.
    fn check(&mut self, point: &Point) -> Result<(), String> {
        self.seconds(point).map(|_| ())
    }

    fn pair(&mut self, point: &Point) -> Result<(f64, f64), String> {
        self.own_first = !self.own_first;
        if self.own_first {
            let own = self.seconds(point)?;
            Ok((self.seconds(&self.today)?, own))
        } else {
            let today = self.seconds(&self.today)?;
            Ok((today, self.seconds(point)?))
        }
    }
}

/// Searches the settings of one model.
pub(crate) fn tune(search: &mut Search, path: &str) -> Result<(), Box<dyn Error>> {
    let most = search.threads as u32;
    let mut models = BTreeMap::new();
    for threads in 1..=most {
        let options = LoadOptions {
            threads: threads as usize,
            storage: Some(WeightStorage::Mapped),
            ..LoadOptions::default()
        };
        eprintln!("loading {path} for {threads} threads");
        models.insert(threads, Model::load(path, &options)?);
    }
    let space = Space::new([
        ("threads", (1..=most).collect()),
        ("batch_tokens", vec![64, 128, 256, 512, 1024]),
        ("cache", (0..CACHES.len() as u32).collect()),
    ]);
    let usual = SessionLimits::default();
    let today = Point(vec![most, usual.max_batch_tokens as u32, 0]);
    let mut bench = Serving {
        models,
        today: today.clone(),
        own_first: false,
    };
    let outcome = search.run(&space, &today, &mut bench, 12);
    print_line(&Line::new(path, &space, &outcome))?;
    Ok(())
}
