//! Reads JSON fields one by one and remembers which were read, so that the rest can be refused.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::error::CoreError;

/// Numbers beyond this can't be a dimension, count or id of any model.
const MAX_INTEGER: u64 = 1 << 40;

/// An object whose fields are asked for by name.
pub(super) struct Fields<'a> {
    file: &'static str,
    prefix: String,
    map: &'a Map<String, Value>,
    read: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(file: &'static str, prefix: &str, map: &'a Map<String, Value>) -> Self {
        Fields {
            file,
            prefix: prefix.to_owned(),
            map,
            read: RefCell::new(BTreeSet::new()),
        }
    }

    fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The value under `key`, `None` when absent or null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        let (key, value) = self.map.get_key_value(key)?;
        self.read.borrow_mut().insert(key);
        (!value.is_null()).then_some(value)
    }

    /// Whether the field stands there, null included.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub(super) fn missing(&self, key: &str) -> CoreError {
        CoreError::MissingField {
            file: self.file,
            field: self.path(key),
        }
    }

    pub(super) fn unsupported(&self, key: &str, found: &Value) -> CoreError {
        CoreError::UnsupportedField {
            file: self.file,
            field: self.path(key),
            found: shorten(found),
        }
    }

    fn wrong(&self, key: &str, expected: &'static str, found: &Value) -> CoreError {
        CoreError::WrongType {
            file: self.file,
            field: self.path(key),
            expected,
            found: shorten(found),
        }
    }

    pub(super) fn usize_opt(&self, key: &str) -> Result<Option<usize>, CoreError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.as_u64().filter(|n| *n <= MAX_INTEGER);
        let number = number.and_then(|n| usize::try_from(n).ok());
        match number {
            Some(n) => Ok(Some(n)),
            None => Err(self.wrong(key, "a whole number from 0 to 2^40", value)),
        }
    }

    pub(super) fn usize(&self, key: &str) -> Result<usize, CoreError> {
        self.usize_opt(key)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn usize_or(&self, key: &str, default: usize) -> Result<usize, CoreError> {
        Ok(self.usize_opt(key)?.unwrap_or(default))
    }

    pub(super) fn f64_opt(&self, key: &str) -> Result<Option<f64>, CoreError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.as_f64().filter(|x| x.is_finite()) {
            Some(x) => Ok(Some(x)),
            None => Err(self.wrong(key, "a finite number", value)),
        }
    }

    pub(super) fn f64(&self, key: &str) -> Result<f64, CoreError> {
        self.f64_opt(key)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn f64_or(&self, key: &str, default: f64) -> Result<f64, CoreError> {
        Ok(self.f64_opt(key)?.unwrap_or(default))
    }

    pub(super) fn bool_or(&self, key: &str, default: bool) -> Result<bool, CoreError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.wrong(key, "true or false", value)),
        }
    }

    pub(super) fn str_opt(&self, key: &str) -> Result<Option<&'a str>, CoreError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value
                .as_str()
                .map(Some)
                .ok_or_else(|| self.wrong(key, "text", value)),
        }
    }

    pub(super) fn object_opt(&self, key: &str) -> Result<Option<Fields<'a>>, CoreError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields::new(
                self.file,
                &format!("{}{key}.", self.prefix),
                map,
            ))),
            Some(value) => Err(self.wrong(key, "an object", value)),
        }
    }

    /// A list with exactly `len` entries.
    pub(super) fn list_opt(&self, key: &str, len: usize) -> Result<Option<&'a [Value]>, CoreError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(list)) if list.len() == len => Ok(Some(list)),
            Some(value) => Err(self.wrong(key, "a list with one entry a layer", value)),
        }
    }

    /// A list of one whole number a layer.
    pub(super) fn usize_list_opt(
        &self,
        key: &str,
        len: usize,
    ) -> Result<Option<Vec<usize>>, CoreError> {
        let Some(list) = self.list_opt(key, len)? else {
            return Ok(None);
        };
        let numbers: Option<Vec<usize>> = list
            .iter()
            .map(|v| v.as_u64().and_then(|n| usize::try_from(n).ok()))
            .collect();
        match numbers {
            Some(n) => Ok(Some(n)),
            None => Err(self.wrong(key, "a list of whole numbers", &Value::from(list))),
        }
    }

    /// One id, a list of ids, or nothing.
    pub(super) fn token_ids(&self, key: &str) -> Result<Vec<u32>, CoreError> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let ids: Option<Vec<u32>> = match value {
            Value::Array(list) if list.len() <= 64 => list.iter().map(id).collect(),
            other => id(other).map(|x| vec![x]),
        };
        ids.ok_or_else(|| self.wrong(key, "a token id or a list of them", value))
    }

    /// Refuses any value of `key` but `allowed`; absent and null pass.
    pub(super) fn only(&self, key: &str, allowed: &Value) -> Result<(), CoreError> {
        match self.get(key) {
            Some(value) if !same(value, allowed) => Err(self.unsupported(key, value)),
            _ => Ok(()),
        }
    }

    /// Marks fields as read that never change the numbers.
    pub(super) fn ignore(&self, keys: &[&str]) {
        for key in keys {
            self.get(key);
        }
    }

    /// Refuses every field that wasn't read, unless it says nothing: null, false, or private.
    pub(super) fn finish(&self) -> Result<(), CoreError> {
        let read = self.read.borrow();
        for (key, value) in self.map {
            let says_nothing =
                value.is_null() || *value == Value::Bool(false) || key.starts_with('_');
            if !says_nothing && !read.contains(key.as_str()) {
                return Err(self.unsupported(key, value));
            }
        }
        Ok(())
    }
}

/// Equality that doesn't tell 1 from 1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(x), Some(y)) => x == y,
        _ => a == b,
    }
}

/// A value in at most 60 characters.
fn shorten(value: &Value) -> String {
    let text = match value {
        Value::Array(list) if list.len() > 8 => format!("a list of {} entries", list.len()),
        Value::Object(map) if map.len() > 4 => format!("an object of {} fields", map.len()),
        other => other.to_string(),
    };
    if text.chars().count() <= 60 {
        return text;
    }
    text.chars().take(57).chain("...".chars()).collect()
}

/// Parses a file whose whole content is one object.
pub(super) fn parse_object(
    file: &'static str,
    text: &str,
) -> Result<Map<String, Value>, CoreError> {
    serde_json::from_str(text).map_err(|source| CoreError::Json { file, source })
}
