//! Watches streamed text for stop strings and holds back what may become one.

/// State of one sequence's watch.
#[derive(Debug)]
pub(crate) struct StopWatch {
    stops: Vec<String>,
    /// Text that may be the beginning of a stop string.
    held: String,
    stopped: bool,
}

impl StopWatch {
    /// Watches for `stops`, none of them empty.
    pub(crate) fn new(stops: &[String]) -> StopWatch {
        StopWatch {
            stops: stops.to_vec(),
            held: String::new(),
            stopped: false,
        }
    }

    /// Takes new text and appends to `out` what is certain. Returns whether a stop string
    /// occurred: then everything before it has been appended and the rest is dropped.
    pub(crate) fn push(&mut self, text: &str, out: &mut String) -> bool {
        if self.stopped {
            return true;
        }
        self.held.push_str(text);
        let first = self
            .stops
            .iter()
            .filter_map(|s| self.held.find(s.as_str()))
            .min();
        if let Some(at) = first {
            out.push_str(&self.held[..at]);
            self.held.clear();
            self.stopped = true;
            return true;
        }
        let keep = self
            .stops
            .iter()
            .map(|s| overlap(&self.held, s))
            .max()
            .unwrap_or(0);
        let certain = self.held.len() - keep;
        out.push_str(&self.held[..certain]);
        self.held.drain(..certain);
        false
    }

    /// Gives up what was held back: the sequence ended without completing a stop string.
    pub(crate) fn flush(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }
}

/// Length of the longest end of `text` that begins `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let most = text.len().min(stop.len().saturating_sub(1));
    (1..=most)
        .rev()
        .find(|&n| stop.is_char_boundary(n) && text.ends_with(&stop[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `pieces`, returns the text let through and whether it stopped.
    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
        let mut watch = StopWatch::new(&stops);
        let mut out = String::new();
        let stopped = pieces.iter().any(|p| watch.push(p, &mut out));
        if !stopped {
            watch.flush(&mut out);
        }
        (out, stopped)
    }

    #[test]
    fn a_stop_string_never_leaks() {
        let rows: &[(&[&str], &[&str], &str, bool)] = &[
            (&[], &["a", "b"], "ab", false),
            (&["END"], &["one E", "N", "D two"], "one ", true),
            (&["END"], &["one E", "NX"], "one ENX", false),
            (&["END"], &["one EN"], "one EN", false),
            (&["\n\n", "\nQ"], &["a\n", "b\n", "\n"], "a\nb", true),
            (&["aab"], &["a", "a", "a", "b"], "a", true),
            (&["é!"], &["caf", "é", "!"], "caf", true),
            (&["éx"], &["caf", "é", "!"], "café!", false),
            (&["x", "abc"], &["ab", "x"], "ab", true),
        ];
        for (stops, pieces, text, stopped) in rows {
            assert_eq!(
                run(stops, pieces),
                ((*text).to_owned(), *stopped),
                "{stops:?} {pieces:?}"
            );
        }
    }

    #[test]
    fn text_is_let_through_as_soon_as_it_is_certain() {
        let mut watch = StopWatch::new(&["STOP".to_owned()]);
        let mut out = String::new();
        assert!(!watch.push("hello S", &mut out));
        assert_eq!(out, "hello ");
        assert!(!watch.push("ide", &mut out));
        assert_eq!(out, "hello Side");
    }
}
