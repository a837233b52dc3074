//! Clients of Mistral's hosted API and of servers that speak as it does.
//!
//! Each client's sources lie in `clients/` and are the same for every plan; what a plan decides is
//! in one file of constants and the README.

/// Files of a folder of `clients/`, and where a project has them.
macro_rules! sources {
    ($folder:literal, $to:literal: $($name:literal),* $(,)?) => {
        &[$(Source {
            path: concat!($to, $name),
            text: include_str!(concat!("../../../clients/", $folder, "/", $name)),
            mode: FileMode::Plain,
        }),*]
    };
}

pub(crate) mod curl;
pub(crate) mod python;
pub(crate) mod rust;
pub(crate) mod typescript;

use minijinja::{Value, context};
use mistral_core::catalog::{ApiPrice, Catalog};
use mistral_core::files::{FileMode, FileSet, GeneratedFile, RelativePath};
use mistral_core::plan::{Plan, Runtime};

use super::{engine, shown, unsupported};
use crate::{CodegenError, Options};

/// Where Mistral's API is (servers and paths of its OpenAPI document).
const HOSTED_URL: &str = "https://api.mistral.ai/v1";
/// Most tokens of an answer when the plan doesn't say: a bound that costs can be computed with.
const MAX_TOKENS: u32 = 1024;
/// Largest whole number that readers of JSON keep who hold numbers as doubles (RFC 8259, section 6).
const LARGEST_SEED: u64 = (1 << 53) - 1;
/// Dollars that a run may spend when nobody says.
const USD_LIMIT: f64 = 1.0;

/// What every client is made of, checked.
struct Facts {
    model: String,
    base_url: String,
    /// `mistral` or `openai`.
    dialect: &'static str,
    key_env: Option<String>,
    max_tokens: u32,
    price: Price,
    usd_limit: f64,
}

/// Dollars a million tokens, and where they are written.
struct Price {
    input: f64,
    output: f64,
    source: String,
}

/// The plan's facts for a client.
///
/// # Errors
/// [`CodegenError::Unsupported`] for what the server can't be asked for, and for a model whose
/// price isn't known.
fn facts(target: &'static str, plan: &Plan, options: &Options) -> Result<Facts, CodegenError> {
    let serving = engine::serving(target, plan)?;
    let hosted = plan.runtime == Runtime::MistralApi;
    sampling(target, plan, hosted)?;
    if plan.sampling.seed.is_some_and(|seed| seed > LARGEST_SEED) {
        let expected = format!("at most {LARGEST_SEED}, which every JSON reader keeps");
        return Err(unsupported(target, "sampling.seed", "larger", &expected));
    }
    let max_tokens = plan.limits.max_output_tokens.unwrap_or(MAX_TOKENS);
    if max_tokens == 0 {
        let field = "limits.max_output_tokens";
        return Err(unsupported(target, field, 0, "at least 1"));
    }
    let (base_url, dialect) = match hosted {
        true => (HOSTED_URL.to_owned(), "mistral"),
        false => {
            let host = engine::client_host(serving.bind);
            (format!("http://{host}:{}/v1", serving.port), "openai")
        }
    };
    Ok(Facts {
        model: model(plan, hosted),
        base_url,
        dialect,
        key_env: serving.key_env,
        max_tokens,
        price: price(target, plan, options, hosted)?,
        usd_limit: usd_limit(target, plan, options)?,
    })
}

/// Numbers that the server would refuse, and settings that the hosted API doesn't have.
fn sampling(target: &'static str, plan: &Plan, hosted: bool) -> Result<(), CodegenError> {
    let s = &plan.sampling;
    let hottest = if hosted { 1.5 } else { 2.0 };
    for (field, value, most) in [
        ("sampling.temperature", s.temperature, hottest),
        ("sampling.top_p", s.top_p, 1.0),
    ] {
        if !(0.0..=most).contains(&value) {
            let expected = format!("a number from 0 to {most}");
            return Err(unsupported(target, field, value, &expected));
        }
    }
    let expected = "0, since the API has no such setting";
    if hosted && s.top_k != 0 {
        return Err(unsupported(target, "sampling.top_k", s.top_k, expected));
    }
    if hosted && s.min_p != 0.0 {
        return Err(unsupported(target, "sampling.min_p", s.min_p, expected));
    }
    Ok(())
}

/// The name that the server knows the model by.
fn model(plan: &Plan, hosted: bool) -> String {
    let listed = || {
        let names = Catalog::embedded()
            .get(&plan.model.id)?
            .api_names
            .as_ref()?;
        names.value.first().cloned()
    };
    let said = plan.serve.served_name.clone();
    said.or_else(|| hosted.then(listed).flatten())
        .unwrap_or_else(|| plan.model.id.clone())
}

