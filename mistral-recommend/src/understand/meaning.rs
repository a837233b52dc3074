//! What an amount means.

use mistral_core::need::Need;

use super::Notes;
use super::amounts::{Amount, Around, Period, period_per_month};
use super::pieces::Piece;
use crate::RecommendError;

/// US dollars a euro and a pound, rounded; the rate is among the assumptions.
const USD_PER_EUR: f64 = 1.15;
const USD_PER_GBP: f64 = 1.33;
/// Tokens of a page of text.
const TOKENS_PER_PAGE: f64 = 600.0;
/// Tokens of a word of English or French prose.
const TOKENS_PER_WORD: f64 = 1.35;
/// Tokens of the longest sequence that can be meant.
const MOST_TOKENS: f64 = 1e8;
/// Pages of the longest document; more are a pile of documents.
const MOST_PAGES: f64 = 5000.0;

const MONEY: &[&str] = &[
    "$", "€", "£", "eur", "euro", "euros", "usd", "dollar", "dollars", "bucks", "gbp", "pounds",
];
/// Money that no rate is kept for: guessing one would move a limit.
const OTHER_MONEY: &[&str] = &[
    "¥", "₹", "chf", "francs", "yen", "jpy", "yuan", "rmb", "cny", "inr", "rupees", "cad", "aud",
    "sek", "nok", "dkk", "pln", "krw", "brl",
];
const TIME: &[&str] = &[
    "ms",
    "millisecond",
    "milliseconds",
    "millisecondes",
    "s",
    "sec",
    "secs",
    "second",
    "seconds",
    "seconde",
    "secondes",
    "minute",
    "minutes",
    "min",
];
const TOKENS: &[&str] = &["token", "tokens", "tok", "tks", "jeton", "jetons"];
const WORDS: &[&str] = &["words", "mots"];
const PEOPLE: &[&str] = &[
    "user",
    "users",
    "people",
    "person",
    "persons",
    "employees",
    "employee",
    "developers",
    "devs",
    "developer",
    "engineers",
    "customers",
    "clients",
    "students",
    "colleagues",
    "seats",
    "agents",
    "readers",
    "analysts",
    "lawyers",
    "doctors",
    "utilisateur",
    "utilisateurs",
    "utilisatrices",
    "personnes",
    "employes",
    "salaries",
    "developpeurs",
    "ingenieurs",
    "collegues",
    "collaborateurs",
    "etudiants",
    "eleves",
    "conseillers",
    "visiteurs",
    "visitors",
    "players",
    "operators",
];
const REQUESTS: &[&str] = &[
    "request",
    "requests",
    "req",
    "reqs",
    "queries",
    "query",
    "calls",
    "messages",
    "conversations",
    "chats",
    "tickets",
    "emails",
    "mails",
    "questions",
    "prompts",
    "documents",
    "docs",
    "invoices",
    "requetes",
    "appels",
    "courriels",
    "demandes",
    "factures",
    "completions",
    "pages",
    "images",
    "scans",
    "sessions",
    "streams",
    "comments",
    "commentaires",
    "posts",
    "reviews",
    "articles",
    "records",
    "items",
    "letters",
    "reports",
    "contracts",
];
const AT_ONCE: &[&str] = &[
    "concurrent",
    "concurrently",
    "simultaneous",
    "simultaneously",
    "parallel",
    "once",
    "simultanes",
    "simultanees",
    "simultane",
    "simultanement",
    "parallele",
    "concurrents",
    "concurrence",
    "concurrency",
    "time",
    "fois",
    "temps",
];

