//! Settings that engines have alike, under names of their own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mistral_core::plan::Plan;
use mistral_core::precision::Precision;
use serde_json::{Value, json};

use super::checkpoint::stored_as;
use super::{engine, unsupported};
use crate::CodegenError;
use crate::flags::{Command, Why, why};

/// Why each sequence is as long as it may be.
pub(super) const LONGEST: Why = why(
    "limits.context_tokens",
    "the longest sequence, prompt and answer; lower it first when memory runs out",
);
/// Why so many sequences run.
pub(super) const TOGETHER: Why = why(
    "limits.concurrency",
    "sequences in the same moment; what memory was sized for",
);
/// Why a step has so many tokens.
pub(super) const STEP: Why = why(
    "limits.max_batch_tokens",
    "tokens of a step: more for prompts, fewer for even answers",
);

/// What clients call the model (`name_flag`), which weights it has, and where it listens.
pub(super) fn identity(
    command: &mut Command<'_>,
    plan: &Plan,
    (name_flag, name): (&str, &str),
    (address, port): (IpAddr, u16),
    address_is: &'static str,
) -> Result<(), CodegenError> {
    command.flag(
        name_flag,
        name,
        why("serve.served_name", "what clients call the model"),
    )?;
    let remote = plan.model.local_path.is_none();
    if let Some(revision) = plan.model.revision.as_ref().filter(|_| remote) {
        command.flag(
            "--revision",
            revision,
            why("model.revision", "these weights and no later ones"),
        )?;
    }
    command
        .flag_from_env("--host", "HOST", address, why("serve.bind", address_is))?
        .flag_from_env(
            "--port",
            "PORT",
            port,
            why("serve.port", "the port that it listens on"),
        )?;
    Ok(())
}

/// How layers lie over devices: the flags of tensor, pipeline and data parallelism. An engine
/// without the last one runs one copy.
pub(super) fn parallel(
    command: &mut Command<'_>,
    plan: &Plan,
    [tensor, pipeline]: [&str; 2],
    data: Option<(&str, u32)>,
) -> Result<(), CodegenError> {
    let p = &plan.placement;
    command.flag(
        tensor,
        p.tensor_parallel,
        why(
            "placement.tensor_parallel",
            "devices that each layer is cut over",
        ),
    )?;
    if p.pipeline_parallel > 1 {
        command.flag(
            pipeline,
            p.pipeline_parallel,
            why(
                "placement.pipeline_parallel",
                "groups of layers on successive devices",
            ),
        )?;
    }
    if let Some((flag, copies)) = data.filter(|(_, copies)| *copies > 1) {
        command.flag(
            flag,
            copies,
            why("placement.count", "whole copies of the model side by side"),
        )?;
    }
    Ok(())
}

/// `--dtype` and, where the checkpoint doesn't say it itself, `--quantization`; `fp8` is the
/// engine's name for weights that it rounds while loading.
///
/// A flag beside what a checkpoint says would have to name the very same method. Where it says
/// nothing, a named method refuses a checkpoint of another kind instead of loading it wide.
///
/// # Errors
/// [`CodegenError::Unsupported`] for a precision that neither engine reads.
pub(super) fn precision(
    command: &mut Command<'_>,
    plan: &Plan,
    target: &'static str,
    fp8: &str,
) -> Result<(), CodegenError> {
    let p = plan.precision;
    let dtype = match p {
        Precision::F32 => "float32",
        Precision::F16 => "half",
        Precision::Bf16 => "bfloat16",
        _ => "auto",
    };
    command.flag(
        "--dtype",
        dtype,
        why("precision", "the type that is computed in"),
    )?;
    let stored = stored_as(plan, p);
    let method = match p {
        Precision::F32 | Precision::F16 | Precision::Bf16 => None,
        Precision::Fp8 => Some(fp8),
        Precision::Mxfp4 => Some("mxfp4"),
        Precision::Awq => Some("awq"),
        Precision::Gptq => Some("gptq"),
        Precision::Nvfp4 | Precision::Int8 if stored => None,
        Precision::Nvfp4 | Precision::Int8 => {
            let expected = "a repository whose name says that it is stored so";
            return Err(unsupported(target, "precision", p, expected));
        }
        other => {
            let expected = "f32, bf16, f16, fp8, int8, awq, gptq, mxfp4 or nvfp4";
            return Err(unsupported(target, "precision", other, expected));
        }
    };
    if let Some(method) = method.filter(|_| !stored) {
        command.flag(
            "--quantization",
            method,
            why("precision", "how weights are stored on the device"),
        )?;
    }
    Ok(())
}

/// How replies are taken apart: `--tool-call-parser` and `--reasoning-parser`.
pub(super) fn replies(command: &mut Command<'_>, plan: &Plan) -> Result<(), CodegenError> {
    if plan.tools {
        command.flag(
            "--tool-call-parser",
            "mistral",
            why(
                "tools",
                "tool calls come back as the OpenAI interface has them",
            ),
        )?;
    }
    if plan.reasoning {
        command.flag(
            "--reasoning-parser",
            "mistral",
            why("reasoning", "thoughts come back apart from the answer"),
        )?;
    }
    Ok(())
}

/// How tokens are chosen when a request doesn't say, as a JSON object with the names of
/// `generation_config.json`, in the order of their letters.
///
/// # Errors
/// As [`engine::sampling`].
pub(super) fn generation_config(target: &'static str, plan: &Plan) -> Result<String, CodegenError> {
    let s = engine::sampling(target, plan)?;
    // Not a map of serde_json's: its order is one that any crate of a build can change.
    let mut fields: BTreeMap<&str, Value> = BTreeMap::new();
    fields.insert("temperature", engine::decimal(s.temperature));
    fields.insert("top_p", engine::decimal(s.top_p));
    if s.top_k > 0 {
        fields.insert("top_k", json!(s.top_k));
    }
    if s.min_p > 0.0 {
        fields.insert("min_p", engine::decimal(s.min_p));
    }
    if let Some(tokens) = plan.limits.max_output_tokens {
        fields.insert("max_new_tokens", json!(tokens));
    }
    serde_json::to_string(&fields).map_err(|source| CodegenError::Plan { source })
}
