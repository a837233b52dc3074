//! The work behind a need: how long requests are, how many come, what they must wait at most.

use mistral_core::estimate::Workload;
use mistral_core::need::{Need, Task};

/// The need in numbers, every open one filled.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// The job.
    pub task: Task,
    /// Tokens of a request.
    pub work: Workload,
    /// Longest sequence provided for.
    pub context_tokens: u32,
    /// Requests at the same moment.
    pub concurrency: u32,
    /// Prompt tokens a month.
    pub prompt_tokens_per_month: f64,
    /// Generated tokens a month.
    pub output_tokens_per_month: f64,
    /// Whether the load was said; an assumed one prices candidates and rules none out.
    pub load_is_said: bool,
    /// What was assumed, as `path: value`.
    pub assumed: Vec<String>,
}

/// Lengths that a job usually has: prompt, answer, context.
struct Usual {
    prompt: f64,
    output: f64,
    context: f64,
}

/// One user in this many asks at the busiest moment.
const USERS_PER_REQUEST: f64 = 10.0;
/// Requests of one user on a working day.
const REQUESTS_PER_USER_AND_DAY: f64 = 20.0;
/// The busiest hour has this many times the mean.
const PEAK: f64 = 4.0;
/// Tokens a second that a request is taken to get, to turn a rate into a number at once.
const TOKENS_PER_S: f64 = 40.0;
/// Requests a day when nothing is said.
const REQUESTS_PER_DAY: f64 = 1000.0;
const DAYS_PER_MONTH: f64 = 730.0 / 24.0;
const SECONDS_PER_DAY: f64 = 86_400.0;

fn usual(task: Task) -> Usual {
    let (prompt, output, context) = match task {
        Task::Fim => (1500, 64, 8192),
        Task::Code => (2000, 500, 16_384),
        Task::Agents => (8000, 500, 32_768),
        Task::Reasoning => (1000, 3000, 16_384),
        Task::Vision => (2000, 300, 8192),
        Task::Ocr => (2500, 1000, 8192),
        Task::Rag => (4000, 300, 8192),
        Task::Summarise => (6000, 400, 16_384),
        Task::Translate => (800, 800, 4096),
        Task::Extract | Task::Moderate => (1500, 150, 4096),
        Task::Embed => (500, 1, 2048),
        _ => (1000, 250, 8192),
    };
    let [prompt, output, context] = [prompt, output, context].map(f64::from);
    Usual {
        prompt,
        output,
        context,
    }
}

impl Demand {
    /// Fills what a need leaves open and says what it filled.
    #[must_use]
    pub fn of(need: &Need) -> Self {
        let mut open = Open::default();
        let task = need.task.unwrap_or(Task::Chat);
        if need.task.is_none() {
            open.0.push("task: chat".to_owned());
        }
        let usual = usual(task);
        let said = |n: Option<u32>| n.map(f64::from);
        let prompt = open.fill(
            "load.prompt_tokens",
            said(need.load.prompt_tokens),
            usual.prompt,
        );
        let output = open.fill(
            "load.output_tokens",
            said(need.load.output_tokens),
            usual.output,
        );
        let output = output.max(1.0);
        let least = (prompt + output).max(usual.context);
        let context = open.fill("context_tokens", said(need.context_tokens), least);
        // A context that is asked for bounds the prompts that it is asked for.
        let prompt = prompt.min((context - output).max(1.0));
        let work = Workload {
            prompt_tokens: prompt,
            output_tokens: output,
        };
        let load = Load::of(need, work, &mut open);
        let requests = load.per_day * DAYS_PER_MONTH;
        Self {
            task,
            work,
            context_tokens: context as u32,
            concurrency: load.at_once as u32,
            prompt_tokens_per_month: requests * prompt,
            output_tokens_per_month: requests * output,
            load_is_said: load.is_said,
            assumed: open.0,
        }
    }

    /// Requests a second in the busiest hour.
    #[must_use]
    pub fn peak_requests_per_s(&self) -> f64 {
        let requests = self.output_tokens_per_month / self.work.output_tokens;
        requests / DAYS_PER_MONTH / SECONDS_PER_DAY * PEAK
    }

    /// Prompt and generated tokens a month.
    #[must_use]
    pub fn tokens_per_month(&self) -> f64 {
        self.prompt_tokens_per_month + self.output_tokens_per_month
    }
}

/// What had to be assumed.
#[derive(Default)]
struct Open(Vec<String>);

impl Open {
    fn fill(&mut self, path: &str, said: Option<f64>, otherwise: f64) -> f64 {
        said.unwrap_or_else(|| {
            self.0.push(format!("{path}: {otherwise}"));
            otherwise
        })
    }
}

/// Requests a day and at once.
struct Load {
    per_day: f64,
    at_once: f64,
    is_said: bool,
}

impl Load {
    fn of(need: &Need, work: Workload, open: &mut Open) -> Self {
        let said = &need.load;
        let tokens = work.prompt_tokens + work.output_tokens;
        let in_flight_s = 1.0 + work.output_tokens / TOKENS_PER_S;
        let per_day = said
            .requests_per_day
            .or(said.requests_per_s.map(|r| r * SECONDS_PER_DAY))
            .or(said.tokens_per_month.map(|t| t / DAYS_PER_MONTH / tokens))
            .or(said.users.map(|u| f64::from(u) * REQUESTS_PER_USER_AND_DAY));
        let is_said = per_day.is_some();
        // Who names a number at once is taken to reach it at the peak.
        let otherwise = match said.concurrency {
            Some(c) => (f64::from(c) * SECONDS_PER_DAY / in_flight_s / PEAK).round(),
            None => REQUESTS_PER_DAY,
        };
        let per_day = open.fill("load.requests_per_day", per_day, otherwise);
        let by_day = per_day / SECONDS_PER_DAY * PEAK * in_flight_s;
        let derived = said
            .requests_per_s
            .map(|r| r * in_flight_s)
            .or(said.users.map(|u| f64::from(u) / USERS_PER_REQUEST))
            .unwrap_or(by_day)
            // A rate of tokens that is asked for needs the requests that ask for them.
            .max(need.latency.tokens_per_s.map_or(0.0, |t| t / TOKENS_PER_S));
        let derived = derived.ceil().clamp(1.0, 1e9);
        Self {
            per_day,
            at_once: open.fill("load.concurrency", said.concurrency.map(f64::from), derived),
            is_said,
        }
    }
}
