//! Verdicts counted by library and by kind of rewording.

use super::{Examined, Kind, Problem, Ready, pass_at_k};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One program as a JSON line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line<'a> {
    /// The problem.
    pub id: &'a str,
    /// Its library.
    pub library: &'a str,
    /// Its kind of rewording.
    pub perturbation: &'a str,
    /// Which sample.
    pub sample: u32,
    /// Whether all tests passed.
    pub passed: bool,
    /// How it ended.
    pub outcome: Kind,
    /// Why.
    pub detail: &'a str,
    /// Wall time.
    pub seconds: f64,
}

impl<'a> Line<'a> {
    /// The line of one program of `problem`.
    #[must_use]
    pub fn new(problem: &'a Problem, examined: &'a Examined) -> Self {
        Self {
            id: &problem.id,
            library: &problem.library,
            perturbation: &problem.perturbation,
            sample: examined.sample,
            passed: examined.verdict.kind == Kind::Passed,
            outcome: examined.verdict.kind,
            detail: &examined.verdict.detail,
            seconds: examined.verdict.seconds,
        }
    }
}

/// Samples of one problem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    samples: u32,
    passed: u32,
}

/// Verdicts of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// By library, perturbation and problem: what ran.
    ran: BTreeMap<(String, String, usize), Tally>,
    /// By library: problems that did not run, and why.
    skipped: BTreeMap<String, BTreeMap<usize, String>>,
    outcomes: BTreeMap<Kind, u32>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    problems: usize,
    skipped: usize,
    pass: Vec<Option<f64>>,
}

impl Report {
    /// Counts one more program.
    pub fn add(&mut self, problem: &Problem, examined: &Examined) {
        let kind = examined.verdict.kind;
        *self.outcomes.entry(kind).or_default() += 1;
        if !kind.counts() {
            let because = match kind {
                Kind::Missing => format!("missing: {}", examined.verdict.detail),
                _ => examined.verdict.detail.clone(),
            };
            let library = self.skipped.entry(problem.library.clone()).or_default();
            library.insert(examined.problem, because);
            return;
        }
        let key = (
            problem.library.clone(),
            problem.perturbation.clone(),
            examined.problem,
        );
        let tally = self.ran.entry(key).or_default();
        tally.samples += 1;
        tally.passed += u32::from(kind == Kind::Passed);
    }

    /// Problems whose programs ran.
    #[must_use]
    pub fn problems(&self) -> usize {
        self.ran.len()
    }

    /// Whether every program that ran passed, and every problem ran but for missing libraries.
    #[must_use]
    pub fn all_passed(&self) -> bool {
        let fine = |kind: &Kind| matches!(kind, Kind::Passed | Kind::Missing);
        self.outcomes.keys().all(fine)
    }

    /// Which k are reported for `samples` programs a problem.
    fn ks(samples: u32) -> Vec<u32> {
        let mut ks: Vec<u32> = [1, 5, 10, 100]
            .into_iter()
            .filter(|&k| k < samples)
            .collect();
        ks.push(samples.max(1));
        ks
    }

    /// The row of all problems for which `wanted(library, perturbation)`.
    fn row(&self, ks: &[u32], wanted: impl Fn(&str, &str) -> bool, skipped: usize) -> Row {
        let tallies: Vec<Tally> = self
            .ran
            .iter()
            .filter(|((library, perturbation, _), _)| wanted(library, perturbation))
            .map(|(_, tally)| *tally)
            .collect();
        let mean = |&k: &u32| {
            let each: Option<Vec<f64>> = tallies
                .iter()
                .map(|t| pass_at_k(t.samples, t.passed, k))
                .collect();
            each.filter(|e| !e.is_empty())
                .map(|e| e.iter().sum::<f64>() / e.len() as f64)
        };
        Row {
            problems: tallies.len(),
            skipped,
            pass: ks.iter().map(mean).collect(),
        }
    }

    fn rows(&self, ks: &[u32]) -> (BTreeMap<String, Row>, BTreeMap<String, Row>, Row) {
        let mut libraries = BTreeMap::new();
        let mut perturbations = BTreeMap::new();
        let names = self.ran.keys().map(|(library, _, _)| library);
        for name in names.chain(self.skipped.keys()) {
            let skipped = self.skipped.get(name).map_or(0, BTreeMap::len);
            libraries
                .entry(name.clone())
                .or_insert_with(|| self.row(ks, |library, _| library == name, skipped));
        }
        for (_, name, _) in self.ran.keys().filter(|(_, p, _)| !p.is_empty()) {
            perturbations
                .entry(name.clone())
                .or_insert_with(|| self.row(ks, |_, p| p == name, 0));
        }
        let skipped = self.skipped.values().map(BTreeMap::len).sum();
        (libraries, perturbations, self.row(ks, |_, _| true, skipped))
    }

    /// The totals as one JSON object.
    #[must_use]
    pub fn totals(&self, samples: u32, ready: &Ready) -> Value {
        let ks = Self::ks(samples);
        let (libraries, perturbations, total) = self.rows(&ks);
        let object = |row: &Row| {
            let mut value = json!({"problems": row.problems, "skipped": row.skipped});
            for (k, pass) in ks.iter().zip(&row.pass) {
                value[format!("pass@{k}")] = json!(pass);
            }
            value
        };
        let table = |rows: &BTreeMap<String, Row>| -> BTreeMap<String, Value> {
            rows.iter()
                .map(|(name, row)| (name.clone(), object(row)))
                .collect()
        };
        json!({
            "total": object(&total),
            "libraries": table(&libraries),
            "perturbations": table(&perturbations),
            "outcomes": self.outcomes,
            "skipped": self.reasons(),
            "python": ready.python,
            "versions": ready.versions,
            "network": ready.network(),
            "files": ready.files(),
        })
    }

