//! CUDA C++ decode kernels, specialised to a model's shapes.
//!
//! What a plan decides are numbers: they enter `shape.h` as constants. The kernels themselves lie in `cuda/` and
//! are the same for every plan, so that no text of a plan can reach them.

mod schedule;
mod shape;

use std::collections::BTreeMap;

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::plan::Plan;

pub use schedule::{Accumulate, Kernel, Schedule, default_schedule, schedules};
pub use shape::{Limits, Shape};

use super::{Page, render_all, unsupported};
use crate::render::render;
use crate::{CodegenError, Options};

pub(crate) const TARGET: &str = "cuda";

const SHAPE: &str = include_str!("../../../templates/cuda/shape.h.j2");

const PAGES: &[Page] = &[
    Page::plain("shape.h", SHAPE),
    Page::plain(
        "CMakeLists.txt",
        include_str!("../../../templates/cuda/CMakeLists.txt.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../../templates/cuda/README.md.j2"),
    ),
];

macro_rules! sources {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../cuda/", $path)))),*]
    };
}

/// Files that don't depend on the plan.
const SOURCES: &[(&str, &str)] = sources![
    "attention.cuh",
    "check.cuh",
    "device.cuh",
    "emulate.h",
    "experts.cuh",
    "kernels.cuh",
    "launch.cu",
    "launch.h",
    "matvec.cuh",
    "norm.cuh",
    "rope.cuh",
    "test.cu",
];

/// Positions of the cache that the test attends to at most: the reference is plain.
const TEST_CONTEXT: u32 = 1031;

/// The kernels of `plan` with their default schedules.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    generate_with(plan, &BTreeMap::new())
}

/// The kernels of `plan`, with these schedules where there are some and the defaults elsewhere.
///
/// # Errors
/// [`CodegenError::Unsupported`] for a model or device that the kernels don't serve and for a schedule that
/// isn't valid there.
pub fn generate_with(
    plan: &Plan,
    chosen: &BTreeMap<Kernel, Schedule>,
) -> Result<FileSet, CodegenError> {
    let shape = Shape::of(plan)?;
    let limits = Limits::of(plan)?;
    let cut = cut(&shape, &limits, chosen)?;
    let splits = cut.get(&Kernel::Attention).map_or(1, |s| s.split);
    let page = context! {
        model => &plan.model.id, device => &plan.placement.device, splits, bits => shape.weight_bits,
        ..numbers(&shape, &limits, &cut)?
    };
    let mut files = render_all(PAGES, &page, plan)?;
    for (path, text) in SOURCES {
        files.add(path, *text)?;
    }
    Ok(files)
}

/// `shape.h` of a small model of the same kind, with the plan's schedules as far as they fit.
pub(crate) fn reduced_shape(plan: &Plan) -> Result<String, CodegenError> {
    let whole = Shape::of(plan)?;
    let limits = Limits::of(plan)?;
    let shape = whole.reduced();
    let mut kept = cut(&whole, &limits, &BTreeMap::new())?;
    kept.retain(|kernel, schedule| schedule.validate(*kernel, &shape, &limits).is_ok());
    let cut = cut(&shape, &limits, &kept)?;
    render("shape.h", SHAPE, &numbers(&shape, &limits, &cut)?)
}

/// The schedule of every kernel: the chosen one, else the default.
fn cut(
    shape: &Shape,
    limits: &Limits,
    chosen: &BTreeMap<Kernel, Schedule>,
) -> Result<BTreeMap<Kernel, Schedule>, CodegenError> {
    let mut all = BTreeMap::new();
    for &kernel in Kernel::ALL {
        let schedule = match chosen.get(&kernel) {
            Some(schedule) => *schedule,
            None => default_schedule(kernel, shape, limits).ok_or_else(|| {
                unsupported(
                    TARGET,
                    "spec",
                    kernel.name(),
                    "a shape that has a schedule on this device",
                )
            })?,
        };
        schedule.validate(kernel, shape, limits)?;
        all.insert(kernel, schedule);
    }
    Ok(all)
}

/// What `shape.h` says.
fn numbers(
    shape: &Shape,
    limits: &Limits,
    cut: &BTreeMap<Kernel, Schedule>,
) -> Result<Value, CodegenError> {
    let kernels: Vec<Value> = cut
        .iter()
        .map(|(kernel, schedule)| {
            let (rows, cols, bits) = kernel.matrix(shape).unwrap_or_default();
            context! {
                name => safe(kernel.name()), sum => safe(schedule.accumulate.name()),
                rows, cols, bits, threads => schedule.threads, rows_a_warp => schedule.rows_a_warp,
                split => schedule.split, vector_bytes => schedule.vector_bytes, unroll => schedule.unroll,
            }
        })
        .collect();
    Ok(context! {
        sm => limits.sm, arch => safe(&limits.arch()), kernels,
        group => shape.group, max_tokens => shape.max_tokens,
        integers => integers(shape), floats => floats(shape)?,
        rope_interleaved => safe(if shape.rope_interleaved { "true" } else { "false" }),
        rope_theta => safe(&literal("spec.rope.theta", shape.rope_theta)?),
    })
}

/// A word of this crate's own, not of a plan.
fn safe(text: &str) -> Value {
    Value::from_safe_string(text.to_owned())
}

fn integers(s: &Shape) -> Vec<Value> {
    let rows = [
        ("dim", s.dim),
        ("hidden_dim", s.hidden_dim),
        ("n_heads", s.n_heads),
        ("n_kv_heads", s.n_kv_heads),
        ("head_dim", s.head_dim),
        ("experts", s.experts),
        ("experts_per_token", s.experts_per_token),
        ("vocab", s.vocab),
        ("group", s.group),
        ("max_tokens", s.max_tokens),
        ("context", s.context),
        ("test_context", s.context.min(TEST_CONTEXT)),
    ];
    rows.into_iter()
        .map(|(name, value)| context! { name => safe(name), value })
        .collect()
}

fn floats(s: &Shape) -> Result<Vec<Value>, CodegenError> {
    let rows = [
        ("norm_eps", "spec.norm_eps", s.norm_eps),
        ("softmax_scale", "spec.softmax_scale", s.softmax_scale),
        ("routed_scale", "spec.moe.routed_scale", s.routed_scale),
    ];
    rows.into_iter()
        .map(|(name, field, value)| {
            let text = format!("{}f", literal(field, value)?);
            Ok(context! { name => safe(name), value => safe(&text) })
        })
        .collect()
}

/// A positive number as C++ writes it, with all its digits.
fn literal(field: &'static str, value: f64) -> Result<String, CodegenError> {
    if (1e-30..=1e30).contains(&value) {
        Ok(format!("{value:e}"))
    } else {
        Err(unsupported(
            TARGET,
            field,
            value,
            "a number from 1e-30 to 1e30",
        ))
    }
}
