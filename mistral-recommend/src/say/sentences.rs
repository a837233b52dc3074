//! Choices, changes and limits in a line each.

use mistral_core::reason::Fact;
use mistral_core::recommendation::{
    BreakEven, Change, Choice, Hosting, Recommendation, Relax, Winner,
};

use super::Voice;

impl Voice {
    /// A choice: model, precision, machines, engine.
    pub(crate) fn title(self, c: &Choice) -> String {
        let model = ("model", c.model.clone());
        match (c.hosting, c.precision, c.runtime, &c.device) {
            (Hosting::SelfHosted, Some(precision), Some(runtime), Some(device)) => {
                let title = self.fill(
                    "title.own",
                    &[
                        model,
                        ("precision", precision.to_string()),
                        ("count", c.count.to_string()),
                        ("device", device.clone()),
                        ("runtime", runtime.to_string()),
                    ],
                );
                title + &self.spread(c.count, c.tensor_parallel)
            }
            _ => self.fill("title.api", &[model]),
        }
    }

    /// How copies of a model lie over devices; empty for one copy on one device.
    fn spread(self, count: u32, tensor_parallel: u32) -> String {
        let copies = count / tensor_parallel.max(1);
        let values = [
            ("copies", copies.to_string()),
            ("cut", tensor_parallel.to_string()),
        ];
        match (tensor_parallel, copies) {
            (0 | 1, 0 | 1) => String::new(),
            (1, _) => self.fill("spread.copies", &values),
            (_, 1) => self.fill("spread.cut", &values),
            _ => self.fill("spread.both", &values),
        }
    }

    fn winner(self, w: &Winner) -> String {
        let model = ("model", w.model.clone());
        let name = match (w.precision, &w.device) {
            (Some(precision), Some(device)) => self.fill(
                "winner.own",
                &[
                    model,
                    ("precision", precision.to_string()),
                    ("count", w.count.to_string()),
                    ("device", device.clone()),
                ],
            ),
            _ => self.fill("title.api", &[model]),
        };
        let price = w.usd_per_month.map(|usd| {
            let usd = [("usd", self.short(usd))];
            self.fill("winner.price", &usd)
        });
        name + &price.unwrap_or_default()
    }

    /// A value of the need as a condition: `less` says that it and what is below it are meant.
    fn condition(self, constraint: &str, value: &Fact, less: bool) -> String {
        let general = if less { "if.less" } else { "if.more" };
        let own = self.find(&format!("{general}.{constraint}"));
        super::fill(own.unwrap_or(self.word(general)), |_, name| match name {
            "constraint" => self.path(constraint),
            _ => self.fact(Some(value)),
        })
    }

    /// A change of the need and what it leads to.
    pub(crate) fn change(self, c: &Change) -> String {
        let number = |f: &Option<Fact>| match f {
            Some(Fact::Number(n)) => Some(*n),
            _ => None,
        };
        let key = match (c.constraint.as_str(), &c.to) {
            ("licence.commercial", Some(Fact::Bool(false))) => Some("if.research"),
            ("licence.open_source", Some(Fact::Bool(true))) => Some("if.open_source"),
            ("licence.open_source" | "licence.open_weights", None) => Some("if.licence_dropped"),
            ("hosting", Some(Fact::Text(t))) if t == "api" => Some("if.api"),
            ("hosting", Some(_)) => Some("if.no_api"),
            ("hosting", None) => Some("if.any_host"),
            ("models", None) => Some("if.models"),
            ("excluded_models", None) => Some("if.excluded_models"),
            ("runtime", None) => Some("if.runtime"),
            ("precision", None) => Some("if.precision"),
            _ => None,
        };
        let when = match (key, &c.to) {
            (Some(key), _) => self.word(key).to_owned(),
            (None, Some(to)) => {
                let from = number(&c.until).or(number(&c.from));
                let less = from.zip(number(&c.to)).is_some_and(|(from, to)| to < from);
                self.condition(&c.constraint, to, less)
            }
            (None, None) => {
                let constraint = [("constraint", self.path(&c.constraint))];
                self.fill("if.dropped", &constraint)
            }
        };
        format!("{when}{}{}", self.word("colon"), self.winner(&c.then))
    }

    /// Where own machines and the API cost the same.
    pub(crate) fn break_even(self, b: &BreakEven) -> String {
        let own = Winner {
            usd_per_month: None,
            ..b.own.clone()
        };
        self.fill(
            "break_even",
            &[
                ("requests_per_day", self.short(b.requests_per_day)),
                ("now_requests_per_day", self.short(b.now_requests_per_day)),
                ("prompt_tokens", self.short(b.prompt_tokens)),
                ("output_tokens", self.short(b.output_tokens)),
                ("own", self.winner(&own)),
                ("api", b.api.model.clone()),
                ("usd_per_month", self.short(b.usd_per_month)),
            ],
        )
    }

    /// A limit to give way.
    pub(crate) fn relax(self, r: &Relax) -> String {
        let value = |fact: &Fact| match fact {
            Fact::Text(t) => self.value(t),
            _ => self.fact(Some(fact)),
        };
        let from = r.from.as_ref().map_or_else(|| self.fact(None), value);
        let any = || self.word("any").to_owned();
        let to = r.to.as_ref().map_or_else(any, value);
        let (path, colon) = (self.path(&r.constraint), self.word("colon"));
        format!("{path}{colon}{from} → {to}")
    }

    /// What was understood, as paths and values.
    pub(crate) fn understood(self, r: &Recommendation) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        let need = serde_json::to_value(&r.need).unwrap_or_default();
        if let serde_json::Value::Object(map) = &need {
            for (name, value) in map {
                if name != "text" && name != "schema" {
                    self.flatten(name, value, &mut rows);
                }
            }
        }
        rows
    }

    /// What was said, each value with its path.
    fn flatten(self, path: &str, value: &serde_json::Value, rows: &mut Vec<(String, String)>) {
        use serde_json::Value;
        let mut row = |value: String| rows.push((self.path(path), value));
        match value {
            Value::Null => {}
            Value::Object(map) => {
                for (name, value) in map {
                    self.flatten(&format!("{path}.{name}"), value, rows);
                }
            }
            Value::Array(list) if list.iter().all(Value::is_string) => {
                let words = list.iter().filter_map(Value::as_str);
                let words: Vec<String> = words.map(|w| self.value(w)).collect();
                if !words.is_empty() {
                    row(words.join(", "));
                }
            }
            Value::Array(list) => {
                for value in list {
                    self.flatten(path, value, rows);
                }
            }
            Value::Number(n) => row(self.short(n.as_f64().unwrap_or(f64::NAN))),
            Value::String(text) => row(self.value(text)),
            Value::Bool(b) => row(self.fact(Some(&Fact::Bool(*b)))),
        }
    }
}
