//! A request's fields, each read with its type and range checked and named in errors.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::ApiError;

/// The fields of a request. A field that is `null` counts as absent.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'r>(pub &'r Map<String, Value>);

impl<'r> Fields<'r> {
    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'r Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A number within a range.
    ///
    /// # Errors
    /// [`ApiError::invalid`] for anything else.
    pub fn number(
        &self,
        name: &'static str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.as_f64().filter(|number| range.contains(number)) {
            // Fields are settings of single precision; what is lost is below their meaning.
            Some(number) => Ok(Some(number as f32)),
            None => {
                let (low, high) = (range.start(), range.end());
                let message = format!(
                    "expected a number from {low} to {high}, found {}",
                    short(value)
                );
                Err(ApiError::invalid(name, message))
            }
        }
    }

    /// A whole number within a range.
    ///
    /// # Errors
    /// [`ApiError::invalid`] for anything else.
    pub fn count(
        &self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<usize>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let count = value.as_u64().filter(|count| range.contains(count));
        match count.and_then(|count| usize::try_from(count).ok()) {
            Some(count) => Ok(Some(count)),
            None => {
                let (low, high) = (range.start(), range.end());
                let message = format!(
                    "expected a whole number from {low} to {high}, found {}",
                    short(value)
                );
                Err(ApiError::invalid(name, message))
            }
        }
    }

    /// A yes or a no; absent is no.
    ///
    /// # Errors
    /// [`ApiError::invalid`] for anything else.
    pub fn flag(&self, name: &'static str) -> Result<bool, ApiError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => {
                let message = format!("expected true or false, found {}", short(other));
                Err(ApiError::invalid(name, message))
            }
        }
    }

    /// A text.
    ///
    /// # Errors
    /// [`ApiError::invalid`] for anything else.
    pub fn text(&self, name: &'static str) -> Result<Option<&'r str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => {
                let message = format!("expected a text, found {}", short(other));
                Err(ApiError::invalid(name, message))
            }
        }
    }

    /// Refuses a field that asks for something this server doesn't do: any value but `idle` ones.
    ///
    /// # Errors
    /// [`ApiError::unsupported`] with the field's name.
    pub fn refuse(&self, name: &'static str, idle: &[Value]) -> Result<(), ApiError> {
        match self.get(name) {
            Some(value) if !idle.contains(value) => {
                let message = format!("this server does not support {}", short(value));
                Err(ApiError::unsupported(name, message))
            }
            _ => Ok(()),
        }
    }
}

/// A value's JSON, cut so that a message stays readable.
fn short(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST).chain("…".chars()).collect()
}
