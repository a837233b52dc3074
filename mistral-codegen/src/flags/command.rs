//! A command line, built through a table.

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

/// A command whose flags its engine has.
#[derive(Debug, Clone)]
pub struct Command<'t> {
    table: &'t FlagTable,
    program: Vec<Word>,
    flags: Vec<(String, Option<Word>)>,
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
    ) -> Result<&mut Self, CodegenError> {
        self.table.check(flag, Some(name))?;
        self.flags
            .push((flag.to_owned(), Some(Word::Variable(name))));
        Ok(self)
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
        self.flags
            .push((flag.to_owned(), Some(Word::Env { name, default })));
        Ok(self)
    }

    /// The command for a shell: its program words, then one flag with its value an item.
    ///
    /// # Errors
    /// [`CodegenError::Unquotable`] for a text with NUL.
    pub fn shell_parts(&self) -> Result<Vec<String>, CodegenError> {
        let program: Result<Vec<_>, _> = self.program.iter().map(Word::shell).collect();
        let mut parts = vec![program?.join(" ")];
        for (flag, value) in &self.flags {
            parts.push(match value {
                None => flag.clone(),
                Some(word) => format!("{flag} {}", word.shell()?),
            });
        }
        Ok(parts)
    }
}
