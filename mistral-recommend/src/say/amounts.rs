//! Numbers as they are written in a language.

use mistral_core::recommendation::Interval;

use super::Voice;

impl Voice {
    /// A value and, unless it is exact, its interval.
    pub(crate) fn interval(self, i: Interval) -> String {
        match self.parts(i) {
            (value, between) if between.is_empty() => value,
            (value, between) => format!("{value} ({between})"),
        }
    }

    /// A value, and its interval unless it is exact.
    pub(crate) fn parts(self, i: Interval) -> (String, String) {
        let between = if i.lo == i.hi {
            String::new()
        } else {
            let ends = [("lo", self.short(i.lo)), ("hi", self.short(i.hi))];
            self.fill("number.between", &ends)
        };
        (self.short(i.value), between)
    }

    /// Three digits that count, thousands apart.
    pub(crate) fn short(self, v: f64) -> String {
        if !v.is_finite() {
            return self.word("number.unknown").to_owned();
        }
        let size = v.abs();
        let plain = if size == 0.0 {
            "0".to_owned()
        } else if !(1e-4..1e15).contains(&size) {
            format!("{v:.2e}")
        } else if size >= 1000.0 {
            return self.thousands(v);
        } else if size >= 100.0 {
            format!("{v:.0}")
        } else if size >= 10.0 {
            tidy(format!("{v:.1}"))
        } else if size >= 0.1 {
            tidy(format!("{v:.2}"))
        } else {
            tidy(format!("{v:.4}"))
        };
        self.pointed(&plain)
    }

    /// A number with this many places.
    pub(crate) fn fixed(self, v: f64, places: usize) -> String {
        self.pointed(&format!("{v:.places$}"))
    }

    fn pointed(self, plain: &str) -> String {
        plain.replace('.', self.word("number.point"))
    }

    fn thousands(self, v: f64) -> String {
        let digits = format!("{:.0}", v.abs());
        let mut out = String::from(if v < 0.0 { "-" } else { "" });
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i) % 3 == 0 {
                out.push_str(self.word("number.thousands"));
            }
            out.push(digit);
        }
        out
    }
}

fn tidy(text: String) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}
