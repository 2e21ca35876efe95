//! Connections: few enough, quick enough with their headers, and ended in order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt as _, service_fn};

/// Longest time for a request's headers: one that sends them byte by byte keeps its place no longer.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// Largest head of a request, in bytes.
const HEADER_BYTES: usize = 64 << 10;

/// Connections at once; those beyond wait in the system's queue.
const CONNECTIONS: usize = 1024;

/// Longest time that what was sent may stay unread.
#[cfg(target_os = "linux")]
const WRITE_TIME: Duration = Duration::from_secs(30);

/// How long to wait where the system has no more sockets to give.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `ending` fires; then open requests get `grace`. Tells whether all ended by themselves.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    ending: &CancellationToken,
    grace: Duration,
) -> bool {
    // Without TLS no browser speaks HTTP/2, and finding out whether a client does would wait for its first bytes
    // without an end.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(HEADER_BYTES);
    let open = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = ending.cancelled() => break,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        let (Ok(place), Ok((stream, _peer))) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        stream.set_nodelay(true).ok();
        // A client that reads nothing of what it asked for keeps its place no longer.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(WRITE_TIME)).ok();
        let router = router.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let router = router.clone();
            async move {
                Ok::<_, Infallible>(
                    router
                        .oneshot(request.map(axum::body::Body::new))
                        .await
                        .unwrap_or_else(|never| match never {}),
                )
            }
        });
        let connection =
            builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned();
        let watched = open.watch(connection);
        tokio::spawn(async move {
            // A client that broke off is none of our faults.
            watched.await.ok();
            drop(place);
        });
    }
    drop(listener);
    tokio::time::timeout(grace, open.shutdown()).await.is_ok()
}
