//! What the targets for engines check and compute alike.

use std::net::IpAddr;

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::hardware::DeviceKind;
use mistral_core::model::AttentionKind;
use mistral_core::plan::{Plan, Sampling};
use mistral_core::precision::Precision;

use super::launch::Launch;
use super::{Page, shown, unsupported};
use crate::CodegenError;
use crate::flags::Explained;
use crate::quote::{markdown_block, markdown_code};

/// Download and load rates that health checks wait for, in bytes a second: a slow line and a
/// network disk. Waiting longer costs nothing when the engine is ready earlier.
const DOWNLOAD_BYTES_PER_S: u64 = 40_000_000;
const LOAD_BYTES_PER_S: u64 = 200_000_000;
/// Engine start without weights: imports, compilation, graph capture.
const START_S: u64 = 180;
/// What is waited for when the plan doesn't know the size of the weights.
const UNKNOWN_SIZE_S: u64 = 3600;

/// What a Compose file is accompanied by.
pub(super) const COMPOSE: &[Page] = &[
    Page::plain(
        ".env.example",
        include_str!("../../templates/common/env.j2"),
    ),
    Page::plain(
        ".dockerignore",
        include_str!("../../templates/common/dockerignore.j2"),
    ),
];

/// A proxy that asks for the key, for engines that have no keys.
const PROXY: &[Page] = &[
    Page::script(
        "proxy.sh",
        include_str!("../../templates/common/proxy.sh.j2"),
    ),
    Page::plain(
        "Caddyfile",
        include_str!("../../templates/common/Caddyfile.j2"),
    ),
];
/// Where an engine behind the proxy listens.
const PROXIED_PORT: u16 = 18_000;

/// What runs the model, as far as containers and layers care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// The processor.
    None,
    /// One that Docker reserves by the driver `nvidia`; a device that neither the plan nor the
    /// hardware table knows is taken for one.
    Nvidia,
    /// Another, whose images and reservations are not described here.
    Other,
}

impl Accelerator {
    pub(super) fn of(plan: &Plan) -> Self {
        match plan.placement.device_kind_and_vendor() {
            Some((DeviceKind::Cpu, _)) => Self::None,
            _ if plan.placement.threads.is_some() => Self::None,
            Some((_, vendor)) if vendor != "NVIDIA" => Self::Other,
            _ => Self::Nvidia,
        }
    }
}

/// Where a server listens and whom it lets in, checked.
pub(super) struct Serving {
    pub(super) name: String,
    pub(super) bind: IpAddr,
    pub(super) port: u16,
    /// The variable that holds the key: letters, digits and `_` only.
    pub(super) key_env: Option<String>,
}

/// The plan's address, name and key.
///
/// # Errors
/// [`CodegenError::Unsupported`] for a field that no server of `target` could use, and for an
/// address other than loopback without a key.
pub(super) fn serving(target: &'static str, plan: &Plan) -> Result<Serving, CodegenError> {
    let refuse =
        |field, found: &str, expected: &str| unsupported(target, field, shown(found), expected);
    let serve = &plan.serve;
    let bind: IpAddr = serve
        .bind
        .parse()
        .map_err(|_| refuse("serve.bind", &serve.bind, "an IP address"))?;
    if serve.port == 0 {
        return Err(refuse("serve.port", "0", "a port from 1 to 65535"));
    }
    if let Some(name) = serve.api_key_env.as_deref().filter(|n| !is_variable(n)) {
        return Err(refuse(
            "serve.api_key_env",
            name,
            "the name of an environment variable: at most 64 letters, digits and _",
        ));
    }
    if serve.api_key_env.is_none() && !bind.is_loopback() {
        return Err(refuse(
            "serve.api_key_env",
            "none",
            "a variable with a key, since serve.bind is not loopback",
        ));
    }
    let name = serve.served_name.as_ref().unwrap_or(&plan.model.id);
    if name.is_empty() || name.starts_with('-') || name.chars().any(char::is_control) {
        return Err(refuse(
            "serve.served_name",
            name,
            "a name without control characters that doesn't begin with -",
        ));
    }
    Ok(Serving {
        name: name.clone(),
        bind,
        port: serve.port,
        key_env: serve.api_key_env.clone(),
    })
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The model as an engine is told it: a folder or file of this machine, else the repository.
///
/// # Errors
/// [`CodegenError::Unsupported`] when there is neither, or when it would be read as a flag.
pub(super) fn model_source<'p>(
    target: &'static str,
    plan: &'p Plan,
) -> Result<&'p str, CodegenError> {
    let model = &plan.model;
    let (field, source) = match (&model.local_path, &model.hf_repo) {
        (Some(path), _) => ("model.local_path", path.as_str()),
        (None, Some(repo)) => ("model.hf_repo", repo.as_str()),
        (None, None) => ("model.hf_repo", ""),
    };
    if source.is_empty() || source.starts_with('-') || source.chars().any(char::is_control) {
        return Err(unsupported(
            target,
            field,
            shown(source),
            "a repository or path without control characters that doesn't begin with -",
        ));
    }
    Ok(source)
}

