//! What recommendations learn: `learn DB report|choose|outcome|show|export|erase …` for a user.
//!
//! `report FILE` keeps a measured run (a `RunReport` as JSON), `choose NEED` shows an answer and,
//! with `--take N`, records that its N-th choice was taken, `outcome` records how the last one went.
//! Each shows how the next answer changes. `show` counts what is known, `export` prints it as JSON,
//! `erase` forgets it.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use mistral_core::recommendation::{Choice, Recommendation};
use mistral_core::report::RunReport;
use mistral_examples::{Arguments, Options, Outcome, UsageError, print_line, run, today};
use mistral_recommend::learn::{self, Exploration, Learned, Preference, Sharing, Shown, Store};
use mistral_recommend::{Context, recommend_text};

const USAGE: &str = "DB report FILE [--shared] | choose NEED [--take N] [--seed S] | \
                     outcome --rating 1..5 [--note TEXT] | show | export | erase   \
                     [--user NAME] [--need NEED] [--with-shared]";

fn main() -> ExitCode {
    let options = Options {
        valued: &["user", "need", "take", "seed", "rating", "note"],
        switches: &["shared", "with-shared"],
        max_positional: 3,
    };
    run(USAGE, &options, |arguments| {
        Program::new(arguments)?.run()?;
        Ok(Outcome::Good)
    })
}

struct Program<'a> {
    arguments: &'a Arguments,
    store: Store,
    user: &'a str,
    today: String,
    context: Context<'static>,
}

impl<'a> Program<'a> {
    fn new(arguments: &'a Arguments) -> Result<Self, Box<dyn Error>> {
        let today = today();
        Ok(Self {
            arguments,
            store: Store::open(Path::new(arguments.required(0, "DB")?))?,
            user: arguments.text("user").unwrap_or("me"),
            context: Context::embedded(&today),
            today,
        })
    }

    fn run(&mut self) -> Result<(), Box<dyn Error>> {
        match self.arguments.required(1, "what to do")? {
            "report" => self.report(),
            "choose" => self.choose(),
            "outcome" => self.outcome(),
            "show" => self.show(),
            "export" => print_line(&self.store.of(self.user)?),
            "erase" => {
                let known = self.store.erase(self.user)?;
                println!("{}", if known { "erased" } else { "nothing was known" });
                Ok(())
            }
            other => Err(UsageError(format!("{other:?} is nothing to do")).into()),
        }
    }

    /// What is known now, also from others' shared reports if asked for.
    fn learn(&mut self) -> Result<(), Box<dyn Error>> {
        let shared = if self.arguments.switch("with-shared") {
            self.store.shared_reports(self.user)?
        } else {
            Vec::new()
        };
        let known = self.store.of(self.user)?;
        self.context.learned = Some(Learned::from_history(&known, &shared, &self.context));
        Ok(())
    }

    fn report(&mut self) -> Result<(), Box<dyn Error>> {
        let file = self.arguments.required(2, "FILE")?;
        let text = std::fs::read_to_string(file).map_err(|e| UsageError(format!("{file}: {e}")))?;
        let report: RunReport = serde_json::from_str(&text)?;
        let sharing = if self.arguments.switch("shared") {
            Sharing::Shared
        } else {
            Sharing::Private
        };
        let otherwise = format!("chat with {} on {}", report.model, report.machine.device);
        let need = self.arguments.text("need").unwrap_or(&otherwise);
        self.learn()?;
        let before = recommend_text(need, &self.context)?;
        self.store
            .record_report(self.user, &report, sharing, &self.context)?;
        self.learn()?;
        self.compare(need, &before)
    }

