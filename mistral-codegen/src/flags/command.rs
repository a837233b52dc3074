//! A command line, built through a table.

use serde::Serialize;

use super::FlagTable;
use crate::CodegenError;
use crate::quote;

/// One word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// This text.
    Text(String),
    /// A variable that the script sets, by its name.
    Variable(&'static str),
    /// An environment variable's value, or this when it is unset or empty.
    Env {
        /// The variable.
        name: &'static str,
        /// The value without it.
        default: String,
    },
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Word {
    fn shell(&self) -> Result<String, CodegenError> {
        match self {
            Self::Text(text) => quote::shell(text),
            Self::Variable(name) => Ok(format!("\"${name}\"")),
            // Defaults are addresses and ports, which the table checked: nothing to expand.
            Self::Env { name, default } => Ok(format!("\"${{{name}:-{default}}}\"")),
        }
    }
}

/// Why a command has a flag: the field of the plan that decided it, and what it does there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Why {
    /// Path of the plan's field, such as `limits.context_tokens`.
    pub field: &'static str,
    /// A sentence for people, without a full stop.
    pub text: &'static str,
}

/// A flag is there because of `field`: `text`.
#[must_use]
pub const fn why(field: &'static str, text: &'static str) -> Why {
    Why { field, text }
}

/// A flag of a command, explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The flag.
    pub flag: String,
    /// Its value as it was planned; `None` for a switch, and for what only the script knows.
    pub value: Option<String>,
    /// Why it is there.
    #[serde(flatten)]
    pub why: Why,
}

#[derive(Debug, Clone)]
struct Flag {
    name: String,
    value: Option<Word>,
    why: Why,
}

/// A command whose flags its engine has.
#[derive(Debug, Clone)]
pub struct Command<'t> {
    table: &'t FlagTable,
    program: Vec<Word>,
    flags: Vec<Flag>,
}

impl<'t> Command<'t> {
    /// A command of `program` words (the engine's command and its positional arguments).
    #[must_use]
    pub fn new(table: &'t FlagTable, program: impl IntoIterator<Item = Word>) -> Self {
        Self {
            table,
            program: program.into_iter().collect(),
            flags: Vec::new(),
        }
    }

    /// Adds a flag whose value is a variable that the script sets.
    ///
    /// # Errors
    /// [`CodegenError::UnknownFlag`], or [`CodegenError::FlagValue`] when it takes no text.
    pub fn flag_from_variable(
        &mut self,
        flag: &str,
        name: &'static str,
        why: Why,
    ) -> Result<&mut Self, CodegenError> {
        self.table.check(flag, Some(name))?;
        Ok(self.push(flag, Some(Word::Variable(name)), why))
    }

    /// Adds a flag without a value.
    ///
    /// # Errors
    /// [`CodegenError::UnknownFlag`], or [`CodegenError::FlagValue`] when it needs one.
    pub fn switch(&mut self, flag: &str, why: Why) -> Result<&mut Self, CodegenError> {
        self.table.check(flag, None)?;
        Ok(self.push(flag, None, why))
    }

    /// Adds a flag with a value.
    ///
    /// # Errors
    /// [`CodegenError::UnknownFlag`] or [`CodegenError::FlagValue`].
    pub fn flag(
        &mut self,
        flag: &str,
        value: impl std::fmt::Display,
        why: Why,
    ) -> Result<&mut Self, CodegenError> {
        let value = value.to_string();
        self.table.check(flag, Some(&value))?;
        Ok(self.push(flag, Some(Word::Text(value)), why))
    }

    /// Adds a flag whose value an environment variable can replace. `default` must be of a kind
    /// without characters that a shell expands, such as an address or a port.
    ///
    /// # Errors
    /// [`CodegenError::UnknownFlag`] or [`CodegenError::FlagValue`].
    pub fn flag_from_env(
        &mut self,
        flag: &str,
        name: &'static str,
        default: impl std::fmt::Display,
        why: Why,
    ) -> Result<&mut Self, CodegenError> {
        let default = default.to_string();
        self.table.check(flag, Some(&default))?;
        Ok(self.push(flag, Some(Word::Env { name, default }), why))
    }

    fn push(&mut self, flag: &str, value: Option<Word>, why: Why) -> &mut Self {
        let name = flag.to_owned();
        self.flags.push(Flag { name, value, why });
        self
    }

    /// Each flag with its value and why it is there, in the command's order.
    #[must_use]
    pub fn explained(&self) -> Vec<Explained> {
        let explain = |flag: &Flag| Explained {
            flag: flag.name.clone(),
            value: match &flag.value {
                Some(Word::Text(text)) => Some(text.clone()),
                Some(Word::Env { default, .. }) => Some(default.clone()),
                Some(Word::Variable(_)) | None => None,
            },
            why: flag.why,
        };
        self.flags.iter().map(explain).collect()
    }

    /// The words as the program gets them where no shell stands between (an `args` list, an
    /// `ExecStart`): what `value` says of a variable's name, else its default.
    ///
    /// # Errors
    /// [`CodegenError::UnsetVariable`] for a variable without a default that `value` doesn't know.
    pub fn words(
        &self,
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<String>, CodegenError> {
        let resolved = |word: &Word| match word {
            Word::Text(text) => Ok(text.clone()),
            Word::Env { name, default } => Ok(value(name).unwrap_or_else(|| default.clone())),
            Word::Variable(name) => value(name).ok_or(CodegenError::UnsetVariable { name }),
        };
        let mut words: Vec<String> = self
            .program
            .iter()
            .map(resolved)
            .collect::<Result<_, _>>()?;
        for flag in &self.flags {
            words.push(flag.name.clone());
            if let Some(word) = &flag.value {
                words.push(resolved(word)?);
            }
        }
        Ok(words)
    }

    /// The command for a shell: its program words, then one flag with its value an item.
    ///
    /// # Errors
    /// [`CodegenError::Unquotable`] for a text with NUL.
    pub fn shell_parts(&self) -> Result<Vec<String>, CodegenError> {
        let program: Result<Vec<_>, _> = self.program.iter().map(Word::shell).collect();
        let mut parts = vec![program?.join(" ")];
        for flag in &self.flags {
            parts.push(match &flag.value {
                None => flag.name.clone(),
                Some(word) => format!("{} {}", flag.name, word.shell()?),
            });
        }
        Ok(parts)
    }
}
