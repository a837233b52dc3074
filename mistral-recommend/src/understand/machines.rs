//! Machines in a text: named devices with their number, and memory without a name.

use mistral_core::hardware::{Device, DeviceKind};
use mistral_core::need::{HardwareNeed, Ownership};

use super::Notes;
use super::amounts::{Amount, small_number};
use super::pieces::{Kind, Piece};
use crate::{Context, RecommendError};

const MEMORY: &[&str] = &[
    "gb",
    "go",
    "gib",
    "gigs",
    "gig",
    "gigabytes",
    "gigaoctets",
    "g",
];
const LARGE: &[&str] = &["tb", "to", "tib"];
const SMALL: &[&str] = &["mb", "mo", "mib"];
/// Words that make an amount of memory a graphics card's.
const CARD: &[&str] = &[
    "vram",
    "gpu",
    "gpus",
    "card",
    "cards",
    "carte",
    "cartes",
    "graphics",
    "graphique",
    "nvidia",
    "geforce",
];
/// Words that make it a computer's.
const COMPUTER: &[&str] = &[
    "ram",
    "laptop",
    "portable",
    "notebook",
    "pc",
    "computer",
    "ordinateur",
    "desktop",
    "server",
    "serveur",
    "memory",
    "memoire",
    "machine",
    "cpu",
    "vm",
    "workstation",
    "ultrabook",
    "thinkpad",
];
const APPLE: &[&str] = &["mac", "macbook", "imac", "apple", "macmini"];
/// Words that say that an amount of memory is data on a disk.
const DATA: &[&str] = &[
    "data", "corpus", "dataset", "disk", "disque", "storage", "stockage", "fichiers", "files",
    "donnees", "pdfs",
];

/// Most devices of one kind that a need may name.
const MOST_DEVICES: f64 = 4096.0;
/// Devices in a large server.
const IN_ONE_MACHINE: f64 = 8.0;

/// Reads the machines; marks the amounts that belong to them as used.
pub(super) fn machines(
    pieces: &[Piece],
    amounts: &[Amount],
    used: &mut [bool],
    context: &Context<'_>,
    notes: &mut Notes,
) -> Result<Vec<HardwareNeed>, RecommendError> {
    let mut found: Vec<HardwareNeed> = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        let Kind::Device(name) = &piece.kind else {
            continue;
        };
        let count = count_of(pieces, i, context, notes)?;
        mark_count(pieces, amounts, used, i);
        let memory = memory_after(pieces, amounts, used, i);
        let mut machine = HardwareNeed {
            device: Some(name.clone()),
            count,
            memory_gb: None,
            ownership: Ownership::Owned,
        };
        if let Some(gb) = memory {
            fit_memory(&mut machine, gb, context);
        }
        match found
            .iter_mut()
            .find(|m| m.device == machine.device && m.memory_gb == machine.memory_gb)
        {
            // The same device again is the same machine, said twice.
            Some(same) => same.count = same.count.max(machine.count),
            None => found.push(machine),
        }
    }
    if found.is_empty() {
        found.extend(unnamed(pieces, amounts, used, context, notes)?);
    }
    Ok(found)
}

/// The number before a device (`two L4`, `2x H100`, `a pair of`), or after (`L4 x2`).
fn count_of(
    pieces: &[Piece],
    device: usize,
    context: &Context<'_>,
    notes: &mut Notes,
) -> Result<u32, RecommendError> {
    let said = number_before(pieces, device)
        .map(|(_, v)| v)
        .or_else(|| match pieces.get(device + 1)?.text.strip_prefix('x') {
            Some("") => small_number(pieces.get(device + 2)?),
            Some(digits) => digits.parse().ok(),
            None => None,
        })
        .or_else(|| {
            let pair = device > 1
                && pieces[device - 1].is(&["of", "de"])
                && pieces[device - 2].is(&["pair", "paire"]);
            pair.then_some(2.0)
        });
    // `H100s` without a number: as many as one machine holds.
    let text = pieces[device].text.as_str();
    let plural = text.ends_with('s') && context.device(text).is_none();
    let value = said.unwrap_or(if plural { IN_ONE_MACHINE } else { 1.0 });
    if said.is_none() && plural {
        notes.assume("hardware.count", &value.to_string());
    }
    if !(1.0..=MOST_DEVICES).contains(&value) || value.fract() != 0.0 {
        return Err(RecommendError::OutOfRange {
            field: "hardware.count",
            expected: "a whole number from 1 to 4096",
            found: value,
        });
    }
    Ok(value as u32)
}