/// Puts an amount where it belongs in the need; `Ok(false)` when it isn't understood.
pub(super) fn place(
    amount: &Amount,
    pieces: &[Piece],
    need: &mut Need,
    notes: &mut Notes,
) -> Result<bool, RecommendError> {
    let around = Around::of(pieces, amount);
    let unit = amount.unit.as_str();
    if OTHER_MONEY.contains(&unit) {
        return Err(RecommendError::UnknownCurrency {
            name: unit.to_owned(),
        });
    }
    if MONEY.contains(&unit) || is_bare_budget(amount, &around) {
        return money(amount, &around, need, notes).map(|()| true);
    }
    let counts_tokens = TOKENS.contains(&unit) || TOKENS.contains(&first(&around));
    let counts_requests = REQUESTS.contains(&unit) || REQUESTS.contains(&first(&around));
    let counts_people = PEOPLE.contains(&unit)
        || (AT_ONCE.contains(&unit) || unit.len() > 3) && around.follows(PEOPLE, 2);
    if amount.negative {
        let meant = counts_tokens || counts_requests || counts_people || TIME.contains(&unit);
        return if meant {
            Err(negative("an amount", amount))
        } else {
            Ok(false)
        };
    }
    // `5 millions de mots` has its unit one word on.
    if WORDS.contains(&unit) || matches!(unit, "de" | "of" | "d") && around.follows(WORDS, 1) {
        return words(amount, &around, need, notes).map(|()| true);
    }
    if matches!(unit, "page" | "pages") && pages(amount, &around, need, notes) {
        return Ok(true);
    }
    let counted = counts_requests && !TOKENS.contains(&unit) && !TIME.contains(&unit);
    if matches!(unit, "rps" | "qps") || counted {
        return requests(amount, &around, need);
    }
    if TIME.contains(&unit) {
        return Ok(time(amount, &around, need));
    }
    if counts_tokens
        || matches!(unit, "tps" | "t" | "tok/s")
        || (unit.is_empty() || unit == "context" || unit == "contexte")
            && around_tokens(amount, &around)
    {
        return tokens(amount, &around, need).map(|()| true);
    }
    // `500 tokens in and 100 out`: what is counted was said before.
    if matches!(unit, "out" | "output" | "sortie") && need.load.prompt_tokens.is_some() {
        need.load.output_tokens = Some(token_count(amount)?);
        return Ok(true);
    }
    if counts_people {
        return people(amount, unit, &around, need);
    }
    if matches!(unit, "concurrent" | "simultaneous" | "parallel") {
        need.load.concurrency = Some(count(amount.value, "load.concurrency")?);
        return Ok(true);
    }
    if comes_again(unit, &around) && need.load.requests_per_day.is_none() {
        return requests(amount, &around, need);
    }
    Ok(false)
}

/// `letters, 2000 per day`, `100 tweets per second`: whatever comes so often is a request, unless
/// it is measured rather than counted.
fn comes_again(unit: &str, around: &Around<'_>) -> bool {
    const MEASURES: &[&str] = &[
        "gb", "go", "tb", "to", "mb", "mo", "kb", "ko", "%", "kwh", "w",
    ];
    let counted = !MEASURES.contains(&unit) && Period::of(unit).is_none();
    counted && period_per_month(around).is_some()
}

fn negative(field: &'static str, amount: &Amount) -> RecommendError {
    RecommendError::OutOfRange {
        field,
        expected: "0 or more",
        found: -amount.value,
    }
}

/// `a budget of 500 per month`: money without its currency.
fn is_bare_budget(amount: &Amount, around: &Around<'_>) -> bool {
    let said = ["budget", "spend", "pay", "depenser"];
    let near = around.before.iter().take(3).any(|w| said.contains(w));
    let plain = matches!(
        amount.unit.as_str(),
        "" | "per" | "a" | "par" | "month" | "mois" | "monthly" | "max" | "maximum"
    );
    near && plain
}

/// Documents of so many pages; more than any has, or so many a day, aren't a length.
fn pages(amount: &Amount, around: &Around<'_>, need: &mut Need, notes: &mut Notes) -> bool {
    if period_per_month(around).is_some() || amount.value > MOST_PAGES {
        return false;
    }
    let tokens = amount.value * TOKENS_PER_PAGE * 1.2;
    need.context_tokens = need.context_tokens.max(Some(tokens as u32));
    let value = format!("{tokens} (pages of {TOKENS_PER_PAGE} tokens)");
    notes.assume("context_tokens", &value);
    true
}

fn first<'a>(around: &Around<'a>) -> &'a str {
    around.after.first().copied().unwrap_or_default()
}

fn money(
    amount: &Amount,
    around: &Around<'_>,
    need: &mut Need,
    notes: &mut Notes,
) -> Result<(), RecommendError> {
    if amount.negative {
        return Err(negative("budget", amount));
    }
    let usd = amount.value * usd_rate(amount, notes);
    let after = |words: &[&str], within: usize| around.follows(words, within);
    let limit = |old: Option<f64>, new: f64| Some(old.map_or(new, |o| o.min(new)));
    let budget = &mut need.budget;
    let tokens = ["mtok", "mtoks", "million", "millions", "tokens", "jetons"];
    if after(&tokens, 5) {
        let thousand = after(&["ktok"], 3);
        let each = if thousand { usd * 1e3 } else { usd };
        budget.usd_per_mtok = limit(budget.usd_per_mtok, each);
        return Ok(());
    }
    let per = after(&["per", "a", "/", "par", "each"], 1);
    if per
        && after(
            &[
                "user",
                "seat",
                "utilisateur",
                "person",
                "personne",
                "employee",
            ],
            2,
        )
    {
        notes.usd_per_user_and_month =
            Some(usd * period_per_month(around).map_or(1.0, Period::per_month));
        return Ok(());
    }
    // `per month` may stand as the unit of an amount without a currency.
    let period = period_per_month(around).or(Period::of(&amount.unit));
    match period {
        Some(Period::Hour) => budget.usd_per_hour = limit(budget.usd_per_hour, usd),
        Some(p) => budget.usd_per_month = limit(budget.usd_per_month, usd * p.per_month()),
        None => {
            budget.usd_per_month = limit(budget.usd_per_month, usd);
            let said_before = around.has(&["monthly", "mensuel", "month", "mois"]);
            if !said_before {
                notes.assume("budget.period", "month");
            }
        }
    }
    Ok(())
}

