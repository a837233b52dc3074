//! Alerts of Prometheus, each with what it means and what to do.

use super::signals::{Named, Signals};
use super::{CACHE_FULL, Watched};
use crate::yaml::{Node, map};

/// An alert.
struct Alert {
    name: &'static str,
    expression: String,
    /// Minutes for which it has to hold.
    minutes: u64,
    severity: &'static str,
    summary: String,
    /// What to do.
    action: &'static str,
}

/// The file of rules.
pub(super) fn rules(watched: &Watched<'_>, signals: &Signals) -> String {
    let rules: Vec<Node> = alerts(watched, signals)
        .into_iter()
        .map(|alert| alert.node(watched))
        .collect();
    let document = map! {
        "groups" => Node::List(vec![map! {
            "name" => watched.job.clone();
            "rules" => Node::List(rules);
        }]);
    };
    document.document("Alerts for Prometheus; thresholds are the plan's.")
}

impl Alert {
    fn node(self, watched: &Watched<'_>) -> Node {
        map! {
            "alert" => self.name;
            "expr" => self.expression;
            "for" => format!("{}m", self.minutes);
            "labels" => map! {
                "severity" => self.severity;
                "job" => watched.job.clone();
            };
            "annotations" => map! {
                "summary" => self.summary;
                "action" => self.action;
            };
        }
    }
}

fn alerts(watched: &Watched<'_>, signals: &Signals) -> Vec<Alert> {
    let job = &watched.job;
    let start = watched.start_minutes;
    let concurrency = watched.concurrency;
    let up = format!("up{{job=\"{job}\"}}");
    let instance = "{{ $labels.instance }}";
    let mut alerts = vec![
        Alert {
            name: "ServerDown",
            expression: format!("{up} == 0 and max_over_time({up}[1h]) == 1"),
            minutes: 3,
            severity: "critical",
            summary: format!("{instance} of {job} answered within the hour and doesn't any more."),
            action: "Look at the server's log and at the machine's memory.",
        },
        Alert {
            name: "ServerNotStarting",
            expression: format!("{up} == 0"),
            minutes: start,
            severity: "critical",
            summary: format!(
                "{instance} of {job} hasn't answered for {start} minutes, in which the model should have loaded."
            ),
            action: "Look at the server's log, and whether the weights are where they should be.",
        },
        Alert {
            name: "ServerUnknown",
            expression: format!("absent({up})"),
            minutes: 5,
            severity: "critical",
            summary: format!("Prometheus has no server of {job} to ask."),
            action: "Look at the addresses in prometheus.yaml.",
        },
        Alert {
            name: "RequestsWait",
            expression: format!("{} > {concurrency}", signals.waiting),
            minutes: 10,
            severity: "warning",
            summary: format!(
                "More requests wait than {job} answers at the same moment ({concurrency})."
            ),
            action: "Add a copy, or plan for more requests at the same moment.",
        },
    ];
    alerts.extend(slow(
        "SlowFirstToken",
        "first tokens",
        &signals.first_token,
        watched.first_token.map(|time| time.most),
        "Look whether requests wait, or prompts are longer than planned.",
    ));
    alerts.extend(slow(
        "SlowTokens",
        "tokens",
        &signals.next_token,
        watched.next_token.map(|time| time.most),
        "Look whether more requests are answered at the same moment than planned.",
    ));
    if let (Some(failed), Some(finished)) = (&signals.failed, &signals.finished) {
        alerts.push(Alert {
            name: "RequestsFail",
            expression: format!("{failed} / {finished} > 0.05"),
            minutes: 5,
            severity: "critical",
            summary: format!("More than one in 20 requests to {job} fails."),
            action: "Look at the server's log for the errors.",
        });
    }
    if let Some(refused) = &signals.refused {
        alerts.push(Alert {
            name: "RequestsRefused",
            expression: format!("{refused} > 0"),
            minutes: 10,
            severity: "warning",
            summary: format!("The queue of {job} is full, and requests are refused."),
            action: "Add a copy, or slow the clients down.",
        });
    }
    alerts.push(full(watched, signals));
    alerts
}

/// No room for another request: by the cache where the engine tells how full it is.
fn full(watched: &Watched<'_>, signals: &Signals) -> Alert {
    let job = &watched.job;
    match &signals.cache {
        Some(cache) => Alert {
            name: "CacheFull",
            expression: format!("{cache} > {CACHE_FULL}"),
            minutes: 15,
            severity: "warning",
            summary: format!("The cache of keys and values of {job} is nearly full."),
            action: "Shorten the context, lower the number of requests at the same moment, or store \
                     the cache in fewer bits.",
        },
        None => Alert {
            name: "EveryPlaceTaken",
            expression: format!("{} >= {}", signals.running, watched.concurrency),
            minutes: 15,
            severity: "warning",
            summary: format!(
                "{job} has answered as many requests as it can at the same moment for 15 minutes."
            ),
            action: "Add a copy, or plan for more requests at the same moment if memory allows it.",
        },
    }
}

/// An alert on a time that stays above what the plan predicts.
fn slow(
    name: &'static str,
    what: &str,
    lines: &[Named],
    limit: Option<f64>,
    action: &'static str,
) -> Option<Alert> {
    let ((quantile, expression), limit) = lines.last().zip(limit)?;
    let which = match *quantile {
        "mean" => "on average",
        _ => "one in 20 of them",
    };
    Some(Alert {
        name,
        expression: format!("{expression} > {limit}"),
        minutes: 10,
        severity: "warning",
        summary: format!("Slow {what}: {which} takes more than the plan's {limit} seconds."),
        action,
    })
}