    fn choose(&mut self) -> Result<(), Box<dyn Error>> {
        let need = self.arguments.required(2, "NEED")?;
        self.learn()?;
        let mut answer = recommend_text(need, &self.context)?;
        let shown = match self.arguments.text("seed") {
            None => Shown::of(&answer, &self.today),
            Some(_) => {
                let how = Exploration {
                    seed: self.arguments.value("seed", 0)?,
                    ..Exploration::default()
                };
                let learned = self.context.learned.as_ref();
                let known = learned.and_then(|l| l.preference.clone());
                let preference = known.unwrap_or_else(|| Preference::learn(&[]));
                learn::explore(&mut answer, &preference, &how, &self.today)?
            }
        };
        let take: usize = self.arguments.value("take", 0)?;
        if take == 0 {
            list(&answer);
            return Ok(());
        }
        // Checked before anything is kept.
        let taken = answer.choices.get(take - 1);
        let taken = taken.ok_or_else(|| UsageError(format!("--take {take}: not shown")))?;
        println!("taken: {}", line(taken));
        let id = self.store.record_shown(self.user, &shown)?;
        self.store
            .record_choice(self.user, id, take - 1, &self.today)?;
        self.learn()?;
        self.compare(need, &answer)
    }

    fn outcome(&mut self) -> Result<(), Box<dyn Error>> {
        let rating = self.arguments.text("rating");
        let rating = rating.ok_or_else(|| UsageError("--rating is missing".to_owned()))?;
        let rating = rating
            .parse()
            .map_err(|_| UsageError(format!("--rating {rating:?} is no number")))?;
        let known = self.store.of(self.user)?;
        let last = known.chosen.last();
        let last = last.ok_or_else(|| UsageError("nothing was chosen yet".to_owned()))?;
        let outcome = learn::Outcome {
            shown: last.shown,
            rating: Some(rating),
            note: self.arguments.text("note").map(str::to_owned),
            day: self.today.clone(),
        };
        self.store.record_outcome(self.user, &outcome)?;
        self.show()
    }

    /// The answer before and now.
    fn compare(&self, need: &str, before: &Recommendation) -> Result<(), Box<dyn Error>> {
        println!("before:");
        list(before);
        println!("now:");
        let now = recommend_text(need, &self.context)?;
        list(&now);
        let reasons = now.choices.iter().flat_map(|c| &c.reasons);
        let mut told: Vec<&str> = Vec::new();
        for reason in reasons.filter(|r| r.rule.starts_with("learned.")) {
            if !told.contains(&reason.rule.as_str()) {
                told.push(&reason.rule);
                println!("{}: {}", reason.rule, serde_json::to_string(&reason.facts)?);
            }
        }
        Ok(())
    }

    fn show(&mut self) -> Result<(), Box<dyn Error>> {
        self.learn()?;
        let known = self.store.of(self.user)?;
        println!(
            "{}: {} answers, {} choices, {} outcomes, {} reports",
            self.user,
            known.shown.len(),
            known.chosen.len(),
            known.outcomes.len(),
            known.reports.len()
        );
        let learned = self.context.learned.clone().unwrap_or_default();
        for (part, weight) in learned.weights().named() {
            println!("  {part:10} {weight:.3}");
        }
        for kept in &known.reports {
            let report = &kept.report;
            println!("  {} on {}", report.model, report.machine.device);
        }
        for unused in &learned.corrections.unused {
            println!("  report {} is not used: {}", unused.report, unused.because);
        }
        Ok(())
    }
}

fn list(answer: &Recommendation) {
    for (i, choice) in answer.choices.iter().enumerate() {
        println!("  {}. {}", i + 1, line(choice));
    }
}

fn line(c: &Choice) -> String {
    let amount = |i: Option<mistral_core::recommendation::Interval>, unit: &str| {
        i.map_or("?".to_owned(), |i| {
            format!("{:.1} ({:.1} to {:.1}) {unit}", i.value, i.lo, i.hi)
        })
    };
    let place = match (&c.device, c.precision) {
        (Some(device), Some(precision)) => format!("{} x {device}, {}", c.count, precision.name()),
        _ => "API".to_owned(),
    };
    format!(
        "{:.4} {} on {place}: {}, {}",
        c.score,
        c.model,
        amount(c.predicted.tpot_ms, "ms a token"),
        amount(c.predicted.usd_per_month, "$/month")
    )
}
