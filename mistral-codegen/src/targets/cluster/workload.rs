//! What a container runs for a plan, wherever it runs.

use mistral_core::plan::{Plan, Runtime};

use super::pod::NAME_LABEL;
use super::settings::{Settled, image, object_name};
use crate::targets::engine::{self, Accelerator};
use crate::targets::launch::{Launch, launch};
use crate::targets::{rust, shown, unsupported};
use crate::{CodegenError, Options};

/// Where the volume with weights and downloads is mounted.
pub(crate) const MODELS: &str = "/models";
/// A folder that the server may write to.
pub(crate) const HOME: &str = "/home/server";
/// The user of servers in images that name none.
const USER: u32 = 10001;
/// The user that vLLM's image has (vllm-project/vllm#40275): with any other, its libraries look
/// for a name in vain.
const VLLM_USER: u32 = 2000;

/// A container, decided.
pub(in crate::targets) struct Workload {
    /// The plan of one copy: its devices are those of one copy.
    pub(crate) plan: Plan,
    /// A name for objects.
    pub(crate) name: String,
    pub(crate) served_name: String,
    pub(crate) image: String,
    /// Program and arguments; empty where the image's own are right.
    pub(crate) words: Vec<String>,
    /// Variables without secrets.
    pub(crate) env: Vec<(&'static str, String)>,
    /// The variable in which the server takes the key.
    pub(crate) key_variable: String,
    /// Whether the engine downloads the model by itself.
    pub(crate) downloads: bool,
    /// What people put into the volume first: what, and its place there.
    pub(crate) bring: Option<(String, String)>,
    pub(crate) port: u16,
    pub(crate) accelerator: Accelerator,
    /// Devices of one copy; 0 for a processor.
    pub(crate) devices: u32,
    /// Copies that the plan's devices are enough for.
    pub(crate) copies: u32,
    pub(crate) shm_gib: u32,
    pub(crate) start_seconds: u64,
    /// The label that pods have the name in.
    pub(crate) label: &'static str,
    pub(crate) health: &'static str,
    /// A gauge of waiting requests that the server shows without a key.
    pub(crate) queue_metric: Option<&'static str>,
    pub(crate) user: u32,
    /// The engine with its version, for people.
    pub(crate) engine: String,
    /// The engine's flags with their reasons, for people.
    pub(crate) launch: Option<Launch>,
}

/// What runs in a container for `plan`, listening on every address of it.
///
/// # Errors
/// [`CodegenError::Unsupported`] for a plan without a key, a device whose containers aren't
/// described, a runtime that has no image, and what the engine's own target refuses.
pub(in crate::targets) fn workload(
    target: &'static str,
    plan: &Plan,
    options: &Options,
) -> Result<Workload, CodegenError> {
    let refuse = |field, found: &str, expected: &str| unsupported(target, field, found, expected);
    let accelerator = Accelerator::of(plan);
    if accelerator == Accelerator::Other {
        let expected = "an NVIDIA device or a processor";
        return Err(refuse(
            "placement.device",
            &shown(&plan.placement.device),
            expected,
        ));
    }
    let serving = engine::serving(target, plan)?;
    let Some(key) = serving.key_env.clone() else {
        let expected = "a variable with a key, since a container listens on all its addresses";
        return Err(refuse("serve.api_key_env", "none", expected));
    };
    let copies = copies(plan);
    let mut plan = plan.clone();
    plan.placement.count /= copies;
    let own_image = options
        .image
        .as_deref()
        .map(|name| image(target, "image", name))
        .transpose()?;
    let devices = match accelerator {
        Accelerator::Nvidia => plan.placement.count,
        _ => 0,
    };
    let base = Workload {
        name: object_name(&serving.name),
        served_name: serving.name.clone(),
        image: String::new(),
        words: Vec::new(),
        env: vec![("HOME", HOME.to_owned()), ("USER", "server".to_owned())],
        key_variable: key,
        downloads: false,
        bring: None,
        port: serving.port,
        accelerator,
        devices,
        copies,
        shm_gib: 0,
        start_seconds: engine::start_seconds(&plan),
        label: NAME_LABEL,
        health: "/health",
        queue_metric: None,
        user: USER,
        engine: plan.runtime.to_string(),
        launch: None,
        plan,
    };
    if base.plan.runtime == Runtime::MistralInfer {
        return own_server(target, base, own_image, options);
    }
    engine_server(target, base, own_image)
}

/// How many copies of the model the plan's devices hold: engines whose placement counts whole
/// groups of devices run each in a container of its own.
pub(crate) fn copies(plan: &Plan) -> u32 {
    let p = &plan.placement;
    let group = p.tensor_parallel.saturating_mul(p.pipeline_parallel);
    match plan.runtime {
        // These share the layers out over all devices.
        Runtime::LlamaServer | Runtime::Ollama | Runtime::MistralInfer => 1,
        _ if group > 0 && p.count.is_multiple_of(group) => (p.count / group).max(1),
        _ => 1,
    }
}

/// The server of target `rust`, whose image the user builds.
fn own_server(
    target: &'static str,
    mut it: Workload,
    own_image: Option<String>,
    options: &Options,
) -> Result<Workload, CodegenError> {
    // What that server can't do is refused as its own target refuses it.
    rust::generate(&it.plan, options)?;
    it.image = own_image.ok_or_else(|| {
        let expected = "the image that was built from the files of target rust";
        unsupported(target, "image", "none", expected)
    })?;
    let source = it
        .plan
        .model
        .local_path
        .as_ref()
        .or(it.plan.model.hf_repo.as_ref());
    let place = place(target, source.map_or("model", String::as_str))?;
    it.env.extend([
        ("HOST", "0.0.0.0".to_owned()),
        ("MODEL_PATH", place.clone()),
        ("PORT", it.port.to_string()),
    ]);
    if let Some(threads) = it.plan.placement.threads {
        it.env.push(("THREADS", threads.to_string()));
    }
    it.bring = Some((source.cloned().unwrap_or_else(|| "model".to_owned()), place));
    // The server runs on processors.
    it.accelerator = Accelerator::None;
    it.devices = 0;
    it.queue_metric = Some("mistral_num_requests_waiting");
    Ok(it)
}

fn engine_server(
    target: &'static str,
    mut it: Workload,
    own_image: Option<String>,
) -> Result<Workload, CodegenError> {
    let launch = launch(target, &it.plan)?;
    let place = match launch.local {
        true => Some(place(target, &launch.model)?),
        false => None,
    };
    let model = place.clone().unwrap_or_else(|| launch.model.clone());
    it.words = launch.command.words(|name| match name {
        "model" => Some(model.clone()),
        "HOST" => Some("0.0.0.0".to_owned()),
        _ => None,
    })?;
    let nvidia = it.accelerator == Accelerator::Nvidia;
    let llama = it.plan.runtime == Runtime::LlamaServer;
    it.image = match own_image {
        Some(image) => image,
        None => {
            if llama && let Some(program) = it.words.first_mut() {
                // The image has its program outside the path.
                *program = format!("/app/{program}");
            }
            if it.plan.runtime == Runtime::Vllm {
                it.user = VLLM_USER;
            }
            let suffix = if llama && nvidia { "-cuda" } else { "" };
            format!("{}{suffix}", launch.table.image)
        }
    };
    let offline = || ("HF_HUB_OFFLINE", "1".to_owned());
    match it.plan.runtime {
        Runtime::LlamaServer => it.env.push(("LLAMA_CACHE", format!("{MODELS}/cache"))),
        _ => it.env.push(("HF_HOME", format!("{MODELS}/huggingface"))),
    }
    if launch.local && !llama {
        it.env.push(offline());
    }
    it.queue_metric = match it.plan.runtime {
        Runtime::Vllm => Some("vllm:num_requests_waiting"),
        _ => None,
    };
    it.key_variable.clone_from(&launch.table.api_key_env);
    it.downloads = !launch.local;
    it.bring = place.map(|place| (launch.model.clone(), place));
    it.shm_gib = launch.shm_gib;
    it.engine = format!("{} {}", launch.table.engine, launch.table.version);
    it.launch = Some(launch);
    Ok(it)
}

/// Where a file or folder of this machine lies in the volume.
fn place(target: &'static str, path: &str) -> Result<String, CodegenError> {
    let name = path
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    if matches!(name, "" | "." | "..") {
        let expected = "a path whose last part is a name";
        return Err(unsupported(
            target,
            "model.local_path",
            shown(path),
            expected,
        ));
    }
    Ok(format!("{MODELS}/{name}"))
}

impl Workload {
    /// Program words, before the first flag.
    pub(crate) fn program(&self) -> &[String] {
        &self.words[..self.flags_at()]
    }

