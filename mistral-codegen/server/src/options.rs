//! The fields that chat and completion requests share.

use std::hash::{BuildHasher, RandomState};

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::backend::{Form, Sampling};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::plan;

/// Bounds on stop texts: beyond them a request is a mistake or an attack.
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 1024;

/// What a request asks for besides its prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether a stream ends with a count of tokens.
    pub include_usage: bool,
    /// Most tokens to generate, when the request says.
    pub max_tokens: Option<usize>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The request's seed, or one drawn for it.
    pub seed: u64,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// What the answer has to be.
    pub form: Form,
}

impl Options {
    /// Reads and checks the fields.
    ///
    /// # Errors
    /// [`ApiError`] for the first field with a wrong type or range, or that asks for something
    /// that this server doesn't do.
    pub fn read(fields: Fields<'_>) -> Result<Self, ApiError> {
        check_model(fields)?;
        fields.refuse("n", &[json!(1)])?;
        fields.refuse("best_of", &[json!(1)])?;
        fields.refuse("logit_bias", &[json!({})])?;
        fields.refuse("logprobs", &[json!(false)])?;
        fields.refuse("top_logprobs", &[json!(0)])?;
        let stream = fields.flag("stream")?;
        let include_usage = match fields.get("stream_options") {
            None => false,
            Some(Value::Object(options)) => Fields(options).flag("include_usage")?,
            Some(_) => return Err(ApiError::invalid("stream_options", "expected an object")),
        };
        let most = 1..=u64::from(u32::MAX);
        // The newer name of the same limit comes first.
        let max_tokens = match fields.count("max_completion_tokens", most.clone())? {
            Some(tokens) => Some(tokens),
            None => fields.count("max_tokens", most)?,
        };
        Ok(Self {
            stream,
            include_usage,
            max_tokens,
            sampling: sampling(fields)?,
            seed: seed(fields)?,
            stop: stops(fields)?,
            form: form(fields)?,
        })
    }
}

fn check_model(fields: Fields<'_>) -> Result<(), ApiError> {
    match fields.text("model")? {
        None | Some(plan::SERVED_NAME) => Ok(()),
        Some(other) => {
            let other: String = other.chars().take(80).collect();
            let message = format!(
                "no model {other:?} here: this server has {:?}",
                plan::SERVED_NAME
            );
            let error = ApiError::request(StatusCode::NOT_FOUND, "model_not_found", message);
            Err(ApiError {
                param: Some("model"),
                ..error
            })
        }
    }
}

fn sampling(fields: Fields<'_>) -> Result<Sampling, ApiError> {
    let penalty = |name| Ok::<f32, ApiError>(fields.number(name, -2.0..=2.0)?.unwrap_or(0.0));
    let top_k = fields.count("top_k", 0..=u64::from(u32::MAX))?;
    Ok(Sampling {
        temperature: fields
            .number("temperature", 0.0..=2.0)?
            .unwrap_or(plan::TEMPERATURE),
        top_p: fields
            .number("top_p", f64::from(f32::MIN_POSITIVE)..=1.0)?
            .unwrap_or(plan::TOP_P),
        top_k: top_k.unwrap_or(plan::TOP_K),
        min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(plan::MIN_P),
        repetition_penalty: fields
            .number("repetition_penalty", 0.1..=10.0)?
            .unwrap_or(1.0),
        frequency_penalty: penalty("frequency_penalty")?,
        presence_penalty: penalty("presence_penalty")?,
    })
}

fn seed(fields: Fields<'_>) -> Result<u64, ApiError> {
    match fields.get("seed").or_else(|| fields.get("random_seed")) {
        // A signed seed is taken by its bits: the same number gives the same answer.
        Some(value) => value
            .as_u64()
            .or_else(|| value.as_i64().map(i64::cast_unsigned))
            .ok_or_else(|| ApiError::invalid("seed", "expected a whole number of 64 bits")),
        None => Ok(plan::SEED.unwrap_or_else(random)),
    }
}

/// A number that clients can't foresee; the standard library draws the hasher's keys at random.
#[must_use]
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

fn stops(fields: Fields<'_>) -> Result<Vec<String>, ApiError> {
    let refused = || {
        let message =
            format!("expected at most {MAX_STOPS} texts of 1 to {MAX_STOP_BYTES} bytes each");
        ApiError::invalid("stop", message)
    };
    let stops: Vec<String> = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(texts)) => {
            let texts: Option<Vec<_>> = texts
                .iter()
                .map(|text| text.as_str().map(str::to_owned))
                .collect();
            texts.ok_or_else(refused)?
        }
        Some(_) => return Err(refused()),
    };
    let fits = |text: &String| (1..=MAX_STOP_BYTES).contains(&text.len());
    if stops.len() > MAX_STOPS || !stops.iter().all(fits) {
        return Err(refused());
    }
    Ok(stops)
}

/// The form that `response_format` asks for.
fn form(fields: Fields<'_>) -> Result<Form, ApiError> {
    let refused = |message: &str| Err(ApiError::invalid("response_format", message));
    let format = match fields.get("response_format") {
        None => return Ok(Form::Free),
        Some(Value::Object(format)) => Fields(format),
        Some(_) => return refused("expected an object"),
    };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Form::Free),
        Some("json_object") => Ok(Form::Object),
        Some("json_schema") => match format.get("json_schema").map(|named| &named["schema"]) {
            Some(schema @ Value::Object(_)) => Ok(Form::Schema(schema.clone())),
            _ => refused("expected an object in json_schema.schema"),
        },
        _ => refused("expected the type text, json_object or json_schema"),
    }
}
