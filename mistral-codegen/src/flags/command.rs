//! A command line, built through a table.

use super::FlagTable;
use crate::CodegenError;
use crate::quote;

/// One word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// This text.
    Text(String),
    /// An environment variable's value, or this when it is unset or empty.
    Env {
        /// The variable.
        name: &'static str,
        /// The value without it.
        default: String,
    },
}

impl Word {
    fn default_text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Env { default: text, .. } => text,
        }
    }

    fn shell(&self) -> Result<String, CodegenError> {
        match self {
            Self::Text(text) => quote::shell(text),
            // Defaults are addresses and ports, which the table checked: nothing to expand.
            Self::Env { name, default } => Ok(format!("\"${{{name}:-{default}}}\"")),
        }
    }
}

/// A command whose flags its engine has.
#[derive(Debug, Clone)]
pub struct Command<'t> {
    table: &'t FlagTable,
    program: Vec<String>,
    flags: Vec<(String, Option<Word>)>,
}

impl<'t> Command<'t> {
    /// A command of `program` words (the engine's command and its positional arguments).
    #[must_use]
    pub fn new<'a>(table: &'t FlagTable, program: impl IntoIterator<Item = &'a str>) -> Self {
        let program = program.into_iter().map(str::to_owned).collect();
        Self { table, program, flags: Vec::new() }
    }

    /// Adds a flag without a value.
    ///
    /// # Errors
    /// [`CodegenError::UnknownFlag`], or [`CodegenError::FlagValue`] when it needs one.
    pub fn switch(&mut self, flag: &str) -> Result<&mut Self, CodegenError> {
        self.table.check(flag, None)?;
        self.flags.push((flag.to_owned(), None));
        Ok(self)
    }

    /// Adds a flag with a value.
    ///
    /// # Errors
    /// [`CodegenError::UnknownFlag`] or [`CodegenError::FlagValue`].
    pub fn flag(
        &mut self,
        flag: &str,
        value: impl std::fmt::Display,
    ) -> Result<&mut Self, CodegenError> {
        let value = value.to_string();
        self.table.check(flag, Some(&value))?;
        self.flags.push((flag.to_owned(), Some(Word::Text(value))));
        Ok(self)
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
    ) -> Result<&mut Self, CodegenError> {
        let default = default.to_string();
        self.table.check(flag, Some(&default))?;
        self.flags.push((flag.to_owned(), Some(Word::Env { name, default })));
        Ok(self)
    }

    /// The command for a shell: its program words, then one flag with its value an item.
    ///
    /// # Errors
    /// [`CodegenError::Unquotable`] for a text with NUL.
    pub fn shell_parts(&self) -> Result<Vec<String>, CodegenError> {
        let program: Result<Vec<_>, _> = self.program.iter().map(|w| quote::shell(w)).collect();
        let mut parts = vec![program?.join(" ")];
        for (flag, value) in &self.flags {
            parts.push(match value {
                None => flag.clone(),
                Some(word) => format!("{flag} {}", word.shell()?),
            });
        }
        Ok(parts)
    }

    /// The words, with defaults for environment variables, and with `changed` values for some
    /// flags (a container listens on all of its own addresses, whatever the host does).
    #[must_use]
    pub fn words(&self, changed: &[(&str, &str)]) -> Vec<String> {
        let mut words = self.program.clone();
        for (flag, value) in &self.flags {
            words.push(flag.clone());
            let change = changed.iter().find(|(name, _)| name == flag);
            match (change, value) {
                (Some((_, text)), Some(_)) => words.push((*text).to_owned()),
                (_, Some(word)) => words.push(word.default_text().to_owned()),
                (_, None) => {}
            }
        }
        words
    }
}