fn number_before(pieces: &[Piece], device: usize) -> Option<(usize, f64)> {
    let skip = |p: &Piece| {
        p.is(&[
            "x", "*", "nvidia", "amd", "intel", "of", "de", "the", "my", "our", "new", "old",
            "used", "cartes", "gpu", "gpus", "cards", "des", "-",
        ])
    };
    let mut i = device;
    for _ in 0..3 {
        i = i.checked_sub(1)?;
        if let Some(value) = small_number(&pieces[i]) {
            return Some((i, value));
        }
        if !skip(&pieces[i]) {
            return None;
        }
    }
    None
}

fn mark_count(pieces: &[Piece], amounts: &[Amount], used: &mut [bool], device: usize) {
    let before = number_before(pieces, device).map(|(i, _)| i);
    let after = pieces
        .get(device + 1)
        .filter(|p| p.text == "x")
        .map(|_| device + 2);
    for (n, a) in amounts.iter().enumerate() {
        used[n] |= Some(a.start) == before || Some(a.start) == after;
    }
}

fn gigabytes(amount: &Amount) -> Option<f64> {
    let unit = amount.unit.as_str();
    let factor = if MEMORY.contains(&unit) {
        1.0
    } else if LARGE.contains(&unit) {
        1000.0
    } else if SMALL.contains(&unit) {
        0.001
    } else {
        return None;
    };
    Some(amount.value * factor)
}

/// An amount of memory that directly follows a device: `A100 40GB`, `M4 Pro with 24 GB`.
fn memory_after(
    pieces: &[Piece],
    amounts: &[Amount],
    used: &mut [bool],
    device: usize,
) -> Option<f64> {
    let (n, amount) = amounts.iter().enumerate().find(|(_, a)| a.start > device)?;
    let links = &pieces[device + 1..amount.start];
    let near = links.len() <= 3
        && links.iter().all(|p| {
            p.is(&[
                "with", "avec", "of", "de", "(", "-", "and", "et", ",", "a", "gpu", "card", "has",
                "cards", "gpus",
            ])
        });
    let gb = gigabytes(amount).filter(|_| near)?;
    used[n] = true;
    Some(gb)
}

/// Takes the variant of a device that has this memory, or its own with the memory changed.
fn fit_memory(machine: &mut HardwareNeed, gb: f64, context: &Context<'_>) {
    let Some(name) = machine.device.clone() else {
        return;
    };
    let Some(listed) = context.device(&name) else {
        return;
    };
    if (listed.memory_gb - gb).abs() <= 0.06 * listed.memory_gb {
        return;
    }
    let family: String = name
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric())
        .collect();
    match context.device(&format!("{family} {gb} GB")) {
        Some(variant) => machine.device = Some(variant.name.clone()),
        None => machine.memory_gb = Some(gb),
    }
}

