//! Machines in a text: named devices with their number, and memory without a name.

use mistral_core::hardware::{Device, DeviceKind};
use mistral_core::need::{HardwareNeed, Ownership};

use super::Notes;
use super::amounts::{Amount, Around, small_number};
use super::pieces::{Kind, MINUS, Piece};
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
    "rtx",
    "gtx",
    "radeon",
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
/// Words that say that an amount of memory is data, or the disk that it lies on.
const DATA: &[&str] = &[
    "data",
    "corpus",
    "dataset",
    "disk",
    "disque",
    "storage",
    "stockage",
    "fichiers",
    "files",
    "donnees",
    "pdf",
    "pdfs",
    "documents",
    "document",
    "docs",
    "text",
    "texts",
    "textes",
    "logs",
    "emails",
    "mails",
    "contracts",
    "contrats",
    "transcripts",
    "articles",
    "books",
    "livres",
    "archives",
    "images",
    "photos",
    "videos",
    "audio",
    "recordings",
    "ssd",
    "nvme",
    "hdd",
];
/// Several devices stand in each of these.
const NODES: &[&str] = &[
    "server",
    "servers",
    "serveur",
    "serveurs",
    "machine",
    "machines",
    "node",
    "nodes",
    "noeuds",
    "host",
    "hosts",
    "box",
    "boxes",
    "workstations",
];
/// Beginnings of cards' names.
const FAMILIES: &[&str] = &[
    "rtx", "gtx", "rx", "radeon", "geforce", "quadro", "tesla", "arc",
];
/// Words behind a card's name that make it another card.
const VARIANTS: &[&str] = &["ti", "super", "xt", "xtx", "gre"];
/// Things that no listed device stands for, when something is to run on them.
const UNLISTED: &[&str] = &[
    "phone",
    "smartphone",
    "iphone",
    "ipad",
    "android",
    "tablet",
    "telephone",
    "tablette",
    "browser",
    "navigateur",
    "microcontroller",
    "arduino",
    "esp32",
];

/// Most devices of one kind that a need may name.
const MOST_DEVICES: f64 = 4096.0;
/// More memory in GB than a card that is spoken of without its name has.
const MOST_CARD_GB: f64 = 300.0;
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
        if let Some(name) = other_variant(pieces, i) {
            return Err(RecommendError::UnknownDevice {
                field: "hardware.device",
                name,
            });
        }
        let each = count_of(pieces, i, context, notes)?;
        mark_count(pieces, amounts, used, i);
        let count = each.saturating_mul(nodes(pieces, amounts, used, i));
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
        if let Some(name) = unlisted(pieces, amounts) {
            return Err(RecommendError::UnknownDevice {
                field: "hardware.device",
                name,
            });
        }
        found.extend(unnamed(pieces, amounts, used, context, notes)?);
    }
    Ok(found)
}

/// What a device is called when words behind its name make it another one that isn't in the table:
/// those that are would have been taken whole.
fn other_variant(pieces: &[Piece], device: usize) -> Option<String> {
    let name = &pieces[device].text;
    let next = pieces.get(device + 1)?;
    let generation = name.ends_with("pi")
        && matches!(next.kind, Kind::Number { .. })
        && !pieces.get(device + 2).is_some_and(|p| p.is(MEMORY));
    (next.is(VARIANTS) || generation).then(|| format!("{name} {}", next.text))
}

