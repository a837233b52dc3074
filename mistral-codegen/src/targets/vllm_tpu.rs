//! vLLM on Google's TPUs: start script with its environment.

use minijinja::context;
use mistral_core::files::FileSet;
use mistral_core::hardware::DeviceKind;
use mistral_core::model::AttentionKind;
use mistral_core::plan::{KvPrecision, Plan};
use mistral_core::precision::Precision;

use super::checkpoint::stored_as;
use super::{Page, engine, render_all, shown, unsupported, vllm};
use crate::flags::VLLM_TPU;
use crate::{CodegenError, Options};

const TARGET: &str = "vllm-tpu";

const PAGES: &[Page] = &[
    Page::script(
        "start.sh",
        include_str!("../../templates/vllm-tpu/start.sh.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../templates/vllm-tpu/README.md.j2"),
    ),
];

/// Chips that one host of any generation has at most.
const CHIPS_A_HOST: u32 = 8;

/// The files that serve `plan` with vLLM on TPUs.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    check(plan)?;
    let launch = vllm::launch_on(&VLLM_TPU, plan).map_err(named)?;
    let own = context! {
        model => launch.model,
        ..engine::common(plan, &launch)?
    };
    render_all(PAGES, &own, plan)
}

/// What vLLM refuses everywhere, by this target's name.
fn named(error: CodegenError) -> CodegenError {
    match error {
        CodegenError::Unsupported {
            field,
            found,
            expected,
            ..
        } => CodegenError::Unsupported {
            target: TARGET,
            field,
            found,
            expected,
        },
        other => other,
    }
}

fn check(plan: &Plan) -> Result<(), CodegenError> {
    let refuse = |field, found: &dyn std::fmt::Display, expected: &str| {
        Err(unsupported(TARGET, field, found, expected))
    };
    let p = &plan.placement;
    let kind = p.device_kind_and_vendor().map(|(kind, _)| kind);
    if kind != Some(DeviceKind::Tpu) {
        return refuse("placement.device", &shown(&p.device), "a TPU");
    }
    if p.count > CHIPS_A_HOST {
        return refuse(
            "placement.count",
            &p.count,
            "at most 8: more chips are several hosts, on which this version isn't tested",
        );
    }
    if p.count != p.tensor_parallel {
        return refuse(
            "placement.tensor_parallel",
            &p.tensor_parallel,
            "the number of chips: a host's chips work as one",
        );
    }
    if let Some(spec) = &plan.spec
        && matches!(spec.attention, AttentionKind::Mla(_))
    {
        return refuse(
            "model.spec",
            &"latent attention",
            "grouped-query attention, which this version is tested with",
        );
    }
    match plan.precision {
        Precision::Bf16 => {}
        Precision::Fp8 | Precision::Int8 | Precision::Awq if stored_as(plan, plan.precision) => {}
        Precision::Fp8 | Precision::Int8 | Precision::Awq => {
            return refuse(
                "precision",
                &plan.precision,
                "a repository whose name says that it is stored so",
            );
        }
        other => return refuse("precision", &other, "bf16, fp8, int8 or awq"),
    }
    match plan.kv_precision {
        KvPrecision::Auto | KvPrecision::Bf16 | KvPrecision::Fp8 => Ok(()),
        other => refuse(
            "kv_precision",
            &format!("{other:?}").to_ascii_lowercase(),
            "auto, bf16 or fp8",
        ),
    }
}
