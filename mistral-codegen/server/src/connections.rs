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

use crate::http::{App, router};
use crate::settings::Settings;
use crate::socket::Socket;

/// Time to tell clients that their answers were given up.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long to wait when the system has no connection to give, such as for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` completes; then waits for the answers that are being given, at most as long
/// as the settings say.
pub async fn serve(
    listener: TcpListener,
    app: App,
    settings: Arc<Settings>,
    stop: impl Future<Output = ()>,
) {
    let queue = app.queue.clone();
    let router = router(app);
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
    let mut ends = std::pin::pin!(graceful.shutdown());
    if tokio::time::timeout(settings.shutdown_time, &mut ends)
        .await
        .is_err()
    {
        // Answers that take longer are given up, and their clients told.
        queue.stop();
        let _ = tokio::time::timeout(LAST_WORDS, &mut ends).await;
    }
}

fn connection(
    socket: TcpStream,
    place: OwnedSemaphorePermit,
    router: &Router,
    settings: &Settings,
    graceful: &GracefulShutdown,
) {
    let socket = Socket::new(socket, settings.write_time);
    let remainder = socket.remainder();
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
        // A connection that breaks otherwise is the client's business.
        if connection.await.is_err_and(|error| error.is_timeout()) {
            remainder.late();
        }
        drop(place);
    });
}
