//! Rows of the table: medians, and ratios within a round.

use crate::contestant::{Contestant, Measured};
use crate::figures::{Case, Test};
use mistral_examples::median;
use serde_json::{Value, json};
use std::error::Error;

/// The table's first lines.
pub(crate) const HEAD: &str = "\
| figure | ours | best peer | ours / peer (min to max) | plain read, GB/s | weights read, share of it |
|---|---|---|---|---|---|";

/// One figure with what every contestant reached, by round.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: String,
    test: Test,
    sides: Vec<Side>,
    failures: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct Side {
    name: String,
    rounds: Vec<(usize, Measured)>,
}

impl Side {
    fn values(&self, of: impl Fn(&Measured) -> Option<f64>) -> Vec<f64> {
        self.rounds.iter().filter_map(|(_, m)| of(m)).collect()
    }

    fn median(&self) -> Option<f64> {
        median(&self.values(|m| Some(m.value)))
    }

    fn at(&self, round: usize) -> Option<f64> {
        let found = self.rounds.iter().find(|(at, _)| *at == round);
        found.map(|(_, m)| m.value)
    }
}

impl Row {
    /// `ours` is the contestant that the others are held against.
    pub(crate) fn new(case: &Case, test: Test, ours: &Contestant) -> Self {
        Self {
            id: format!(
                "{} {}, {} threads",
                case.model.name(),
                test.name(),
                case.threads
            ),
            test,
            sides: vec![Side {
                name: ours.name.clone(),
                rounds: Vec::new(),
            }],
            failures: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, round: usize, contestant: &Contestant, value: Measured) {
        match self.sides.iter_mut().find(|s| s.name == contestant.name) {
            Some(side) => side.rounds.push((round, value)),
            None => self.sides.push(Side {
                name: contestant.name.clone(),
                rounds: vec![(round, value)],
            }),
        }
    }

    pub(crate) fn failed(&mut self, contestant: &Contestant, error: &dyn Error) {
        self.failures
            .push((contestant.name.clone(), error.to_string()));
    }

    /// The peer with the best median.
    fn best_peer(&self) -> Option<&Side> {
        let sign = if self.test.is_cost() { -1.0 } else { 1.0 };
        let of = |side: &Side| side.median().map_or(f64::NEG_INFINITY, |m| sign * m);
        (self.sides[1..].iter()).max_by(|a, b| of(a).total_cmp(&of(b)))
    }

    /// Ours over the best peer's in each round that has both, sorted.
    fn ratios(&self) -> Vec<f64> {
        let Some(peer) = self.best_peer() else {
            return Vec::new();
        };
        let ours = &self.sides[0];
        let pairs = ours.rounds.iter().filter_map(|(round, m)| {
            let beside = peer.at(*round)?;
            Some(m.value / beside)
        });
        let mut ratios: Vec<f64> = pairs.collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    fn plain_read(&self) -> Option<f64> {
        median(&self.sides[0].values(|m| m.plain_read_bytes_per_s))
    }

    /// Share of the plain read rate of its own process, by round.
    fn share(&self) -> Option<f64> {
        let share = |m: &Measured| Some(m.read_bytes_per_s? / m.plain_read_bytes_per_s?);
        median(&self.sides[0].values(share))
    }

    /// The row for a reader.
    pub(crate) fn text(&self) -> String {
        let unit = |value: f64| match self.test {
            Test::Memory => format!("{:.2} GB", value / 1e9),
            Test::Load => format!("{value:.2} s"),
            _ if value < 100.0 => format!("{value:.2}"),
            _ => format!("{value:.0}"),
        };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let peer = self.best_peer();
        let ratios = self.ratios();
        let ratio = median(&ratios).map(|middle| {
            let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
            format!("{middle:.2} ({least:.2} to {most:.2})")
        });
        format!(
            "| {} | {} | {} | {} | {} | {} |",
            self.id,
            or_dash(self.sides[0].median().map(unit)),
            or_dash(peer.and_then(|p| Some(format!("{} {}", unit(p.median()?), p.name)))),
            or_dash(ratio),
            or_dash(self.plain_read().map(|rate| format!("{:.1}", rate / 1e9))),
            or_dash(self.share().map(|share| format!("{:.0} %", 100.0 * share))),
        )
    }

    /// The row with every value.
    pub(crate) fn json(&self) -> Value {
        let sides: Vec<Value> = (self.sides.iter())
            .map(|side| {
                let path = side.rounds.iter().find_map(|(_, m)| m.kernel_path.clone());
                json!({
                    "name": side.name,
                    "median": side.median(),
                    "values": side.values(|m| Some(m.value)),
                    "kernel_path": path,
                })
            })
            .collect();
        let ratios = self.ratios();
        json!({
            "figure": self.id,
            "contestants": sides,
            "failures": self.failures,
            "best_peer": self.best_peer().map(|peer| &peer.name),
            "ratio": median(&ratios),
            "ratio_min": ratios.first(),
            "ratio_max": ratios.last(),
            "plain_read_bytes_per_s": self.plain_read(),
            "share_of_plain_read": self.share(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::cases;

    fn row(test: Test) -> Row {
        let ours = Contestant::ours("ours");
        let mut row = Row::new(&cases()[0], test, &ours);
        let of = |value| Measured {
            value,
            read_bytes_per_s: Some(value),
            plain_read_bytes_per_s: Some(20.0),
            ..Measured::default()
        };
        let (fast, slow) = (Contestant::line("fast", ""), Contestant::line("slow", ""));
        for (round, (a, b, c)) in [(10.0, 10.0, 5.0), (20.0, 5.0, 4.0), (30.0, 15.0, 6.0)]
            .into_iter()
            .enumerate()
        {
            row.add(round, &ours, of(a));
            row.add(round, &fast, of(b));
            row.add(round, &slow, of(c));
        }
        row
    }

    #[test]
    fn ratios_are_taken_within_a_round_against_the_best_peer() {
        let speed = row(Test::Prefill(512)).json();
        assert_eq!(speed["best_peer"], "fast");
        assert_eq!(
            (&speed["ratio"], &speed["ratio_max"]),
            (&json!(2.0), &json!(4.0))
        );
        assert_eq!(speed["share_of_plain_read"], 1.0);
        assert_eq!(row(Test::Load).json()["best_peer"], "slow");
    }

    #[test]
    fn a_row_without_peers_has_no_ratio() {
        let ours = Contestant::ours("ours");
        let row = Row::new(&cases()[0], Test::Memory, &ours);
        assert!(
            row.text().ends_with("| – | – | – | – | – |"),
            "{}",
            row.text()
        );
        assert!(row.json()["ratio"].is_null());
    }
}
