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
    prompt: u32,
    output: u32,
    context: u32,
}

/// One user in this many asks at the busiest moment.
const USERS_PER_REQUEST: f64 = 10.0;
/// Requests of one user on a working day.
const REQUESTS_PER_USER_AND_DAY: f64 = 20.0;
/// The busiest hour has this many times the mean.
const PEAK: f64 = 4.0;
/// Seconds that a request is in flight, to turn a rate into a number at once.
const SECONDS_IN_FLIGHT: f64 = 10.0;
/// Requests a day when nothing is said.
const REQUESTS_PER_DAY: f64 = 1000.0;
const DAYS_PER_MONTH: f64 = 730.0 / 24.0;

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
        let mut assumed = Vec::new();
        let mut fill = |path: &str, said: Option<f64>, otherwise: f64| -> f64 {
            said.unwrap_or_else(|| {
                assumed.push(format!("{path}: {otherwise}"));
                otherwise
            })
        };
        let task = need.task.unwrap_or(Task::Chat);
        let usual = usual(task);
        let prompt = fill(
            "load.prompt_tokens",
            need.load.prompt_tokens.map(f64::from),
            f64::from(usual.prompt),
        );
        let output = fill(
            "load.output_tokens",
            need.load.output_tokens.map(f64::from),
            f64::from(usual.output),
        )
        .max(1.0);
        let least = (prompt + output).max(f64::from(usual.context));
        let context = fill("context_tokens", need.context_tokens.map(f64::from), least);
        // A context that is asked for bounds the prompts that it is asked for.
        let prompt = prompt.min((context - output).max(1.0));

        let a_day_of_users = need
            .load
            .users
            .map(|u| f64::from(u) * REQUESTS_PER_USER_AND_DAY);
        let a_day_of_tokens = need
            .load
            .tokens_per_month
            .map(|t| t / DAYS_PER_MONTH / (prompt + output));
        let said = need
            .load
            .requests_per_day
            .or(a_day_of_tokens)
            .or(a_day_of_users);
        let load_is_said = said.is_some();
        let per_day = match said {
            Some(n) => n,
            None => match need.load.concurrency {
                Some(c) => fill(
                    "load.requests_per_day",
                    None,
                    f64::from(c) * 86_400.0 / SECONDS_IN_FLIGHT / PEAK / 3.0,
                ),
                None => fill("load.requests_per_day", None, REQUESTS_PER_DAY),
            },
        };
        let at_once = need
            .load
            .users
            .map(|u| (f64::from(u) / USERS_PER_REQUEST).ceil());
        let by_rate = (per_day / 86_400.0 * PEAK * SECONDS_IN_FLIGHT).ceil();
        let derived = at_once.unwrap_or(by_rate).clamp(1.0, 1e9);
        let concurrency = fill(
            "load.concurrency",
            need.load.concurrency.map(f64::from),
            derived,
        );
        let requests = per_day * DAYS_PER_MONTH;
        if need.task.is_none() {
            assumed.push("task: chat".to_owned());
        }
        Self {
            task,
            work: Workload {
                prompt_tokens: prompt,
                output_tokens: output,
            },
            context_tokens: context as u32,
            concurrency: concurrency as u32,
            load_is_said,
            prompt_tokens_per_month: requests * prompt,
            output_tokens_per_month: requests * output,
            assumed,
        }
    }

    /// Prompt and generated tokens a month.
    #[must_use]
    pub fn tokens_per_month(&self) -> f64 {
        self.prompt_tokens_per_month + self.output_tokens_per_month
    }
}