/// Whether a repository's or a file's name says that weights are in GGUF.
pub(super) fn names_gguf(name: &str) -> bool {
    name.to_ascii_lowercase().contains("gguf")
}

/// Name of the file that a repository's weights are quantised to: its last part, with nothing that a
/// path could be led astray by, and the precision.
pub(super) fn gguf_name(repo: &str, precision: Precision) -> String {
    let stem: String = repo
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    format!("{stem}-{}.gguf", precision.name().to_ascii_uppercase())
}

/// A path as a Compose file has it: a relative one would be a volume's name without its dot.
pub(super) fn mount(path: &str) -> String {
    if path.starts_with(['/', '.']) {
        path.to_owned()
    } else {
        format!("./{path}")
    }
}

/// Seconds after which an engine that isn't ready is taken for broken, in whole minutes.
pub(crate) fn start_seconds(plan: &Plan) -> u64 {
    let bytes = plan
        .memory
        .weight_bytes
        .saturating_mul(u64::from(plan.placement.count));
    if bytes == 0 {
        return UNKNOWN_SIZE_S;
    }
    let download = if plan.model.local_path.is_some() {
        0
    } else {
        bytes / DOWNLOAD_BYTES_PER_S
    };
    (START_S + download + bytes / LOAD_BYTES_PER_S).div_ceil(60) * 60
}

/// Whole copies of the model that the plan's devices hold.
///
/// # Errors
/// [`CodegenError::Unsupported`] when devices are left over or heads can't be shared out.
pub(super) fn copies(target: &'static str, plan: &Plan) -> Result<u32, CodegenError> {
    let p = &plan.placement;
    let group = product(
        target,
        "placement.tensor_parallel",
        p.tensor_parallel,
        p.pipeline_parallel,
    )?;
    if group == 0 || p.count == 0 || !p.count.is_multiple_of(group) {
        return Err(unsupported(
            target,
            "placement.count",
            p.count,
            "a multiple of tensor_parallel x pipeline_parallel, above 0",
        ));
    }
    if let Some(spec) = &plan.spec {
        let tp = p.tensor_parallel as usize;
        let kv = match &spec.attention {
            AttentionKind::Gqa(gqa) => gqa.n_kv_heads,
            // One latent serves all heads and is held by each device.
            AttentionKind::Mla(_) => 1,
        };
        let whole = kv.is_multiple_of(tp) || tp.is_multiple_of(kv.max(1));
        if !spec.n_heads.is_multiple_of(tp) || !whole {
            return Err(unsupported(
                target,
                "placement.tensor_parallel",
                tp,
                &format!("a divisor of {} heads and {kv} key heads", spec.n_heads),
            ));
        }
    }
    Ok(p.count / group)
}

/// How tokens are chosen when a request doesn't say, all numbers finite.
///
/// # Errors
/// [`CodegenError::Unsupported`] for an infinite number or none.
pub(super) fn sampling(target: &'static str, plan: &Plan) -> Result<Sampling, CodegenError> {
    let s = plan.sampling;
    for (field, value) in [
        ("sampling.temperature", s.temperature),
        ("sampling.top_p", s.top_p),
        ("sampling.min_p", s.min_p),
    ] {
        if !value.is_finite() {
            return Err(unsupported(target, field, value, "a finite number"));
        }
    }
    Ok(s)
}

/// The shortest decimal of an `f32`: as a plain cast, 0.7 would read 0.699999988079071.
pub(super) fn decimal(value: f32) -> serde_json::Value {
    let shortest: f64 = value
        .to_string()
        .parse()
        .expect("a float's text is a number");
    serde_json::json!(shortest)
}

/// `a * b` tokens or slots, refused by `field`'s name when that overflows.
pub(super) fn product(
    target: &'static str,
    field: &'static str,
    a: u32,
    b: u32,
) -> Result<u32, CodegenError> {
    a.checked_mul(b).ok_or_else(|| {
        let expected = format!("a product of at most {}", u32::MAX);
        unsupported(target, field, format!("{a} x {b}"), &expected)
    })
}