/// A thing to run on, or a card without its memory, that isn't in the table: nothing else may
/// silently take its place.
fn unlisted(pieces: &[Piece], amounts: &[Amount]) -> Option<String> {
    let thing = pieces.iter().enumerate().find(|(i, piece)| {
        let on = pieces[i.saturating_sub(3)..*i].iter();
        piece.is(UNLISTED) && on.into_iter().any(|p| p.is(&["on", "sur"]))
    });
    if let Some((_, thing)) = thing {
        return Some(thing.text.clone());
    }
    let card = pieces
        .windows(2)
        .find(|w| w[0].is(FAMILIES) && w[1].text.bytes().any(|b| b.is_ascii_digit()))?;
    let memory = memory(pieces, amounts, no_card(pieces));
    memory
        .is_none()
        .then(|| format!("{} {}", card[0].text, card[1].text))
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

/// How many servers hold the devices each: `two servers with 4 H100`.
fn nodes(pieces: &[Piece], amounts: &[Amount], used: &mut [bool], device: usize) -> u32 {
    let links = [
        "with", "of", "avec", "de", "each", "having", "x", "have", "has", "gpu", "nvidia",
    ];
    let linked = |p: &Piece| {
        p.is(&links)
            || p.is(NODES)
            || matches!(p.kind, Kind::Number { .. })
            || small_number(p).is_some()
    };
    let holding = amounts.iter().enumerate().rev().find(|(_, a)| {
        NODES.contains(&a.unit.as_str())
            && a.end < device
            && device - a.end <= 5
            && pieces[a.end..device].iter().all(linked)
    });
    match holding {
        Some((n, amount)) if (1.0..=MOST_DEVICES).contains(&amount.value) => {
            used[n] = true;
            amount.value as u32
        }
        _ => 1,
    }
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
            let minus = i
                .checked_sub(1)
                .is_some_and(|before| pieces[before].is(&[MINUS]));
            return Some((i, if minus { -value } else { value }));
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
    let no_card = no_card(pieces);
    let memory = memory(pieces, amounts, no_card);
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
    let Some(device) = stand_in(pieces, gb, no_card, context) else {
        return Ok(None);
    };
    notes.assume("hardware.device", &device.name);
    if let Some(gb) = gb.filter(|gb| device.kind != DeviceKind::Cpu && *gb > MOST_CARD_GB) {
        // More than any card has: the memory of several together.
        let count = (gb / device.memory_gb).ceil().clamp(1.0, MOST_DEVICES) as u32;
        notes.assume("hardware.count", &count.to_string());
        return Ok(Some(HardwareNeed {
            device: Some(device.name.clone()),
            count,
            memory_gb: None,
            ownership: Ownership::Owned,
        }));
    }
    let memory_gb = gb.unwrap_or(16.0);
    if gb.is_none() {
        notes.assume("hardware.memory_gb", "16");
    }
    let cards = ["gpu", "gpus", "cards", "cartes", "card", "x"];
    let cards = amounts
        .iter()
        .position(|a| cards.contains(&a.unit.as_str()))
        .filter(|_| !no_card);
    if let Some(n) = cards {
        used[n] = true;
    }
    let count = cards.map_or(1.0, |n| amounts[n].value);
    let same = (device.memory_gb - memory_gb).abs() <= 0.06 * device.memory_gb;
    Ok(Some(HardwareNeed {
        device: Some(device.name.clone()),
        count: count.clamp(1.0, MOST_DEVICES) as u32,
        memory_gb: (!same).then_some(memory_gb),
        ownership: Ownership::Owned,
    }))
}

/// The amount that is a machine's memory, in GB: a card's before a computer's, unless there is none.
fn memory(pieces: &[Piece], amounts: &[Amount], no_card: bool) -> Option<(usize, f64)> {
    let all: Vec<(usize, f64, Around<'_>)> = amounts
        .iter()
        .enumerate()
        .filter_map(|(n, amount)| {
            let near = Around::of(pieces, amount);
            let machine = near.has(CARD) || near.has(COMPUTER) || near.has(APPLE);
            let plain = MEMORY.contains(&amount.unit.as_str());
            let gb = gigabytes(amount)?;
            ((machine || plain) && !is_data(&near)).then_some((n, gb, near))
        })
        .collect();
    let of_card = |near: &Around<'_>| {
        near.follows(CARD, 3) && !near.follows(&["ram"], 2)
            || near.before.iter().take(2).any(|w| CARD.contains(w)) && !near.follows(&["ram"], 3)
    };
    let card = all.iter().find(|(_, _, near)| !no_card && of_card(near));
    card.or(all.first()).map(|(n, gb, _)| (*n, *gb))
}

/// `10 GB of documents`, `a corpus of 40 GB`, `1 TB SSD`.
fn is_data(near: &Around<'_>) -> bool {
    let of = near.follows(&["of", "de", "d", "worth"], 1)
        && near.follows(DATA, 5)
        && !near.follows(&["ram", "vram", "memory", "memoire"], 2);
    let has = |words: &[&str]| near.before.iter().take(3).any(|w| words.contains(w));
    let belongs = near.has(CARD) || near.has(COMPUTER) || near.has(APPLE);
    of || near.follows(DATA, 1) || has(DATA) && !belongs
}

/// A listed device for one that has no name.
fn stand_in<'c>(
    pieces: &[Piece],
    gb: Option<f64>,
    no_card: bool,
    context: &'c Context<'_>,
) -> Option<&'c Device> {
    let said = |words: &[&str]| pieces.iter().any(|p| p.is(words));
    let is_card = |d: &Device| {
        let gpu = matches!(
            d.kind,
            DeviceKind::ConsumerGpu | DeviceKind::WorkstationGpu | DeviceKind::DatacenterGpu
        );
        d.vendor == "NVIDIA" && gpu
    };
    if said(APPLE) {
        return slowest(context, gb.unwrap_or(16.0), |d| {
            d.kind == DeviceKind::Unified
        });
    }
    match gb {
        Some(gb) if !no_card && said(CARD) && gb > MOST_CARD_GB => context.device("A100-80GB-SXM"),
        Some(gb) if !no_card && (said(CARD) || !said(COMPUTER)) => slowest(context, gb, is_card),
        None if !no_card
            && !said(&[
                "laptop",
                "notebook",
                "ultrabook",
                "pc",
                "desktop",
                "ordinateur",
            ]) =>
        {
            None
        }
        // A common desktop processor: two channels of memory, as laptops have too.
        _ => context.device("Core i9-13900K DDR5-6400"),
    }
}

/// `no GPU`, `we don't have a graphics card`, `CPU only`, `sans carte graphique`.
fn no_card(pieces: &[Piece]) -> bool {
    let between = [
        "a",
        "an",
        "any",
        "the",
        "de",
        "d",
        "have",
        "got",
        "need",
        "dedicated",
        "discrete",
        "graphics",
        "nvidia",
        "of",
    ];
    let denied = |i: usize| {
        let before = pieces[..i].iter().rev().find(|p| !p.is(&between));
        before.is_some_and(|p| {
            p.is(&[
                "no", "not", "without", "sans", "zero", "pas", "aucune", "aucun",
            ])
        })
    };
    let mut cards = (0..pieces.len()).filter(|&i| pieces[i].is(&["gpu", "gpus", "carte", "card"]));
    let processor = pieces
        .iter()
        .any(|p| p.is(&["cpu", "cpus", "processor", "processeur"]));
    processor || cards.any(denied)
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

/// Whether the text speaks of the machines as the user's, so that it goes without saying.
pub(super) fn belongs_to_user(pieces: &[Piece]) -> bool {
    let words = [
        "my", "our", "mon", "ma", "mes", "notre", "nos", "laptop", "macbook", "portable", "desktop",
    ];
    pieces.iter().any(|p| p.is(&words))
}
