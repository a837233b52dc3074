//! From a need to ranked choices: `recommend NEED [--hardware NAME|detect] [--data PATH] [--json]
//! [--html FILE]`.
//!
//! NEED is a text in English or French, or a file whose name ends in `.json`. NAME is a device of
//! the hardware table, with a number before it if there are several (`2xL4`); `detect` takes this
//! machine; its processor is measured for some seconds. PATH is your data, a file or a folder: its lengths
//! and languages fill what the need leaves open. FILE gets the same as a page to open in a browser.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use mistral_core::dataset::{DatasetProfile, profile};
use mistral_core::hardware::Hardware;
use mistral_core::need::{HardwareNeed, Need, Ownership};
use mistral_core::recommendation::Recommendation;
use mistral_examples::{
    Options, Outcome, UsageError, print_line, recommendation, run, today, write_beside,
};
use mistral_infer::probe;
use mistral_recommend::{
    Context, RecommendError, answer, explain, failed, page, understand, understand_json,
};

fn main() -> ExitCode {
    let options = Options {
        valued: &["hardware", "html", "data"],
        switches: &["json"],
        max_positional: 1,
    };
    run(
        "NEED [--hardware NAME|detect] [--data PATH] [--json] [--html FILE]",
        &options,
        |arguments| {
            let need = arguments.required(0, "NEED")?;
            let mut context = Context::embedded(&today());
            let machines = match arguments.text("hardware") {
                Some(name) => Some(machines(name, &mut context)?),
                None => None,
            };
            let data = match arguments.text("data") {
                Some(path) => Some(profile(Path::new(path), None)?),
                None => None,
            };
            let result = served(need, machines, data.as_ref(), &context)?;
            let html = arguments.text("html");
            if !arguments.switch("json") && html.is_none() {
                print!("{}", recommendation::render(&result?, 5));
                return Ok(Outcome::Good);
            }
            // A need that can't be served is an answer too: the object says why.
            let object = result.unwrap_or_else(|e| {
                let said = Need {
                    text: Some(need.to_owned()),
                    ..Need::default()
                };
                failed(said, &e)
            });
            if let Some(file) = html {
                write_beside(Path::new(file), &page(&object))?;
            }
            if arguments.switch("json") {
                print_line(&object)?;
            } else {
                print!("{}", recommendation::render(&object, 5));
            }
            Ok(Outcome::Good)
        },
    )
}

/// The answer to a text or a file; the outer error is about the file itself.
fn served(
    need: &str,
    machines: Option<Vec<HardwareNeed>>,
    data: Option<&DatasetProfile>,
    context: &Context<'_>,
) -> Result<Result<Recommendation, RecommendError>, Box<dyn Error>> {
    let understood = if need.ends_with(".json") {
        let text = std::fs::read_to_string(need).map_err(|e| UsageError(format!("{need}: {e}")))?;
        understand_json(&text, context)
    } else {
        understand(need, context)
    };
    Ok(understood.and_then(|mut understood| {
        if let Some(machines) = machines {
            understood.on(machines);
        }
        if let Some(data) = data {
            understood.with_data(data);
        }
        let mut answer = answer(understood, context)?;
        explain(&mut answer, context);
        Ok(answer)
    }))
}

fn machines(name: &str, context: &mut Context<'_>) -> Result<Vec<HardwareNeed>, UsageError> {
    if name == "detect" {
        return Ok(detected(context));
    }
    let (count, device) = match name.split_once(['x', 'X']) {
        Some((n, rest)) if n.trim().parse::<u32>().is_ok_and(|n| n > 0) => {
            (n.trim().parse().unwrap_or(1), rest.trim())
        }
        _ => (1, name),
    };
    let found = context
        .device(device)
        .ok_or_else(|| UsageError(format!("no device {device:?} in the hardware table")))?;
    Ok(vec![owned(&found.name, count, None)])
}

/// The accelerators of this machine, or its processor.
fn detected(context: &mut Context<'_>) -> Vec<HardwareNeed> {
    let machine = Hardware::detect();
    let mut found: Vec<HardwareNeed> = Vec::new();
    for gpu in &machine.gpus {
        let Some(device) = &gpu.device else {
            eprintln!("{} is not in the hardware table", gpu.model);
            continue;
        };
        match found
            .iter_mut()
            .find(|h| h.device.as_deref() == Some(device))
        {
            Some(same) => same.count += 1,
            None => found.push(owned(device, 1, Some(gpu.memory_bytes as f64 / 1e9))),
        }
    }
    if found.is_empty() {
        let name = context.add_machine(&machine);
        measure(&name, context);
        found.push(owned(&name, 1, Some(machine.memory_bytes as f64 / 1e9)));
    }
    found
}

/// Replaces what the table says of this machine's processor by what it does.
fn measure(name: &str, context: &mut Context<'_>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    match probe(threads, &mut |part| eprintln!("measuring {part}")) {
        Ok(rates) => {
            for device in context.extra_devices.iter_mut().filter(|d| d.name == name) {
                *device = device.clone().with_rates(rates.clone());
            }
        }
        Err(e) => eprintln!("not measured, the table stands: {e}"),
    }
}

fn owned(device: &str, count: u32, memory_gb: Option<f64>) -> HardwareNeed {
    HardwareNeed {
        device: Some(device.to_owned()),
        count,
        memory_gb: memory_gb.filter(|m| *m > 0.0),
        ownership: Ownership::Owned,
    }
}