/// US dollars one of the amount's currency is worth, among the assumptions unless it is the dollar.
fn usd_rate(amount: &Amount, notes: &mut Notes) -> f64 {
    let (rate, name) = match amount.unit.as_str() {
        "€" | "eur" | "euro" | "euros" => (USD_PER_EUR, "usd_per_eur"),
        "£" | "gbp" | "pounds" => (USD_PER_GBP, "usd_per_gbp"),
        unit if MONEY.contains(&unit) => return 1.0,
        _ => {
            notes.assume("budget.currency", "usd");
            return 1.0;
        }
    };
    notes.assume(name, &rate.to_string());
    rate
}

/// Words that make a time the whole answer's.
const WHOLE: &[&str] = &[
    "answer",
    "answers",
    "complete",
    "completes",
    "full",
    "entire",
    "whole",
    "finish",
    "finished",
    "done",
    "entiere",
    "totale",
    "total",
];
/// Words that make a time the one until an answer begins, whatever else is said of it.
const BEGIN: &[&str] = &[
    "start",
    "starts",
    "starting",
    "begin",
    "begins",
    "beginning",
    "appear",
    "appears",
    "commence",
    "commencent",
    "commencer",
    "debut",
    "debute",
    "debutent",
    "demarre",
    "demarrer",
];
/// Words that make a time a limit on the wait.
const WAIT: &[&str] = &[
    "latency",
    "latence",
    "respond",
    "responds",
    "response",
    "responses",
    "reply",
    "replies",
    "reponse",
    "reponses",
    "repondre",
    "repond",
    "start",
    "under",
    "below",
    "within",
    "less",
    "than",
    "moins",
    "sous",
    "max",
    "maximum",
    "<",
    "wait",
    "attente",
    "p95",
    "p99",
    "p50",
    "fast",
    "delai",
    "first",
    "premier",
    "inferieure",
    "at",
    "most",
];

fn time(amount: &Amount, around: &Around<'_>, need: &mut Need) -> bool {
    let ms = match amount.unit.as_str() {
        "ms" | "millisecond" | "milliseconds" | "millisecondes" => amount.value,
        "minute" | "minutes" | "min" => amount.value * 60e3,
        _ => amount.value * 1e3,
    };
    let latency = &mut need.latency;
    let token = around.has(&["token", "jeton", "tokens"]);
    let each = around.has(&["per", "par", "between", "entre", "each", "/"]);
    let place = if around.has(&["ttft"]) || token && around.has(&["first", "premier", "1st"]) {
        &mut latency.ttft_ms
    } else if around.has(&["tpot", "itl"]) || token && each {
        &mut latency.tpot_ms
    } else if around.has(BEGIN) {
        &mut latency.ttft_ms
    } else if around.has(WHOLE) {
        &mut latency.answer_ms
    } else if around.has(WAIT) {
        &mut latency.ttft_ms
    } else {
        return false;
    };
    *place = Some(place.map_or(ms, |old| old.min(ms)));
    true
}

fn around_tokens(amount: &Amount, around: &Around<'_>) -> bool {
    let window = ["context", "contexte", "window", "fenetre", "sequence"];
    matches!(amount.unit.as_str(), "context" | "contexte")
        || first(around) == "token"
        || TOKENS.contains(&first(around))
        || (amount.kilo || amount.value >= 1024.0)
            && (around.follows(&window, 3)
                || around.before.iter().take(3).any(|w| window.contains(w)))
}

/// Words of prose as the tokens that they are.
fn words(
    amount: &Amount,
    around: &Around<'_>,
    need: &mut Need,
    notes: &mut Notes,
) -> Result<(), RecommendError> {
    notes.assume("tokens_per_word", &TOKENS_PER_WORD.to_string());
    let counted = Amount {
        value: amount.value * TOKENS_PER_WORD,
        kilo: false,
        ..amount.clone()
    };
    tokens(&counted, around, need)
}

