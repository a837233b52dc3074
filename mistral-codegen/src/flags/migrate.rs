//! A command for another version of its engine.

use serde::Serialize;

use super::changes::{Becomes, Change};
use super::table::FlagTable;
use super::words::{Argument, Part, is_placeholder};
use crate::CodegenError;

/// A command rewritten for another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migration {
    /// The words of the command. What isn't resolved stands in it unchanged, so that the engine
    /// refuses it instead of running without it.
    pub words: Vec<String>,
    /// What was rewritten.
    pub changes: Vec<Migrated>,
    /// What a person has to decide.
    pub unresolved: Vec<Unresolved>,
}

/// A flag that was rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migrated {
    /// The words before.
    pub from: Vec<String>,
    /// The words after; none for a flag that was left out.
    pub to: Vec<String>,
    /// Why.
    pub why: String,
}

/// A flag that no rule rewrites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unresolved {
    /// The flag with its values, as they stand in the command.
    pub words: Vec<String>,
    /// What is in the way, and what to do where that is known.
    pub why: String,
}

/// Rewrites `words`, a command of the version `from`, for the version `to` of the same engine.
///
/// # Errors
/// [`CodegenError::UnknownVersion`] for tables of two engines, [`CodegenError::UnknownFlag`] for a
/// flag that neither version has and of which nothing is known.
///
/// ```
/// use mistral_codegen::flags;
/// let words = "vllm serve m --tokenizer-mode slow --disable-log-requests -tp 2";
/// let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
/// let new = flags::migrate(flags::find("vllm:0.10.0")?, flags::find("vllm")?, &words)?;
/// assert_eq!(new.words.join(" "), "vllm serve m --tokenizer-mode hf -tp 2");
/// assert_eq!(new.changes.len(), 2);
/// # Ok::<(), mistral_codegen::CodegenError>(())
/// ```
pub fn migrate(
    from: &FlagTable,
    to: &FlagTable,
    words: &[String],
) -> Result<Migration, CodegenError> {
    if from.engine != to.engine {
        return Err(CodegenError::UnknownVersion {
            found: format!("{}:{}", to.engine, to.version),
            known: format!("versions of {}", from.engine),
        });
    }
    let mut made = Migration {
        words: Vec::new(),
        changes: Vec::new(),
        unresolved: Vec::new(),
    };
    for part in from.parts(words) {
        match part {
            Part::Word(word) => made.words.push(word),
            Part::Flag(argument) => migrate_flag(from, to, argument, &mut made)?,
        }
    }
    Ok(made)
}

fn migrate_flag(
    from: &FlagTable,
    to: &FlagTable,
    argument: Argument,
    made: &mut Migration,
) -> Result<(), CodegenError> {
    let before = as_words(&argument);
    let flag = argument
        .name
        .as_ref()
        .map_or_else(|| argument.written.clone(), |name| name.flag.clone());
    let found = to.find(&argument.written).filter(|name| !name.abbreviated);
    let rule = to.changes.iter().find(|change| change.is_about(&flag));
    if let Some(name) = &found {
        // A new name of the same flag keeps working under its old one.
        let takes = &to.flags[&name.flag];
        let value = argument.values.first().map(String::as_str);
        let fits =
            !name.part.is_empty() || value.is_some_and(is_placeholder) || takes.accepts(value);
        let by_value =
            rule.filter(|rule| value.is_some_and(|value| rule.values.contains_key(value)));
        // Another flag answers to the name now: what this one meant is what the rule says.
        let other = rule.filter(|_| name.negated && name.flag != flag);
        if let Some(rule) = other {
            apply(rule, &argument, before, made);
            return Ok(());
        }
        if fits && by_value.is_none() {
            made.words.extend(before);
            return Ok(());
        }
        match rule {
            Some(rule) if by_value.is_some() || to.deprecated.contains_key(&flag) => {
                apply(rule, &argument, before, made);
            }
            _ => {
                made.words.extend(before.iter().cloned());
                made.unresolved.push(Unresolved {
                    words: before,
                    why: format!("{} expects {}", argument.written, takes.expected()),
                });
            }
        }
        return Ok(());
    }
    match rule {
        Some(rule) => apply(rule, &argument, before, made),
        None if argument.name.is_some() => {
            // Written by a beginning that the other version doesn't know alone.
            let name = argument.name.as_ref().filter(|name| name.abbreviated);
            if let Some(name) = name.filter(|name| to.flags.contains_key(&name.flag)) {
                let mut after = vec![name.flag.clone()];
                after.extend(argument.values.iter().cloned());
                made.words.extend(after.iter().cloned());
                made.changes.push(Migrated {
                    from: before,
                    to: after,
                    why: "the whole name: its beginning is no longer the only one".to_owned(),
                });
                return Ok(());
            }
            made.words.extend(before.iter().cloned());
            made.unresolved.push(Unresolved {
                words: before,
                why: format!(
                    "{} {} has no flag {flag}, and no rule says what replaces it",
                    to.engine, to.version
                ),
            });
        }
        None => return Err(from.unknown(&argument.written)),
    }
    Ok(())
}

fn apply(rule: &Change, argument: &Argument, before: Vec<String>, made: &mut Migration) {
    let negated = argument.name.as_ref().is_some_and(|name| name.negated);
    let after = match rule.applied(&argument.values) {
        // What was turned off stays off by being left out.
        Becomes::Words(_) if negated => Vec::new(),
        Becomes::Words(words) => words,
        Becomes::Manual(why) => {
            made.words.extend(before.iter().cloned());
            made.unresolved.push(Unresolved { words: before, why });
            return;
        }
    };
    made.words.extend(after.iter().cloned());
    made.changes.push(Migrated {
        from: before,
        to: after,
        why: rule.why.clone(),
    });
}

/// The argument's words as they were written.
fn as_words(argument: &Argument) -> Vec<String> {
    if argument.joined {
        return vec![format!(
            "{}={}",
            argument.written,
            argument.values.join(" ")
        )];
    }
    let mut words = vec![argument.written.clone()];
    words.extend(argument.values.iter().cloned());
    words
}