    /// How many problems did not run, by reason.
    fn reasons(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for because in self.skipped.values().flat_map(BTreeMap::values) {
            *reasons.entry(because.as_str()).or_default() += 1;
        }
        reasons
    }

    /// The totals as a table for people.
    #[must_use]
    pub fn table(&self, samples: u32, ready: &Ready) -> String {
        let ks = Self::ks(samples);
        let (libraries, perturbations, total) = self.rows(&ks);
        let mut text = format!("{:<20} {:>8} {:>8}", "", "problems", "skipped");
        for k in &ks {
            let _ = write!(text, " {:>9}", format!("pass@{k}"));
        }
        text.push('\n');
        let mut put = |name: &str, row: &Row| {
            let _ = write!(text, "{name:<20} {:>8} {:>8}", row.problems, row.skipped);
            for pass in &row.pass {
                let shown = pass.map_or("-".to_owned(), |p| format!("{p:.3}"));
                let _ = write!(text, " {shown:>9}");
            }
            text.push('\n');
        };
        for (name, row) in &libraries {
            put(name, row);
        }
        put("total", &total);
        for (name, row) in &perturbations {
            put(&format!("  {name}"), row);
        }
        for (because, count) in self.reasons() {
            let _ = writeln!(text, "not run: {count} ({because})");
        }
        let versions = ready.versions.iter().filter_map(|(name, version)| {
            let version = version.as_deref().filter(|v| !v.is_empty())?;
            Some(format!("{name} {version}"))
        });
        let versions: Vec<String> = versions.collect();
        let _ = writeln!(text, "Python {}, {}", ready.python, versions.join(", "));
        let _ = writeln!(
            text,
            "network {}; foreign files {}",
            ready.network(),
            ready.files()
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn ready() -> Ready {
        Ready {
            python: "3.11.7".to_owned(),
            versions: BTreeMap::from([
                ("numpy".to_owned(), Some("2.4.6".to_owned())),
                ("torch".to_owned(), None),
            ]),
            layers: BTreeMap::from([("seccomp".to_owned(), true)]),
            namespace: false,
        }
    }

    fn report(rows: &[(usize, &str, &str, Kind)]) -> Report {
        let mut report = Report::default();
        for (sample, &(index, library, perturbation, kind)) in rows.iter().enumerate() {
            let problem = Problem {
                id: index.to_string(),
                library: library.to_owned(),
                perturbation: perturbation.to_owned(),
                prompt: String::new(),
                reference_code: String::new(),
                code_context: String::new(),
            };
            let verdict = Verdict {
                kind,
                detail: "torch".to_owned(),
                seconds: 0.5,
                output: String::new(),
            };
            let examined = Examined {
                problem: index,
                sample: sample as u32,
                verdict,
            };
            report.add(&problem, &examined);
        }
        report
    }

    #[test]
    fn what_did_not_run_does_not_count() {
        let report = report(&[
            (0, "Numpy", "Origin", Kind::Passed),
            (1, "Numpy", "Surface", Kind::Wrong),
            (2, "Pytorch", "Origin", Kind::Missing),
            (3, "Pandas", "Origin", Kind::Banned),
        ]);
        let totals = report.totals(1, &ready());
        assert_eq!(totals["total"]["problems"], 3);
        assert_eq!(totals["total"]["skipped"], 1);
        assert_eq!(totals["libraries"]["Numpy"]["pass@1"], 0.5);
        assert_eq!(totals["libraries"]["Pandas"]["pass@1"], 0.0);
        assert_eq!(totals["libraries"]["Pytorch"]["pass@1"], Value::Null);
        assert_eq!(totals["perturbations"]["Origin"]["pass@1"], 0.5);
        assert_eq!(totals["skipped"]["missing: torch"], 1);
        assert!(!report.all_passed());
        let table = report.table(1, &ready());
        assert!(table.contains("refused by seccomp"), "{table}");
        assert!(table.contains("not run: 1 (missing: torch)"), "{table}");
    }

    #[test]
    fn samples_give_pass_at_k() {
        let rows: Vec<_> = (0..6)
            .map(|i| {
                (
                    0,
                    "Numpy",
                    "",
                    if i < 2 { Kind::Passed } else { Kind::Timeout },
                )
            })
            .collect();
        let totals = report(&rows).totals(6, &ready());
        let total = &totals["total"];
        assert!((total["pass@1"].as_f64().expect("a number") - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(
            (&total["pass@5"], &total["pass@6"]),
            (&json!(1.0), &json!(1.0))
        );
        assert!(total.get("pass@10").is_none());
    }

    #[test]
    fn missing_libraries_do_not_spoil_references() {
        assert!(
            report(&[
                (0, "Numpy", "", Kind::Passed),
                (1, "Pytorch", "", Kind::Missing)
            ])
            .all_passed()
        );
    }
}
