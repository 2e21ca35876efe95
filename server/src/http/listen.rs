//! Connections: few enough, quick enough with their headers, and ended in order.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

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

/// Who connected just before the end has sent a request by then, and is answered; idle connections are closed without a word.
const SETTLE: Duration = Duration::from_millis(100);

/// Serves until `ending` fires; then open requests get `grace`, and who comes meanwhile is still answered: that this server
/// is going. Tells whether all ended by themselves.
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
    let connect = |builder: &Builder<TokioExecutor>, stream| {
        let service = TowerToHyperService::new(router.clone());
        builder.serve_connection(TokioIo::new(stream), service).into_owned()
    };
    // A client that broke off is none of our faults.
    loop {
        let (place, stream) = tokio::select! {
            () = ending.cancelled() => break,
            next = accepted(&listener, &places) => next,
        };
        let connection = open.watch(connect(&builder, stream));
        tokio::spawn(async move { (connection.await.ok(), place).0 });
    }
    builder.http1().keep_alive(false);
    let late = async {
        loop {
            let (place, stream) = accepted(&listener, &places).await;
            let connection = connect(&builder, stream);
            tokio::spawn(async move { (connection.await.ok(), place).0 });
        }
    };
    let drained = async {
        tokio::time::sleep(SETTLE).await;
        tokio::time::timeout(grace, open.shutdown()).await
    };
    tokio::select! {
        drained = drained => drained.is_ok(),
        () = late => false,
    }
}

/// The next connection, once there is a place for it.
async fn accepted(listener: &TcpListener, places: &Arc<Semaphore>) -> (OwnedSemaphorePermit, TcpStream) {
    loop {
        if let (Ok(place), Ok((stream, _peer))) =
            (Arc::clone(places).acquire_owned().await, listener.accept().await)
        {
            stream.set_nodelay(true).ok();
            // A client that reads nothing of what it asked for keeps its place no longer.
            #[cfg(target_os = "linux")]
            socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(WRITE_TIME)).ok();
            return (place, stream);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
