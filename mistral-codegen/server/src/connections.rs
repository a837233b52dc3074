//! Accepts connections, bounds them in number and time, and lets them end in peace.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::settings::Settings;

/// How long to wait when the system has no connection to give, such as for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` completes; then waits for the answers that are being given, at most as long
/// as the settings say.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: Arc<Settings>,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(settings.connections.get()));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        // A place first: beyond the limit new connections wait in the system's queue.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = &mut stop => break,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((socket, _)) => connection(socket, place, &router, &settings, &graceful),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    drop(listener);
    // Answers that take longer are cut: the process ends with its runtime.
    let _ = tokio::time::timeout(settings.shutdown_time, graceful.shutdown()).await;
}

fn connection(
    socket: TcpStream,
    place: OwnedSemaphorePermit,
    router: &Router,
    settings: &Settings,
    graceful: &GracefulShutdown,
) {
    // Tokens are small and each is waited for. A socket that refuses works all the same.
    let _ = socket.set_nodelay(true);
    let service = TowerToHyperService::new(router.clone());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = hyper::service::Service::call(&service, request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_time)
        .max_buf_size(settings.header_bytes)
        .serve_connection(TokioIo::new(socket), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        // A connection that breaks is the client's business.
        let _ = connection.await;
        drop(place);
    });
}
