//! Words for readers, in the language of the need: one table of phrases, filled with facts.
//!
//! What is decided here doesn't depend on the language; the table does.

mod amounts;
mod labels;
mod reasons;
mod sentences;
mod table;

use std::collections::BTreeMap;

use mistral_core::reason::Fact;
use mistral_core::recommendation::Choice;

pub(crate) use reasons::because;

use crate::understand::Language;

/// Phrases in one language.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voice(pub(crate) Language);

impl Voice {
    /// The phrase of a key, with its places still open.
    pub(crate) fn find(self, key: &str) -> Option<&'static str> {
        // A few hundred comparisons for a text that a person reads.
        let all = table::PHRASES.iter().chain(labels::LABELS);
        let (_, english, french) = all.into_iter().find(|(k, _, _)| *k == key)?;
        Some(match self.0 {
            Language::English => english,
            Language::French => french,
        })
    }

    /// The phrase of a key; a key that isn't there stands for itself, which a test looks for.
    pub(crate) fn word(self, key: &'static str) -> &'static str {
        self.find(key).unwrap_or(key)
    }

    /// The code of the language, as in `<html lang>`.
    pub(crate) fn code(self) -> &'static str {
        match self.0 {
            Language::English => "en",
            Language::French => "fr",
        }
    }

    /// The phrase of a key with these values in its places.
    pub(crate) fn fill(self, key: &'static str, values: &[(&str, String)]) -> String {
        let value = |name: &str| values.iter().find(|(n, _)| *n == name);
        fill(self.word(key), |_, name| {
            value(name).map_or_else(String::new, |(_, v)| v.clone())
        })
    }

    /// The same from a reason's facts.
    fn tell(self, phrase: &str, facts: &BTreeMap<String, Fact>) -> String {
        fill(phrase, |kind, name| self.show_as(kind, facts.get(name)))
    }

    fn show_as(self, kind: &str, fact: Option<&Fact>) -> String {
        match (kind, fact) {
            ("value", Some(Fact::Text(t))) => self.value(t),
            ("how", Some(Fact::Text(t))) => self.how(t),
            (places, Some(Fact::Number(n))) if !places.is_empty() => {
                self.fixed(*n, usize::from(places == "3") * 2 + 1)
            }
            _ => self.fact(fact),
        }
    }

    /// A value of a fixed list in words; anything else as it is.
    pub(crate) fn value(self, name: &str) -> String {
        let found = self.find(&format!("value.{name}"));
        found.map_or_else(|| name.to_owned(), str::to_owned)
    }

    /// A path of the need in words.
    pub(crate) fn path(self, path: &str) -> String {
        let found = self.find(&format!("path.{path}"));
        found.map_or_else(|| path.to_owned(), str::to_owned)
    }

    /// `q4_k_m on 1 x L4` or `the API`, as [`Lost`](mistral_core::recommendation::Lost) has them.
    fn how(self, how: &str) -> String {
        match how.split_once(" on ") {
            Some((precision, machines)) => self.fill(
                "how.own",
                &[
                    ("precision", precision.to_owned()),
                    ("machines", machines.to_owned()),
                ],
            ),
            None if how == "the API" => self.word("how.api").to_owned(),
            None => how.to_owned(),
        }
    }

    /// A fact.
    pub(crate) fn fact(self, fact: Option<&Fact>) -> String {
        match fact {
            None => self.word("none").to_owned(),
            Some(Fact::Bool(b)) => self.value(if *b { "true" } else { "false" }),
            Some(Fact::Number(n)) => self.short(*n),
            Some(Fact::Text(t)) => t.clone(),
        }
    }

    /// An assumption, `name: value`, in two.
    pub(crate) fn assumption(self, text: &str) -> (String, String) {
        let (name, value) = text.split_once(": ").unwrap_or((text, ""));
        let value = match value.parse::<f64>() {
            Ok(number) => self.short(number),
            Err(_) if value.contains(['(', ' ']) && name != "hardware.device" => {
                self.by_parts(self.value(value))
            }
            Err(_) => self.value(value),
        };
        (self.path(name), value)
    }

    /// What a profile of data fills in, its English parts replaced.
    fn by_parts(self, text: String) -> String {
        let parts = labels::LABELS.iter().filter(|p| p.0.starts_with("part."));
        parts.fold(text, |text, (key, english, _)| {
            text.replace(english, self.word(key))
        })
    }

    /// A source: a document stays what it is called.
    pub(crate) fn source(self, source: &str) -> String {
        let mut own = labels::LABELS.iter().filter(|p| p.0.starts_with("source."));
        let found = own.find(|(_, english, _)| *english == source);
        found
            .map_or(source, |(key, _, _)| self.word(key))
            .to_owned()
    }

    /// The message of an error: the error's own words where the table has none.
    pub(crate) fn error(self, code: &str, message: &str) -> String {
        match self.find(&format!("error.{code}")) {
            Some(words) if !words.is_empty() => words.to_owned(),
            _ => message.to_owned(),
        }
    }

    /// All phrases whose keys begin so, by the rest of their keys.
    pub(crate) fn all(self, prefix: &str) -> BTreeMap<&'static str, &'static str> {
        let all = table::PHRASES.iter().chain(labels::LABELS);
        all.filter_map(|(key, _, _)| Some((key.strip_prefix(prefix)?, self.word(key))))
            .collect()
    }

    /// A choice's machines and engine, without its model.
    pub(crate) fn setting(self, c: &Choice) -> String {
        let title = self.title(c);
        let how = title.strip_prefix(c.model.as_str()).unwrap_or(&title);
        how.trim().to_owned()
    }
}

/// `{name}` and `{kind:name}` replaced by what `value` makes of kind and name.
fn fill(phrase: &str, value: impl Fn(&str, &str) -> String) -> String {
    let mut out = String::new();
    let mut rest = phrase;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (place, behind) = after.split_once('}').unwrap_or((after, ""));
        let (kind, name) = place.split_once(':').unwrap_or(("", place));
        out.push_str(&value(kind, name));
        rest = behind;
    }
    out + rest
}

#[cfg(test)]
mod tests;