/// A machine that is only known by its memory or its kind.
fn unnamed(
    pieces: &[Piece],
    amounts: &[Amount],
    used: &mut [bool],
    context: &Context<'_>,
    notes: &mut Notes,
) -> Result<Option<HardwareNeed>, RecommendError> {
    let said = |words: &[&str]| pieces.iter().any(|p| p.is(words));
    let memory = amounts.iter().enumerate().find_map(|(n, a)| {
        let near = super::amounts::Around::of(pieces, a);
        let belongs = near.has(CARD)
            || near.has(COMPUTER)
            || near.has(APPLE)
            || MEMORY.contains(&a.unit.as_str());
        gigabytes(a)
            .filter(|_| belongs && !near.has(DATA))
            .map(|gb| (n, gb))
    });
    if let Some((n, _)) = memory {
        used[n] = true;
    }
    let gb = memory.map(|(_, gb)| gb);
    if let Some(found) = gb.filter(|gb| !(0.1..=1e6).contains(gb)) {
        return Err(RecommendError::OutOfRange {
            field: "hardware.memory_gb",
            expected: "0.1 to 1e6",
            found,
        });
    }
    let no_card = no_card(pieces);
    let device = if said(APPLE) {
        slowest(context, gb.unwrap_or(16.0), |d| {
            d.kind == DeviceKind::Unified
        })
    } else if gb.is_some() && !no_card && (said(CARD) || !said(COMPUTER)) {
        slowest(context, gb.unwrap_or_default(), |d| {
            d.vendor == "NVIDIA"
                && matches!(
                    d.kind,
                    DeviceKind::ConsumerGpu
                        | DeviceKind::WorkstationGpu
                        | DeviceKind::DatacenterGpu
                )
        })
    } else if gb.is_some()
        || no_card
        || said(&["laptop", "notebook", "ultrabook", "pc", "desktop"])
        || said(&["ordinateur"])
    {
        // A common desktop processor: two channels of memory, as laptops have too.
        context.device("Core i9-13900K DDR5-6400")
    } else {
        None
    };
    let Some(device) = device else {
        return Ok(None);
    };
    notes.assume("hardware.device", &device.name);
    let memory_gb = gb.unwrap_or(16.0);
    if gb.is_none() {
        notes.assume("hardware.memory_gb", "16");
    }
    let cards = amounts
        .iter()
        .enumerate()
        .find(|(_, a)| {
            matches!(
                a.unit.as_str(),
                "gpu" | "gpus" | "cards" | "cartes" | "card"
            ) || a.unit == "x"
        })
        .map(|(n, a)| (n, a.value));
    if let Some((n, _)) = cards {
        used[n] = true;
    }
    let count = cards.map_or(1.0, |(_, v)| v).clamp(1.0, MOST_DEVICES) as u32;
    let same = (device.memory_gb - memory_gb).abs() <= 0.06 * device.memory_gb;
    Ok(Some(HardwareNeed {
        device: Some(device.name.clone()),
        count,
        memory_gb: (!same).then_some(memory_gb),
        ownership: Ownership::Owned,
    }))
}

/// `no GPU`, `CPU only`, `sans carte graphique`.
fn no_card(pieces: &[Piece]) -> bool {
    pieces.windows(2).any(|w| {
        w[0].is(&["no", "without", "sans", "zero", "pas"])
            && w[1].is(&["gpu", "gpus", "carte", "card", "graphics"])
    }) || pieces
        .windows(2)
        .any(|w| w[0].is(&["cpu"]) && w[1].is(&["only", "uniquement", "seulement", "-"]))
        || pieces
            .iter()
            .any(|p| p.is(&["cpu", "processor", "processeur"]))
        || pieces
            .windows(3)
            .any(|w| w[0].is(&["pas"]) && w[1].is(&["de", "d"]) && w[2].is(&["gpu", "carte"]))
}

/// The slowest listed device with about this memory, or the slowest with more.
fn slowest<'c>(
    context: &'c Context<'_>,
    gb: f64,
    kind: impl Fn(&Device) -> bool,
) -> Option<&'c Device> {
    let by_speed = |a: &&Device, b: &&Device| {
        a.bandwidth_gb_per_s
            .total_cmp(&b.bandwidth_gb_per_s)
            .then_with(|| a.name.cmp(&b.name))
    };
    let of_kind = || context.hardware.iter().filter(|d| kind(d));
    of_kind()
        .filter(|d| (d.memory_gb - gb).abs() <= 0.06 * gb)
        .min_by(by_speed)
        .or_else(|| of_kind().filter(|d| d.memory_gb >= gb).min_by(by_speed))
        .or_else(|| {
            of_kind().max_by(|a, b| {
                a.memory_gb
                    .total_cmp(&b.memory_gb)
                    .then_with(|| b.name.cmp(&a.name))
            })
        })
}

/// Whether the text says that machines are rented.
pub(super) fn ownership(pieces: &[Piece]) -> Option<Ownership> {
    let said = |words: &[&str]| pieces.iter().any(|p| p.is(words));
    if said(&[
        "rent",
        "rented",
        "renting",
        "rental",
        "cloud",
        "aws",
        "gcp",
        "azure",
        "runpod",
        "lambda",
        "louer",
        "loue",
        "louee",
        "location",
        "hyperstack",
        "ovh",
        "scaleway",
        "spot",
        "ec2",
    ]) {
        Some(Ownership::Rented)
    } else if said(&[
        "my", "our", "own", "owned", "have", "mon", "ma", "mes", "notre", "nos", "ai", "avons",
        "bought", "home", "maison", "laptop", "macbook", "portable", "desktop",
    ]) {
        Some(Ownership::Owned)
    } else {
        None
    }
}
