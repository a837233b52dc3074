//! The dashboard, in Grafana's classic form: one JSON object with its panels.

use serde_json::{Value, json};

use super::signals::{Named, Signals};
use super::{Predicted, Watched};

/// Version of the form, `schemaVersion`.
const FORM: u32 = 39;
const HEIGHT: u32 = 8;
const WIDTH: u32 = 12;

/// What a panel shows.
struct Panel {
    title: &'static str,
    about: String,
    unit: &'static str,
    lines: Vec<Named>,
    /// Lines across: what is usual, what is too much; and the highest value of the axis.
    usual: Option<f64>,
    limit: Option<f64>,
    most: Option<f64>,
}

/// The dashboard's file.
pub(super) fn dashboard(watched: &Watched<'_>, signals: &Signals) -> Value {
    let source = json!({"type": "prometheus", "uid": "${source}"});
    let panels: Vec<Value> = panels(watched, signals)
        .iter()
        .enumerate()
        .map(|(i, panel)| panel.json(i as u32, &source))
        .collect();
    let instances = format!("label_values(up{{job=\"{}\"}}, instance)", watched.job);
    json!({
        "uid": watched.job,
        "title": watched.name,
        "description": format!("{} on {}", watched.name, watched.engine),
        "tags": ["mistral", watched.engine],
        "timezone": "browser",
        "schemaVersion": FORM,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "annotations": {"list": []},
        "templating": {"list": [
            {"type": "datasource", "name": "source", "label": "Prometheus", "query": "prometheus"},
            {
                "type": "query", "name": "instance", "label": "Server", "datasource": source,
                "query": instances, "definition": instances,
                "refresh": 2, "multi": true, "includeAll": true, "allValue": ".*",
                "current": {"text": ["All"], "value": ["$__all"]},
            },
        ]},
        "panels": panels,
    })
}

fn panels(watched: &Watched<'_>, signals: &Signals) -> Vec<Panel> {
    let one = |name, text: &String| vec![(name, text.clone())];
    let predicted = |what: &str, time: Option<Predicted>| match time {
        Some(_) => {
            format!("{what} The lines are the plan's prediction (orange) and its upper end (red).")
        }
        None => what.to_owned(),
    };
    let seconds = |title, about: &str, lines: &[Named], time: Option<Predicted>| Panel {
        title,
        about: predicted(about, time),
        unit: "s",
        lines: lines.to_vec(),
        usual: time.map(|time| time.usual),
        limit: time.map(|time| time.most),
        most: None,
    };
    let mut requests = one("answered", &signals.running);
    requests.extend(one("waiting", &signals.waiting));
    let concurrency = f64::from(watched.concurrency);
    let mut all = vec![
        Panel {
            title: "Requests",
            about:
                "Being answered, and waiting. The line is how many the plan answers at the same \
                    moment."
                    .to_owned(),
            unit: "short",
            lines: requests,
            usual: None,
            limit: Some(concurrency),
            most: None,
        },
        Panel {
            title: "Tokens a second",
            about: "Read in prompts, and written in answers.".to_owned(),
            unit: "short",
            lines: signals.tokens.clone(),
            usual: None,
            limit: None,
            most: None,
        },
        seconds(
            "Time to the first token",
            "From a request's arrival to its first token.",
            &signals.first_token,
            watched.first_token,
        ),
        seconds(
            "Time between tokens",
            "From one token of an answer to the next.",
            &signals.next_token,
            watched.next_token,
        ),
        seconds(
            "Time for an answer",
            "From a request's arrival to its answer's end.",
            &signals.answer,
            None,
        ),
    ];
    let named = |name, text: &Option<String>| text.clone().map(|text| (name, text));
    all.push(Panel {
        title: "Cache in use",
        about: "Keys and values of running requests; at 100 % requests wait or are put back."
            .to_owned(),
        unit: "percentunit",
        lines: named("fullest", &signals.cache).into_iter().collect(),
        usual: None,
        limit: Some(super::CACHE_FULL),
        most: Some(1.0),
    });
    let lines = [
        named("failed", &signals.failed),
        named("refused", &signals.refused),
    ];
    all.push(Panel {
        title: "Failed and refused",
        about: "Requests a second without an answer.".to_owned(),
        unit: "reqps",
        lines: lines.into_iter().flatten().collect(),
        usual: None,
        limit: None,
        most: None,
    });
    all.push(Panel {
        title: "Servers that answer",
        about: "1 for each server whose metrics could be read.".to_owned(),
        unit: "short",
        lines: vec![("{{instance}}", format!("up{{{}}}", watched.shown))],
        usual: None,
        limit: None,
        most: Some(1.0),
    });
    all.retain(|panel| !panel.lines.is_empty());
    all
}

impl Panel {
    fn json(&self, number: u32, source: &Value) -> Value {
        let targets: Vec<Value> = self
            .lines
            .iter()
            .enumerate()
            .map(|(i, (name, expression))| {
                let id = char::from(b'A' + i as u8).to_string();
                json!({
                    "refId": id, "datasource": source, "expr": expression,
                    "legendFormat": name, "range": true,
                })
            })
            .collect();
        let mut steps = vec![json!({"value": null, "color": "green"})];
        let usual = self.usual.filter(|usual| Some(*usual) < self.limit);
        steps.extend(usual.map(|u| json!({"value": u, "color": "orange"})));
        steps.extend(self.limit.map(|l| json!({"value": l, "color": "red"})));
        let style = if self.limit.is_some() { "line" } else { "off" };
        let mut defaults = json!({
            "unit": self.unit,
            "min": 0,
            "thresholds": {"mode": "absolute", "steps": steps},
            "custom": {"thresholdsStyle": {"mode": style}, "fillOpacity": 10, "showPoints": "never"},
        });
        if let Some(most) = self.most {
            defaults["max"] = json!(most);
        }
        json!({
            "id": number + 1,
            "type": "timeseries",
            "title": self.title,
            "description": self.about,
            "datasource": source,
            "gridPos": {
                "x": number % 2 * WIDTH, "y": number / 2 * HEIGHT, "w": WIDTH, "h": HEIGHT,
            },
            "targets": targets,
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
        })
    }
}
