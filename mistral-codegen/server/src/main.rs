//! Starts the server. `--check-health` asks a running one how it is, for containers; `--quantize
//! FOLDER` makes the plan's GGUF file from released weights.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mistral_infer::gguf::{QuantizeOptions, quantize_model};
use mistral_server::backend::Backend;
use mistral_server::http::{App, now_s};
use mistral_server::metrics::Metrics;
use mistral_server::mistral::Mistral;
use mistral_server::settings::{Settings, model_path};
use mistral_server::worker::Queue;
use mistral_server::{connections, log, plan};
use tokio::net::TcpListener;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => run(),
        ["--check-health"] => check_health(),
        ["--quantize", folder] => quantize(Path::new(folder)),
        _ => {
            let expected = "no argument, --check-health, or --quantize FOLDER";
            Err(format!("expected {expected}, found {arguments:?}").into())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn settings() -> Result<Settings, Box<dyn Error>> {
    Ok(Settings::read(variable)?)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn run() -> Result<(), Box<dyn Error>> {
    let settings = Arc::new(settings()?);
    eprintln!("loading {}", settings.model.display());
    let backend: Arc<dyn Backend> = Arc::new(Mistral::load(&settings)?);
    let metrics = Arc::new(Metrics::default());
    let (slots, waiting) = (settings.slots.get(), settings.waiting);
    let (queue, worker) = Queue::start(Arc::clone(&backend), slots, waiting, Arc::clone(&metrics))?;
    let app = App {
        backend,
        queue,
        settings: Arc::clone(&settings),
        metrics,
        log: log::stdout(),
        started_s: now_s(),
    };
    let ended = app.queue.ended();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // They encode prompts. Each keeps what a `tokenizer.json` has split, so that many would take
        // memory that many clients decide about.
        .max_blocking_threads(2)
        .enable_all()
        .build()?;
    let failed = runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::new(settings.host, settings.port)).await?;
        eprintln!("listening on http://{}", listener.local_addr()?);
        // Once the router is gone the worker ends too: only an end before that is a failure.
        let failed = AtomicBool::new(false);
        let stop = async {
            tokio::select! {
                () = stop_signal() => {}
                () = until(&ended) => failed.store(true, Ordering::Relaxed),
            }
        };
        connections::serve(listener, app, settings, stop).await;
        Ok::<_, Box<dyn Error>>(failed.into_inner())
    })?;
    // Answers still running lose their clients here, and the worker its queue.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match worker.join() {
        Ok(()) if !failed => Ok(()),
        _ => Err("the model's worker ended".into()),
    }
}

/// Writes the GGUF file that the server will load; it appears when it is whole.
fn quantize(from: &Path) -> Result<(), Box<dyn Error>> {
    let to = model_path(variable);
    let ending = to.extension().unwrap_or_default();
    if !ending.eq_ignore_ascii_case("gguf") {
        return Err(format!("expected a GGUF file as the model's path, found {to:?}").into());
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = QuantizeOptions {
        precision: plan::PRECISION.parse()?,
        threads: plan::THREADS.unwrap_or(cores),
        context_length: None,
    };
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let report = quantize_model(from, &to, &options, &mut |at| {
        eprintln!("[{:4}/{}] {}", at.number, at.count, at.name);
    })?;
    eprintln!("made {}: {} bytes", to.display(), report.bytes);
    Ok(())
}

/// Completes when the worker has ended by itself: whoever supervises this process starts it anew.
async fn until(ended: &AtomicBool) {
    while !ended.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Completes when the process is asked to end.
async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

fn check_health() -> Result<(), Box<dyn Error>> {
    const TIME: Duration = Duration::from_secs(5);
    let settings = settings()?;
    let host = match settings.host {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let mut socket = TcpStream::connect_timeout(&SocketAddr::new(host, settings.port), TIME)?;
    socket.set_read_timeout(Some(TIME))?;
    socket.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    socket.read_exact(&mut status)?;
    if &status == b"HTTP/1.1 200" {
        Ok(())
    } else {
        Err("the server is not healthy".into())
    }
}