/// Words that make tokens those of a prompt.
const PROMPT: &[&str] = &[
    "prompt",
    "prompts",
    "input",
    "inputs",
    "entree",
    "entrees",
    "in",
    "question",
    "questions",
    "invite",
    "invites",
];
/// Words that make tokens those of an answer.
const ANSWER: &[&str] = &[
    "output",
    "outputs",
    "answer",
    "answers",
    "reply",
    "replies",
    "sortie",
    "sorties",
    "reponse",
    "reponses",
    "generated",
    "generate",
    "out",
    "completion",
    "completions",
];

fn tokens(amount: &Amount, around: &Around<'_>, need: &mut Need) -> Result<(), RecommendError> {
    let rate = matches!(amount.unit.as_str(), "tps" | "t" | "tok/s")
        || matches!(period_per_month(around), Some(Period::Second));
    if rate {
        let each = around.has(&[
            "user",
            "users",
            "utilisateur",
            "each",
            "stream",
            "request",
            "chacun",
            "session",
            "person",
        ]);
        let all = around.has(&[
            "total",
            "overall",
            "aggregate",
            "throughput",
            "debit",
            "combined",
            "altogether",
        ]);
        if all && !each {
            need.latency.tokens_per_s =
                Some(amount.value.max(need.latency.tokens_per_s.unwrap_or(0.0)));
        } else if amount.value > 0.0 {
            let ms = 1e3 / amount.value;
            need.latency.tpot_ms = Some(need.latency.tpot_ms.map_or(ms, |o| o.min(ms)));
        }
        return Ok(());
    }
    if let Some(period) = period_per_month(around) {
        need.load.tokens_per_month = Some(amount.value * period.per_month());
        return Ok(());
    }
    let n = token_count(amount)?;
    // `500 input tokens` has its kind where a unit stands.
    let said = |words: &[&str]| around.has(words) || words.contains(&amount.unit.as_str());
    if said(PROMPT) {
        need.load.prompt_tokens = Some(n);
    } else if said(ANSWER) {
        need.load.output_tokens = Some(n);
    } else {
        need.context_tokens = need.context_tokens.max(Some(n));
    }
    Ok(())
}

/// `32k` tokens are 32768, `30k` are 30000: multiples of 1024 where the count of thousands is a
/// power of two.
fn token_count(amount: &Amount) -> Result<u32, RecommendError> {
    let thousands = amount.value / 1e3;
    let power = thousands.fract() == 0.0
        && (1.0..=1024.0).contains(&thousands)
        && (thousands as u32).is_power_of_two();
    let n = if amount.kilo && power {
        thousands * 1024.0
    } else {
        amount.value
    };
    if n <= MOST_TOKENS {
        Ok(n as u32)
    } else {
        Err(RecommendError::OutOfRange {
            field: "tokens",
            expected: "at most 1e8",
            found: amount.value,
        })
    }
}

fn requests(amount: &Amount, around: &Around<'_>, need: &mut Need) -> Result<bool, RecommendError> {
    if around.has(AT_ONCE) && period_per_month(around).is_none()
        || AT_ONCE.contains(&amount.unit.as_str())
    {
        need.load.concurrency = Some(count(amount.value, "load.concurrency")?);
        return Ok(true);
    }
    let period = match amount.unit.as_str() {
        "rps" | "qps" => Some(Period::Second),
        _ => period_per_month(around),
    };
    let Some(period) = period else {
        return Ok(false);
    };
    if period == Period::Second {
        need.load.requests_per_s = Some(positive(amount.value, "load.requests_per_s")?);
        return Ok(true);
    }
    let a_day = amount.value * period.per_month() / Period::Day.per_month();
    need.load.requests_per_day = Some(positive(a_day, "load.requests_per_day")?);
    Ok(true)
}

fn positive(value: f64, field: &'static str) -> Result<f64, RecommendError> {
    if value > 0.0 && value <= 1e12 {
        Ok(value)
    } else {
        Err(RecommendError::OutOfRange {
            field,
            expected: "more than 0, at most 1e12",
            found: value,
        })
    }
}

fn people(
    amount: &Amount,
    unit: &str,
    around: &Around<'_>,
    need: &mut Need,
) -> Result<bool, RecommendError> {
    let at_once = around.has(AT_ONCE) || AT_ONCE.contains(&unit);
    if at_once {
        need.load.concurrency = Some(count(amount.value, "load.concurrency")?);
    } else {
        need.load.users = Some(count(amount.value, "load.users")?);
    }
    Ok(true)
}

/// A count of people or requests that can be meant.
fn count(value: f64, field: &'static str) -> Result<u32, RecommendError> {
    if (1.0..=1e9).contains(&value) {
        Ok(value.ceil() as u32)
    } else {
        Err(RecommendError::OutOfRange {
            field,
            expected: "1 to 1e9",
            found: value,
        })
    }
}
