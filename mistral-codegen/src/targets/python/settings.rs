//! The constants of a program's `settings.py`.

use minijinja::Value;

use crate::CodegenError;
use crate::flags::Why;
use crate::quote::{markdown_code, python_str};

/// Longest line that the formatter makes.
const LINE: usize = 100;

/// A plan's values as a program reads them, in order.
#[derive(Default)]
pub(super) struct Settings(Vec<Setting>);

struct Setting {
    name: &'static str,
    kind: String,
    /// As Python writes it.
    value: String,
    why: Why,
}

/// What a setting can be.
pub(super) trait Python {
    /// Its type and itself, as Python writes them.
    fn python(&self) -> (String, String);
}

impl Python for &str {
    fn python(&self) -> (String, String) {
        ("str".to_owned(), python_str(self))
    }
}

impl Python for u32 {
    fn python(&self) -> (String, String) {
        ("int".to_owned(), self.to_string())
    }
}

impl Python for u64 {
    fn python(&self) -> (String, String) {
        ("int".to_owned(), self.to_string())
    }
}

/// The shortest decimal that is this number.
impl Python for f32 {
    fn python(&self) -> (String, String) {
        ("float".to_owned(), format!("{self:?}"))
    }
}

impl Python for bool {
    fn python(&self) -> (String, String) {
        let text = if *self { "True" } else { "False" };
        ("bool".to_owned(), text.to_owned())
    }
}

impl Python for &[&str] {
    fn python(&self) -> (String, String) {
        let items: Vec<String> = self.iter().map(|item| python_str(item)).collect();
        ("list[str]".to_owned(), format!("[{}]", items.join(", ")))
    }
}

impl<T: Python + Default> Python for Option<T> {
    fn python(&self) -> (String, String) {
        match self {
            Some(value) => {
                let (kind, value) = value.python();
                (format!("{kind} | None"), value)
            }
            None => {
                let (kind, _) = T::default().python();
                (format!("{kind} | None"), "None".to_owned())
            }
        }
    }
}

impl Settings {
    /// Adds a constant.
    pub(super) fn set(&mut self, name: &'static str, value: impl Python, why: Why) {
        let (kind, value) = value.python();
        self.0.push(Setting {
            name,
            kind,
            value,
            why,
        });
    }

    /// The module's lines.
    pub(super) fn lines(&self) -> Vec<Value> {
        let lines = self.0.iter().map(Setting::line);
        lines.map(Value::from_safe_string).collect()
    }

    /// A line of Markdown a constant: its value, the plan's field, what it is for.
    pub(super) fn why(&self) -> Result<Vec<Value>, CodegenError> {
        self.0.iter().map(Setting::explained).collect()
    }
}

impl Setting {
    /// As the formatter writes it: a value that fits a line of its own and not the rest of this
    /// one gets parentheses; one that fits neither stays.
    fn line(&self) -> String {
        let Self {
            name, kind, value, ..
        } = self;
        let line = format!("{name}: Final[{kind}] = {value}");
        let own = format!("    {value}");
        if line.len() <= LINE || own.len() > LINE {
            return line;
        }
        format!("{name}: Final[{kind}] = (\n{own}\n)")
    }

    fn explained(&self) -> Result<Value, CodegenError> {
        let constant = markdown_code(&format!("{} = {}", self.name, self.value))?;
        let field = markdown_code(self.why.field)?;
        let line = format!("{constant} ({field}): {}", self.why.text);
        Ok(Value::from_safe_string(line))
    }
}
