//! From a choice to a plan that code is generated from.

use mistral_core::capability::Capability;
use mistral_core::catalog::CatalogModel;
use mistral_core::estimate::{Setup, Shape, memory_need};
use mistral_core::hardware::Device;
use mistral_core::model::ModelSpec;
use mistral_core::need::Task;
use mistral_core::plan::{
    Expected, KvPrecision, Limits, Memory, ModelRef, Placement, Plan, Runtime, Sampling, Serve,
    TokenizerMode,
};
use mistral_core::precision::Precision;
use mistral_core::recommendation::{Choice, Hosting, Recommendation};

use crate::demand::Demand;
use crate::{Context, RecommendError};

/// Makes the plan of one choice of a recommendation.
///
/// # Errors
/// [`RecommendError::UnknownModel`] and [`RecommendError::UnknownDevice`] when the choice isn't
/// from this context, [`RecommendError::NoPlan`] for a model that has no weights or, through the
/// API, no name there.
pub fn plan(
    recommendation: &Recommendation,
    choice: &Choice,
    context: &Context<'_>,
) -> Result<Plan, RecommendError> {
    let model = context
        .catalog
        .get(&choice.model)
        .ok_or_else(|| RecommendError::UnknownModel {
            field: "model",
            name: choice.model.chars().take(64).collect(),
        })?;
    let no_plan = |because| RecommendError::NoPlan {
        model: model.id.clone(),
        because,
    };
    if choice.hosting == Hosting::Api {
        let name = model.api_names.as_ref().and_then(|n| n.value.first());
        let name = name.ok_or_else(|| no_plan("its name at the API is not known"))?;
        return Ok(api(recommendation, choice, model, name));
    }
    let (Some(precision), Some(runtime), Some(name)) =
        (choice.precision, choice.runtime, &choice.device)
    else {
        return Err(no_plan("the choice has no engine, precision or device"));
    };
    let repository = model
        .repository_for(precision)
        .ok_or_else(|| no_plan("its weights are not published"))?;
    let device = context.need_device("device", name)?;
    let task = recommendation.need.task.unwrap_or(Task::Chat);
    Ok(Plan {
        schema: Plan::SCHEMA,
        model: ModelRef {
            id: model.id.clone(),
            hf_repo: Some(repository.to_owned()),
            revision: None,
            file: None,
            local_path: None,
            gated: model.gated,
        },
        spec: confirmed_spec(model),
        precision,
        kv_precision: KvPrecision::Auto,
        runtime,
        placement: placement(choice, device),
        limits: limits(recommendation, choice),
        serve: Serve {
            served_name: Some(model.id.clone()),
            ..Serve::default()
        },
        sampling: sampling(task),
        tokenizer: tokenizer(runtime),
        tools: tools(recommendation, task, model),
        reasoning: model.can(Capability::Reasoning),
        memory: memory(model, choice, device, precision, context),
        expected: expected(recommendation, choice),
        reasons: choice.reasons.clone(),
    })
}

/// The plan of a choice that Mistral runs: which model is asked, how much, and with which key.
fn api(recommendation: &Recommendation, choice: &Choice, model: &CatalogModel, name: &str) -> Plan {
    let task = recommendation.need.task.unwrap_or(Task::Chat);
    Plan {
        schema: Plan::SCHEMA,
        model: ModelRef {
            id: model.id.clone(),
            hf_repo: None,
            revision: None,
            file: None,
            local_path: None,
            gated: false,
        },
        spec: None,
        precision: model
            .native_precision
            .as_ref()
            .map_or(Precision::Bf16, |p| p.value),
        kv_precision: KvPrecision::Auto,
        runtime: Runtime::MistralApi,
        placement: Placement {
            device: Placement::API.to_owned(),
            device_kind: None,
            vendor: None,
            count: 0,
            tensor_parallel: 0,
            pipeline_parallel: 1,
            threads: None,
        },
        limits: limits(recommendation, choice),
        serve: Serve {
            api_key_env: Some("MISTRAL_API_KEY".to_owned()),
            served_name: Some(name.to_owned()),
            ..Serve::default()
        },
        sampling: sampling(task),
        tokenizer: TokenizerMode::Mistral,
        tools: tools(recommendation, task, model),
        reasoning: model.can(Capability::Reasoning),
        memory: Memory::default(),
        expected: expected(recommendation, choice),
        reasons: choice.reasons.clone(),
    }
}