fn price(
    target: &'static str,
    plan: &Plan,
    options: &Options,
    hosted: bool,
) -> Result<Price, CodegenError> {
    if !hosted {
        return Ok(Price {
            input: 0.0,
            output: 0.0,
            source: "a server of one's own bills nothing a token".to_owned(),
        });
    }
    let catalog = Catalog::embedded();
    let name = plan.serve.served_name.as_deref();
    let listed = catalog
        .get(&plan.model.id)
        .or_else(|| catalog.find(name?))
        .and_then(|m| m.price.as_ref());
    let (price, source) = match (options.price, listed) {
        (Some(price), _) => (price, "as stated".to_owned()),
        (None, Some(p)) => {
            let date = p.date.as_ref().map(|d| format!(", {d}"));
            let source = format!("{}{}", p.source, date.unwrap_or_default());
            (p.value, source)
        }
        (None, None) => (ApiPrice::default(), String::new()),
    };
    let fine = |usd: f64| (0.0..=1e6).contains(&usd);
    match (price.usd_per_mtok_in, price.usd_per_mtok_out) {
        (Some(input), Some(output)) if fine(input) && fine(output) => Ok(Price {
            input,
            output,
            source,
        }),
        _ => Err(unsupported(
            target,
            "model.id",
            shown(&plan.model.id),
            "a chat model of the catalogue, or its prices a token",
        )),
    }
}

fn usd_limit(target: &'static str, plan: &Plan, options: &Options) -> Result<f64, CodegenError> {
    let month = plan.expected.usd_per_month;
    let (field, usd) = match (options.usd_limit, month) {
        (Some(usd), _) => ("usd_limit", usd),
        (None, Some(usd)) => ("expected.usd_per_month", usd.min(USD_LIMIT)),
        (None, None) => ("usd_limit", USD_LIMIT),
    };
    if (0.0..=1e9).contains(&usd) {
        return Ok(usd);
    }
    let expected = "dollars from 0 to 1e9";
    Err(unsupported(target, field, usd, expected))
}

/// The name that a client of `plan` asks for.
#[cfg(feature = "mock")]
pub(crate) fn asked(plan: &Plan) -> String {
    model(plan, plan.runtime == Runtime::MistralApi)
}

/// Dollars of a prompt token and of the longest answer, where the catalogue has prices above 0.
#[cfg(feature = "mock")]
pub(crate) fn billed(plan: &Plan) -> Option<(f64, f64)> {
    let facts = facts("api", plan, &Options::default()).ok()?;
    let (input, output) = (facts.price.input / 1e6, facts.price.output / 1e6);
    (input > 0.0).then(|| (input, output * f64::from(facts.max_tokens)))
}

/// A number as every language of the clients reads it: with a point, without an exponent. One of
/// single precision keeps its digits, where doubling it first would add some.
fn decimal(number: impl ToString) -> String {
    let text = number.to_string();
    if text.contains('.') {
        text
    } else {
        format!("{text}.0")
    }
}

/// What the README and the constants of every client read.
fn page(plan: &Plan, facts: &Facts) -> Result<Value, CodegenError> {
    let made = |text: String| Value::from_safe_string(text);
    let seed = plan.sampling.seed;
    let reasons: Result<Vec<Value>, CodegenError> =
        plan.reasons.iter().map(engine::reason).collect();
    Ok(context! {
        model => facts.model,
        base_url => facts.base_url,
        dialect => facts.dialect,
        hosted => plan.runtime == Runtime::MistralApi,
        key_env => facts.key_env.clone().map(made),
        max_tokens => facts.max_tokens,
        temperature => made(decimal(plan.sampling.temperature)),
        top_p => made(decimal(plan.sampling.top_p)),
        seed => made(seed.map_or("null".to_owned(), |seed| seed.to_string())),
        usd_per_mtok_in => made(decimal(facts.price.input)),
        usd_per_mtok_out => made(decimal(facts.price.output)),
        price_source => facts.price.source,
        usd_limit => made(decimal(facts.usd_limit)),
        reasons => reasons?,
    })
}

/// A file that is the same for every plan.
struct Source {
    path: &'static str,
    text: &'static str,
    mode: FileMode,
}

/// Adds files that are the same for every plan.
fn add(files: &mut FileSet, sources: &[Source]) -> Result<(), CodegenError> {
    for source in sources {
        files.insert(GeneratedFile {
            path: RelativePath::new(source.path)?,
            contents: source.text.to_owned(),
            mode: source.mode,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        for (number, text) in [
            (0.15, "0.15"),
            (1.0, "1.0"),
            (0.0, "0.0"),
            (1e9, "1000000000.0"),
        ] {
            assert_eq!(decimal(number), text);
        }
        assert_eq!(decimal(0.15f32), "0.15");
        assert!(!decimal(1e-12).contains('e'));
    }
}
