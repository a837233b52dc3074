//! Runs two programs that print a [`BenchLine`] in turn (A B A B …) and tells the medians of their ratios.
#![forbid(unsafe_code)]

use mistral_examples::{BenchLine, Options, Outcome, UsageError, median, print_line, run};
use serde_json::json;
use std::error::Error;
use std::process::{Command, ExitCode};

const USAGE: &str = "--name NAME --ours PROGRAM --peer PROGRAM [--rounds N] -- ARGUMENTS OF BOTH \
                     [-- MORE ARGUMENTS OF THE PEER]";

fn main() -> ExitCode {
    let options = Options {
        valued: &["name", "ours", "peer", "rounds"],
        switches: &[],
        max_positional: 64,
    };
    run(USAGE, &options, |arguments| {
        let program = |name: &str| {
            let given = arguments.text(name);
            given
                .ok_or_else(|| UsageError(format!("--{name} is missing")))
                .map(str::to_owned)
        };
        let words: Vec<&str> = (0..)
            .map_while(|index| arguments.positional(index))
            .collect();
        let mut parts = words.split(|&word| word == "--");
        let both = parts.next().unwrap_or_default();
        let peer_only = parts.next().unwrap_or_default();
        let (ours, peer) = (program("ours")?, program("peer")?);
        let peer_words = [both, peer_only].concat();

        let mut rounds = Vec::new();
        for round in 0..arguments.value("rounds", 5usize)? {
            let pair = (measure(&ours, both)?, measure(&peer, &peer_words)?);
            eprintln!(
                "round {round}: prefill {:.1} and {:.1}, decode {:.2} and {:.2} tokens/s",
                pair.0.prefill_tokens_per_s,
                pair.1.prefill_tokens_per_s,
                pair.0.decode_tokens_per_s,
                pair.1.decode_tokens_per_s
            );
            rounds.push(pair);
        }
        print_line(&summary(&program("name")?, &rounds)?)?;
        Ok(Outcome::Good)
    })
}

fn measure(program: &str, words: &[&str]) -> Result<BenchLine, Box<dyn Error>> {
    let output = Command::new(program)
        .args(words)
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    serde_json::from_str(text.trim()).map_err(|e| format!("{program} printed {text:?}: {e}").into())
}

/// One figure of a line.
type Figure = fn(&BenchLine) -> f64;

/// Medians of the figures and of the ratios ours/peer within a round, with the smallest and the largest.
fn summary(
    name: &str,
    rounds: &[(BenchLine, BenchLine)],
) -> Result<serde_json::Value, Box<dyn Error>> {
    let (last_ours, last_peer) = rounds.last().ok_or("--rounds 0")?;
    let mut line = json!({
        "name": name,
        "rounds": rounds.len(),
        "ours": last_ours.kernel_path,
        "peer": last_peer.kernel_path,
    });
    let figures: [(&str, Figure); 4] = [
        ("prefill_tokens_per_s", |l| l.prefill_tokens_per_s),
        ("decode_tokens_per_s", |l| l.decode_tokens_per_s),
        ("load_ms", |l| l.load_ms),
        ("peak_rss_bytes", |l| l.peak_rss_bytes as f64),
    ];
    for (figure, of) in figures {
        let ours: Vec<f64> = rounds.iter().map(|(ours, _)| of(ours)).collect();
        let peer: Vec<f64> = rounds.iter().map(|(_, peer)| of(peer)).collect();
        let ratios: Vec<f64> = ours.iter().zip(&peer).map(|(a, b)| a / b).collect();
        line[figure] = json!({
            "ours": median(&ours),
            "peer": median(&peer),
            "ratio": median(&ratios),
            "ratio_min": ratios.iter().copied().reduce(f64::min),
            "ratio_max": ratios.iter().copied().reduce(f64::max),
        });
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(decode_tokens_per_s: f64) -> BenchLine {
        BenchLine {
            prefill_tokens_per_s: 1.0,
            decode_tokens_per_s,
            ttft_ms: 1.0,
            first_ttft_ms: 0.0,
            load_ms: 1.0,
            load_and_ttft_ms: 0.0,
            peak_rss_bytes: 1,
            weight_bytes: 1,
            read_bytes_per_s: 1.0,
            plain_read_bytes_per_s: 1.0,
            kernel_path: "path".into(),
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The medians of each side alone would give 20/10.
        let rounds = [(10.0, 10.0), (20.0, 5.0), (30.0, 15.0)].map(|(a, b)| (line(a), line(b)));
        let summary = summary("dense", &rounds).expect("three rounds");
        let decode = &summary["decode_tokens_per_s"];
        assert_eq!(decode["ratio"], 2.0);
        assert_eq!(
            (&decode["ratio_min"], &decode["ratio_max"]),
            (&json!(1.0), &json!(4.0))
        );
        assert!(super::summary("dense", &[]).is_err());
    }
}
