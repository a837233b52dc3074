//! Unknown and removed flags and bad values in what others wrote.

use std::fmt;

use serde::Serialize;

use super::find::{Found, commands};
use super::table::FlagTable;
use super::words::{Argument, Part, is_placeholder};

/// What was found in a text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LintReport {
    /// Commands and lists of arguments that were read.
    pub commands: usize,
    /// Those of vLLM-Omni, which were left alone: no table describes its flags.
    pub skipped: usize,
    /// Uses of flags in the others.
    pub uses: usize,
    /// What is wrong, in the order of the lines.
    pub findings: Vec<Finding>,
}

/// One use of a flag that an engine's version doesn't take so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The line that the command begins on, from 1.
    pub line: usize,
    /// The engine whose table says so.
    pub engine: String,
    /// The flag as it was written.
    pub flag: String,
    /// What is wrong with it.
    #[serde(flatten)]
    pub kind: FindingKind,
}

/// What is wrong with a use of a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The engine has no such flag, and nothing is known of it.
    Unknown,
    /// Earlier versions had it.
    Removed {
        /// What to do.
        instead: String,
    },
    /// Earlier versions had it, and this one reads another flag in its place.
    Misread {
        /// What the engine reads.
        read_as: String,
        /// What to do.
        instead: String,
    },
    /// It doesn't take this value.
    Value {
        /// What it takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// It works, and a later version will drop it.
    Deprecated {
        /// What to do, where the engine says so.
        instead: String,
    },
    /// It is the beginning of a name, which a later version may give to two.
    Abbreviated {
        /// The whole name.
        name: String,
    },
}

impl FindingKind {
    /// Whether the engine refuses the command for it, or does something else.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(
            self,
            Self::Unknown | Self::Removed { .. } | Self::Misread { .. } | Self::Value { .. }
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line, engine, flag, ..
        } = self;
        write!(f, "{line}: {engine}: ")?;
        match &self.kind {
            FindingKind::Unknown => write!(f, "no flag {flag}"),
            FindingKind::Removed { instead } => write!(f, "{flag} was removed; {instead}"),
            FindingKind::Misread { read_as, instead } => {
                write!(f, "{flag} was removed and is read as {read_as}; {instead}")
            }
            FindingKind::Value { expected, found } => {
                write!(f, "{flag} expects {expected}, found {found:?}")
            }
            FindingKind::Deprecated { instead } if instead.is_empty() => {
                write!(f, "{flag} will be removed")
            }
            FindingKind::Deprecated { instead } => write!(f, "{flag} will be removed; {instead}"),
            FindingKind::Abbreviated { name } => write!(f, "{flag} is short for {name}"),
        }
    }
}

/// Checks every command of an engine in `text`, be it a shell script, Markdown or YAML, against
/// that engine's table among `tables`; lists of arguments whose engine isn't said belong to the
/// only engine that the text names.
///
/// ```
/// use mistral_codegen::flags;
/// let page = "Run it:\n\n    vllm serve m --swap-space 4 --max-model-len 32k\n";
/// let report = flags::lint(page, &[flags::find("vllm")?]);
/// assert_eq!((report.uses, report.findings.len()), (2, 1));
/// assert!(report.findings[0].to_string().contains("--swap-space was removed"));
/// # Ok::<(), mistral_codegen::CodegenError>(())
/// ```
#[must_use]
pub fn lint(text: &str, tables: &[&FlagTable]) -> LintReport {
    let mut report = LintReport::default();
    // A plugin with flags of its own, which no table describes, takes over the whole server.
    let omni = text.contains("--omni");
    for Found {
        line,
        engine,
        words,
    } in commands(text)
    {
        if omni && engine == "vllm" {
            report.skipped += 1;
            continue;
        }
        let Some(table) = tables.iter().find(|table| table.engine == engine) else {
            continue;
        };
        report.commands += 1;
        check(table, line, &words, &mut report);
    }
    report.findings.sort_by_key(|finding| finding.line);
    report
}

/// Checks the words of one command.
#[must_use]
pub fn lint_command(table: &FlagTable, words: &[String]) -> LintReport {
    let mut report = LintReport {
        commands: 1,
        ..LintReport::default()
    };
    check(table, 1, words, &mut report);
    report
}

fn check(table: &FlagTable, line: usize, words: &[String], report: &mut LintReport) {
    let plugin = words.iter().any(|word| word.contains("parser-plugin"));
    for part in table.parts(words) {
        let Part::Flag(argument) = part else { continue };
        if matches!(argument.written.as_str(), "--help" | "-h") {
            continue;
        }
        report.uses += 1;
        // A plugin brings names of its own.
        let by_plugin = plugin && argument.written.ends_with("-parser");
        if let Some(kind) = judged(table, &argument).filter(|_| !by_plugin) {
            report.findings.push(Finding {
                line,
                engine: table.engine.clone(),
                flag: argument.written.chars().take(80).collect(),
                kind,
            });
        }
    }
}

fn judged(table: &FlagTable, argument: &Argument) -> Option<FindingKind> {
    let Some(name) = &argument.name else {
        if is_placeholder(&argument.written) {
            return None;
        }
        let written = argument.written.split('.').next().unwrap_or_default();
        let rule = table.changes.iter().find(|change| change.is_about(written));
        return Some(
            rule.map_or(FindingKind::Unknown, |rule| FindingKind::Removed {
                instead: rule.advice(),
            }),
        );
    };
    if (name.abbreviated || name.negated)
        && let Some(rule) = table.changes.iter().find(|c| c.is_about(&argument.written))
    {
        return Some(FindingKind::Misread {
            read_as: match name.negated {
                true => format!("the opposite of {}", name.flag),
                false => name.flag.clone(),
            },
            instead: rule.advice(),
        });
    }
    let takes = &table.flags[&name.flag];
    let values = || argument.values.iter().map(String::as_str);
    let value = if name.negated || values().any(is_placeholder) {
        None
    } else if !name.part.is_empty() {
        (!takes.has_parts()).then_some("a part")
    } else if argument.values.is_empty() {
        (!takes.accepts(None)).then_some("no value")
    } else {
        values().find(|value| !takes.accepts(Some(value)))
    };
    if let Some(found) = value {
        return Some(FindingKind::Value {
            expected: takes.expected(),
            found: found.chars().take(80).collect(),
        });
    }
    for value in values().filter(|value| !is_placeholder(value)) {
        let flaw = takes
            .settings(value)
            .and_then(|settings| table.check_settings(&name.flag, &settings).err());
        if let Some(flaw) = flaw {
            return Some(FindingKind::Value {
                expected: format!("settings that its kind has ({flaw})"),
                found: value.chars().take(80).collect(),
            });
        }
    }
    if let Some(instead) = table.deprecated.get(&name.flag) {
        let rule = table
            .changes
            .iter()
            .find(|change| change.is_about(&name.flag));
        return Some(FindingKind::Deprecated {
            instead: rule.map_or_else(|| instead.clone(), |rule| rule.advice()),
        });
    }
    name.abbreviated.then(|| FindingKind::Abbreviated {
        name: name.flag.clone(),
    })
}
