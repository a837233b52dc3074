//! What is in your data: `profile_data PATH [--tokenizer FILE] [--json]`.
//!
//! PATH is a file or a folder of JSON Lines, JSON, CSV, Parquet or plain text, gzipped or not. FILE
//! is a tokenizer or a model's folder with one; without it tokens are estimated. Prints a table, or
//! with `--json` one object. Progress goes to standard error.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use mistral_core::dataset::{CountTokens, Counting, DatasetProfile, Lengths, Profiler, Progress};
use mistral_examples::{Options, Outcome, UsageError, print_line, run};
use mistral_infer::tokenizer::Tokenizer;

fn main() -> ExitCode {
    let options = Options {
        valued: &["tokenizer"],
        switches: &["json"],
        max_positional: 1,
    };
    run("PATH [--tokenizer FILE] [--json]", &options, |arguments| {
        let path = Path::new(arguments.required(0, "PATH")?);
        let tokenizer = arguments.text("tokenizer").map(Tokenizer::from_file);
        let tokenizer = tokenizer.transpose()?;
        let mut profiler = Profiler::default().on_progress(tell);
        if let Some(tokenizer) = &tokenizer {
            profiler = profiler.with_tokenizer(tokenizer as &dyn CountTokens);
        }
        profiler.read_path(path)?;
        let profile = profiler.finish();
        if arguments.switch("json") {
            print_line(&profile)?;
        } else {
            print!("{}", table(&profile)?);
        }
        let problem = profile.files.iter().find_map(|f| f.problem.as_ref());
        match problem {
            // Nothing at all could be read: that is no profile of the data.
            Some(problem) if profile.rows == 0 => {
                Err(UsageError(format!("{}: {problem}", path.display())).into())
            }
            _ => Ok(Outcome::Good),
        }
    })
}

fn tell(progress: &Progress<'_>) {
    let of = match progress.bytes_total {
        0 => String::new(),
        total => format!(" of {}", megabytes(total)),
    };
    let bytes = megabytes(progress.bytes);
    eprintln!("{bytes}{of}, {} rows: {}", progress.rows, progress.file);
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// A name as it is serialised.
fn name(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    let text = value.as_str().or_else(|| value["kind"].as_str());
    text.unwrap_or_default().replace('_', " ")
}

fn counts<K: serde::Serialize>(of: &std::collections::BTreeMap<K, u64>) -> String {
    let one = |(key, n): (&K, &u64)| format!("{} {n}", name(key));
    of.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn table(p: &DatasetProfile) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let files = p.files_total;
    writeln!(
        out,
        "rows        {} in {files} files, {}",
        p.rows,
        megabytes(p.bytes)
    )?;
    if p.files_ignored > 0 {
        writeln!(out, "ignored     {} files of other kinds", p.files_ignored)?;
    }
    for file in p.files.iter().take(10) {
        let packed = if file.gzip { ", gzip" } else { "" };
        let format = name(&file.format);
        writeln!(out, "  {}: {format}{packed}, {} rows", file.file, file.rows)?;
        if let Some(problem) = &file.problem {
            writeln!(out, "    not read to its end: {problem}")?;
        }
    }
    if files > 10 {
        writeln!(out, "  and {} more", files - 10)?;
    }
    writeln!(out, "form        {}", counts(&p.shapes))?;
    if !p.speakers.is_empty() {
        writeln!(out, "messages    {}", counts(&p.speakers))?;
    }
    for column in p.columns.iter().take(20) {
        let kinds = counts(&column.kinds);
        writeln!(
            out,
            "  {:?}: {} filled, {kinds}",
            column.name, column.filled
        )?;
    }
    languages(&mut out, p)?;
    lengths(&mut out, p)?;
    faults(&mut out, p)?;
    Ok(out)
}

fn languages(out: &mut String, p: &DatasetProfile) -> std::fmt::Result {
    let shares = p.languages.shares.iter().take(8);
    let shares: Vec<String> = shares
        .map(|l| format!("{} {:.0} %", l.language, l.share * 100.0))
        .collect();
    writeln!(
        out,
        "languages   {}; {:.0} % not told (sample of {} rows)",
        if shares.is_empty() {
            "none".to_owned()
        } else {
            shares.join(", ")
        },
        p.languages.unknown * 100.0,
        p.languages.sampled_rows
    )
}

fn lengths(out: &mut String, p: &DatasetProfile) -> std::fmt::Result {
    match &p.tokens.counting {
        Counting::Exact { tokenizer } => {
            writeln!(
                out,
                "tokens      {}, counted by {tokenizer}",
                p.tokens.total
            )?;
        }
        Counting::Estimated {
            like,
            relative_error,
        } => {
            let error = relative_error * 100.0;
            let total = p.tokens.total;
            writeln!(
                out,
                "tokens      about {total}, estimated as {like} counts, to {error:.0} %"
            )?;
        }
    }
    writeln!(
        out,
        "{:12}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "number", "mean", "p50", "p90", "p95", "p99", "max"
    )?;
    let parts = [
        ("prompts", p.tokens.prompts.as_ref()),
        ("answers", p.tokens.answers.as_ref()),
        ("rows", Some(&p.tokens.rows)),
        ("turns", p.turns.as_ref()),
    ];
    for (name, l) in parts {
        if let Some(l) = l {
            line(out, name, l)?;
        }
    }
    Ok(())
}

fn line(out: &mut String, name: &str, l: &Lengths) -> std::fmt::Result {
    writeln!(
        out,
        "  {name:10}{:>10}{:>10.1}{:>10}{:>10}{:>10}{:>10}{:>10}",
        l.count, l.mean, l.p50, l.p90, l.p95, l.p99, l.max
    )
}

fn faults(out: &mut String, p: &DatasetProfile) -> std::fmt::Result {
    let d = &p.duplicates;
    let about = if d.exact { "" } else { "about " };
    writeln!(out, "repeated    {about}{} rows", d.rows)?;
    writeln!(out, "empty       {} rows", p.empty_rows)?;
    if let Some(longest) = p.longest.first() {
        let place = &longest.place;
        let tokens = longest.tokens;
        writeln!(
            out,
            "longest     {tokens} tokens in {}, line {}",
            place.file, place.line
        )?;
    }
    writeln!(out, "unreadable  {} rows", p.unreadable_rows)?;
    for fault in &p.faults {
        let place = &fault.place;
        writeln!(
            out,
            "  {}, line {}: {}",
            place.file, place.line, fault.problem
        )?;
    }
    Ok(())
}