fn tools(recommendation: &Recommendation, task: Task, model: &CatalogModel) -> bool {
    let wanted = wants(recommendation, Capability::Tools) || task == Task::Agents;
    wanted && model.can(Capability::Tools)
}

fn expected(recommendation: &Recommendation, choice: &Choice) -> Expected {
    let demand = Demand::of(&recommendation.need);
    Expected {
        prompt_tokens: Some(demand.work.prompt_tokens.round() as u32),
        output_tokens: Some(demand.work.output_tokens.round() as u32),
        requests_per_s: Some(demand.peak_requests_per_s()),
        ttft_ms: choice.predicted.ttft_ms,
        tpot_ms: choice.predicted.tpot_ms,
        usd_per_month: recommendation.need.budget.usd_per_month,
    }
}

/// Dimensions that no document confirms are good for sizes, not for a plan.
fn confirmed_spec(model: &CatalogModel) -> Option<ModelSpec> {
    model.config.as_ref().filter(|c| !c.unverified)?;
    model.spec().ok()?
}

fn placement(choice: &Choice, device: &Device) -> Placement {
    Placement {
        device: device.name.clone(),
        device_kind: Some(device.kind),
        vendor: Some(device.vendor.clone()),
        count: choice.count,
        tensor_parallel: choice.tensor_parallel.max(1),
        pipeline_parallel: 1,
        threads: None,
    }
}

fn limits(recommendation: &Recommendation, choice: &Choice) -> Limits {
    // Four times the usual answer leaves room for long ones without letting one run away.
    let longest = Demand::of(&recommendation.need).work.output_tokens * 4.0;
    Limits {
        context_tokens: choice.context_tokens,
        concurrency: choice.concurrency,
        max_batch_tokens: None,
        max_output_tokens: Some((longest as u32).min(choice.context_tokens)),
    }
}

fn wants(recommendation: &Recommendation, capability: Capability) -> bool {
    recommendation.need.capabilities.contains(&capability)
}

fn tokenizer(runtime: Runtime) -> TokenizerMode {
    match runtime {
        Runtime::LlamaServer | Runtime::Ollama => TokenizerMode::Gguf,
        Runtime::Mlx => TokenizerMode::Hf,
        _ => TokenizerMode::Mistral,
    }
}

/// Mistral's model cards ask for 0.15 for instructed models since Small 3 and 0.7 for reasoning
/// (general knowledge); jobs with one right answer get none.
fn sampling(task: Task) -> Sampling {
    let temperature = match task {
        Task::Reasoning => 0.7,
        Task::Extract | Task::Ocr | Task::Moderate | Task::Transcribe | Task::Fim => 0.0,
        _ => 0.15,
    };
    let top_p = if task == Task::Reasoning { 0.95 } else { 1.0 };
    Sampling {
        temperature,
        top_p,
        ..Sampling::default()
    }
}

fn memory(
    model: &CatalogModel,
    choice: &Choice,
    device: &Device,
    precision: Precision,
    context: &Context<'_>,
) -> Memory {
    let (Some(shape), Some(runtime)) = (Shape::of(context.catalog, model), choice.runtime) else {
        return Memory::default();
    };
    let tensor_parallel = choice.tensor_parallel.max(1);
    let setup = Setup {
        shape: &shape,
        precision,
        kv: KvPrecision::Auto,
        device,
        count: tensor_parallel,
        engine: runtime.into(),
        coefficients: context.coefficients,
    };
    let copies = f64::from(choice.count / tensor_parallel).max(1.0);
    let each = (f64::from(choice.concurrency) / copies).ceil();
    let need = memory_need(&setup, f64::from(choice.context_tokens), each);
    let n = f64::from(tensor_parallel);
    Memory {
        weight_bytes: (need.weights / n) as u64,
        kv_bytes: (need.kv / n) as u64,
        total_bytes: need.per_device as u64,
        device_bytes: (device.memory_gb * 1e9) as u64,
    }
}