/// What the templates of every server need. Texts that are marked as quoted here were checked
/// ([`serving`]) or made by a quoting function.
pub(super) fn server(plan: &Plan, serving: &Serving) -> Result<Value, CodegenError> {
    let made = |text: String| Value::from_safe_string(text);
    let published = match serving.bind {
        IpAddr::V4(ip) => format!("{ip}:{port}:{port}", port = serving.port),
        IpAddr::V6(ip) => format!("[{ip}]:{port}:{port}", port = serving.port),
    };
    let reasons = reasons(plan)?;
    Ok(context! {
        plan => plan,
        served_name => serving.name,
        bind => made(serving.bind.to_string()),
        client_host => made(client_host(serving.bind)),
        port => serving.port,
        published => published,
        key_env => serving.key_env.clone().map(made),
        key_required => serving.key_env.as_ref().map(|name| {
            made(format!("${{{name}:?set {name} to the key that clients must send}}"))
        }),
        start_seconds => start_seconds(plan),
        reasons => reasons,
    })
}

/// What every engine's templates need besides.
pub(super) fn common(plan: &Plan, launch: &Launch) -> Result<Value, CodegenError> {
    let made = |text: String| Value::from_safe_string(text);
    let table = launch.table;
    let shell = launch.command.shell_parts()?.join(" \\\n  ");
    let why = why_lines(&launch.command.explained())?;
    Ok(context! {
        engine => made(table.engine.clone()),
        version => made(table.version.clone()),
        table_source => made(table.source.clone()),
        table_date => made(table.date.clone()),
        image => made(table.image.clone()),
        engine_key_env => made(table.api_key_env.clone()),
        command => made(shell.clone()),
        command_block => made(markdown_block("sh", &shell)?),
        why => why,
        local => launch.local,
        ..server(plan, &launch.serving)?
    })
}

/// A line of Markdown for each setting: its name, the field of the plan, what it does.
pub(super) fn why_lines(settings: &[Explained]) -> Result<Vec<Value>, CodegenError> {
    let line = |e: &Explained| {
        let (flag, field) = (markdown_code(&e.flag)?, markdown_code(e.why.field)?);
        let text = format!("{flag} ({field}): {}", e.why.text);
        Ok(Value::from_safe_string(text))
    };
    settings.iter().map(line).collect()
}

/// Where an engine without keys of its own listens: on loopback, behind the proxy that asks for
/// the key, or as the plan says when there is none.
pub(super) fn behind_proxy(serving: &Serving) -> (IpAddr, u16) {
    if serving.key_env.is_none() {
        return (serving.bind, serving.port);
    }
    let inside = if serving.port == PROXIED_PORT {
        PROXIED_PORT + 1
    } else {
        PROXIED_PORT
    };
    (IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), inside)
}

/// `base` and what the templates of an engine behind a proxy need besides.
pub(super) fn proxied(plan: &Plan, serving: &Serving, base: Value) -> Value {
    let (_, port) = behind_proxy(serving);
    let address = match serving.bind {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    context! {
        proxied => serving.key_env.is_some(),
        inside_port => port,
        proxy_bind => Value::from_safe_string(address),
        gated => plan.model.gated,
        ..base
    }
}

/// The proxy's script and settings, for a plan whose clients send a key.
///
/// # Errors
/// [`CodegenError::Files`] never: the paths are fixed.
pub(super) fn add_proxy(
    files: &mut FileSet,
    serving: &Serving,
    context: &Value,
) -> Result<(), CodegenError> {
    if serving.key_env.is_some() {
        for page in PROXY {
            files.insert(page.render(context)?)?;
        }
    }
    Ok(())
}

/// The address in a client's URL: loopback for a server that listens everywhere.
pub(super) fn client_host(bind: IpAddr) -> String {
    match bind {
        IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) if ip.is_unspecified() => "[::1]".to_owned(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The plan's reasons as lines of Markdown.
pub(super) fn reasons(plan: &Plan) -> Result<Vec<Value>, CodegenError> {
    plan.reasons.iter().map(reason).collect()
}

/// A reason as a line of Markdown: its rule, its facts, its sources.
pub(super) fn reason(reason: &mistral_core::reason::Reason) -> Result<Value, CodegenError> {
    let mut line = markdown_code(&reason.rule)?;
    let mut separator = ": ";
    for (name, fact) in &reason.facts {
        let value = serde_json::to_string(fact).map_err(|source| CodegenError::Plan { source })?;
        line += separator;
        line += &markdown_code(&format!("{name} = {value}"))?;
        separator = ", ";
    }
    for source in &reason.sources {
        line += ", source ";
        line += &markdown_code(source)?;
    }
    Ok(Value::from_safe_string(line))
}