    /// The words from the first flag on.
    pub(crate) fn arguments(&self) -> &[String] {
        &self.words[self.flags_at()..]
    }

    fn flags_at(&self) -> usize {
        let flag = self.words.iter().position(|word| word.starts_with("--"));
        flag.unwrap_or(self.words.len())
    }

    /// Memory in GiB that a copy is promised, and at most gets; `None` where nothing is known.
    pub(crate) fn memory_gib(&self) -> (u32, Option<u32>) {
        let gib = |bytes: u64| u32::try_from(bytes.div_ceil(1 << 30)).unwrap_or(u32::MAX);
        let memory = &self.plan.memory;
        if self.devices == 0 {
            return match gib(memory.total_bytes) {
                0 => (4, None),
                // A quarter more than is computed, since a process that meets its limit is killed.
                all => (
                    all.saturating_add(1),
                    Some(all.saturating_add(all / 4).saturating_add(2)),
                ),
            };
        }
        // Weights pass through the machine's memory on their way to the devices.
        let base = self.devices.saturating_mul(8).saturating_add(self.shm_gib);
        let weights = gib(super::settings::weight_bytes(&self.plan));
        let most = (weights > 0).then(|| base.saturating_add(weights).saturating_add(8));
        (base, most)
    }

    /// Processors that a copy is promised.
    pub(crate) fn processors(&self) -> u32 {
        match self.plan.placement.threads {
            Some(threads) if self.devices == 0 => threads.max(1),
            _ => self.devices.max(1).saturating_mul(4),
        }
    }

    /// The address of the service inside the cluster.
    pub(crate) fn url(&self, settled: &Settled) -> String {
        format!(
            "http://{}.{}.svc:{}",
            self.name, settled.namespace, self.port
        )
    }
}
