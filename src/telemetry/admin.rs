//! The admin endpoint: `/metrics`, `/healthz`, `/readyz`, `/status`, and a status page at `/`; on a thread of its own.
//!
//! It only reads: no route changes anything, and nothing of the config is shown, so it holds no secret. A client costs at
//! most a connection of [`CONNECTIONS_MAX`]: one that neither sends nor takes anything for [`IDLE_MAX`] is cut, and every
//! connection ends after [`CONNECTION_MAX`], so that trickling bytes gains nothing either. No TLS, no password: the default
//! address is this machine's own.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};

use super::metrics;
use super::status::StatusSource;

/// Connections served at once; more wait in the system's backlog.
pub const CONNECTIONS_MAX: usize = 64;

/// How long a connection may move nothing.
pub const IDLE_MAX: Duration = Duration::from_secs(10);

/// How long a connection may last at all.
pub const CONNECTION_MAX: Duration = Duration::from_secs(60);

/// How long stopping waits for replies on their way.
const STOP_MAX: Duration = Duration::from_millis(500);

/// The file in `data_dir` that names the address.
pub const ADDRESS_FILE: &str = "admin.addr";

/// Why the endpoint could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("admin.listen: cannot listen on {listen}: {source}{}", hint(.source))]
    Bind { listen: SocketAddr, source: io::Error },
    #[error("cannot write {}, by which `logferry status` finds the agent: {source}", .path.display())]
    AddressFile { path: PathBuf, source: io::Error },
    #[error("cannot start the thread of the admin endpoint: {0}")]
    Thread(io::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process has this port: stop it, or set admin.listen to a free one (port 0: any that is free)"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has this address: use 127.0.0.1 or 0.0.0.0",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE: use a higher one",
        _ => "",
    }
}

/// The running endpoint; stops when dropped.
#[must_use = "the endpoint stops when this is dropped"]
pub struct AdminServer {
    address: SocketAddr,
    address_file: PathBuf,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Listens on `listen` (port 0: any free one) and writes the address to `data_dir/admin.addr`. `data_dir` must exist.
    ///
    /// # Errors
    /// If the address can't be had, the file can't be written, or there is no thread.
    pub fn start(listen: SocketAddr, data_dir: &Path, source: Arc<dyn StatusSource>) -> Result<Self, AdminError> {
        let bind_error = |source| AdminError::Bind { listen, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(AdminError::Thread)?;
        let listener = runtime.block_on(TcpListener::bind(listen)).map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let address_file = data_dir.join(ADDRESS_FILE);
        write_address(&address_file, address)
            .map_err(|source| AdminError::AddressFile { path: address_file.clone(), source })?;
        let (stop, stopped) = watch::channel(false);
        let limits = Limits { idle: IDLE_MAX, whole: CONNECTION_MAX };
        let listener = Bounded { listener, slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)), limits };
        let thread = std::thread::Builder::new()
            .name("admin".into())
            .spawn(move || runtime.block_on(serve(listener, router(source), stopped)))
            .map_err(AdminError::Thread)?;
        tracing::info!(%address, "admin endpoint listens");
        Ok(Self { address, address_file, stop, thread: Some(thread) })
    }

    /// The address it listens on, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, lets replies on their way finish for a moment, and removes the address file.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the admin endpoint had ended with a panic");
        }
        // Another agent may have written its own since; that one stays.
        let ours = fs::read_to_string(&self.address_file).is_ok_and(|text| text.trim() == self.address.to_string());
        if ours && let Err(error) = fs::remove_file(&self.address_file) {
            tracing::warn!(file = %self.address_file.display(), %error, "cannot remove the admin address file");
        }
    }
}

/// Replaces the file as a whole, so that a reader sees the old address or the new one. Not synced: it is worth nothing after
/// a crash.
fn write_address(path: &Path, address: SocketAddr) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(ADDRESS_FILE).tempfile_in(directory)?;
    writeln!(file, "{address}")?;
    // Who may run `logferry status` need not be who runs the agent.
    let readable = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
    file.as_file().set_permissions(readable)?;
    file.persist(path)?;
    Ok(())
}

async fn serve(listener: Bounded, router: Router, stopped: watch::Receiver<bool>) {
    let until = |mut stopped: watch::Receiver<bool>| async move {
        // An error means that the sender is gone, which is a stop too.
        drop(stopped.wait_for(|stop| *stop).await);
    };
    let serving = axum::serve(listener, router).with_graceful_shutdown(until(stopped.clone()));
    let serving = tokio::spawn(serving.into_future());
    until(stopped).await;
    if tokio::time::timeout(STOP_MAX, serving).await.is_err() {
        tracing::debug!("admin connections were cut at the stop");
    }
}

fn router(source: Arc<dyn StatusSource>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics_text))
        .route("/status", get(status_json))
        .route("/healthz", get(async |State(source): State<Source>| verdict(source.healthy())))
        .route("/readyz", get(async |State(source): State<Source>| verdict(source.ready())))
        .with_state(source)
}

type Source = Arc<dyn StatusSource>;

const NO_STORE: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

fn verdict(result: Result<(), String>) -> Response {
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), NO_STORE];
    match result {
        Ok(()) => (plain, "ok\n").into_response(),
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, plain, format!("{reasons}\n")).into_response(),
    }
}

async fn metrics_text(State(source): State<Source>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let status = source.status();
    let (kind, text) = if wants_openmetrics(accept) {
        (metrics::OPENMETRICS_TYPE, metrics::openmetrics(status))
    } else {
        (metrics::PROMETHEUS_TYPE, metrics::prometheus(status))
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// OpenMetrics, unless the client likes plain text better. Among equals OpenMetrics wins, as it does for who says nothing.
fn wants_openmetrics(accept: Option<&str>) -> bool {
    let (mut open, mut plain) = (None, None);
    for item in accept.unwrap_or("*/*").split(',') {
        let mut parts = item.split(';').map(str::trim);
        let kind = parts.next().unwrap_or("").to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
        match kind.as_str() {
            "application/openmetrics-text" => open = open.max_with(quality),
            "text/plain" | "text/*" => plain = plain.max_with(quality),
            "*/*" if open.is_none() && plain.is_none() => open = Some(quality),
            _ => {}
        }
    }
    open.unwrap_or(0.0) >= plain.unwrap_or(0.0)
}

trait MaxWith {
    fn max_with(self, other: f32) -> Self;
}

impl MaxWith for Option<f32> {
    fn max_with(self, other: f32) -> Self {
        Some(self.map_or(other, |own| own.max(other)))
    }
}

async fn status_json(State(source): State<Source>) -> Response {
    match serde_json::to_vec_pretty(&source.status()) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json"), NO_STORE], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The page may run its own script and ask its own server, and nothing else: names of files and topics, which strangers may
/// have chosen, stay text.
async fn page() -> Response {
    let policy = "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                  frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        NO_STORE,
    ];
    (headers, include_str!("page.html")).into_response()
}

/// A listener that accepts only while a slot is free.
struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    limits: Limits,
}

/// How long a connection may last: moving nothing, and at all.
#[derive(Clone, Copy)]
struct Limits {
    idle: Duration,
    whole: Duration,
}

impl axum::serve::Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (Connection::new(stream, slot, self.limits), peer),
                Err(error) => {
                    // Out of descriptors, or the client is gone already: neither gets better by asking at once.
                    tracing::warn!(%error, "admin endpoint cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends itself: see the header.
struct Connection {
    stream: TcpStream,
    /// Fires when nothing moved for `idle`, at `until` at the latest.
    deadline: Pin<Box<Sleep>>,
    idle: Duration,
    until: Instant,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, slot: OwnedSemaphorePermit, limits: Limits) -> Self {
        let deadline = Box::pin(tokio::time::sleep(limits.idle));
        Self { stream, deadline, idle: limits.idle, until: Instant::now() + limits.whole, _slot: slot }
    }

    /// What the stream said, or a time-out once the deadline has passed; something that moved puts it off.
    fn bounded<T>(&mut self, context: &mut Context<'_>, said: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let now = Instant::now();
        if now >= self.until {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if said.is_ready() {
            let deadline = (now + self.idle).min(self.until);
            self.deadline.as_mut().reset(deadline);
            return said;
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_read(context, buf);
        self.bounded(context, said)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write(context, buf);
        self.bounded(context, said)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write_vectored(context, bufs);
        self.bounded(context, said)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;
    use std::sync::Mutex;

    use super::super::status::Status;
    use super::*;

    /// Says what it is told to.
    struct Told {
        ready: Mutex<Result<(), String>>,
    }

    impl StatusSource for Told {
        fn status(&self) -> Status {
            metrics::tests::full_status()
        }

        fn healthy(&self) -> Result<(), String> {
            Ok(())
        }

        fn ready(&self) -> Result<(), String> {
            self.ready.lock().expect("no panic while locked").clone()
        }
    }

    struct Running {
        server: AdminServer,
        told: Arc<Told>,
        dir: tempfile::TempDir,
    }

    fn start() -> Running {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let told = Arc::new(Told { ready: Mutex::new(Ok(())) });
        let server = AdminServer::start("127.0.0.1:0".parse().expect("an address"), dir.path(), told.clone());
        Running { server: server.expect("any port"), told, dir }
    }

    impl Running {
        /// The whole reply to a GET, status line and headers included.
        fn get(&self, path: &str, headers: &str) -> String {
            let mut stream = TcpStream::connect(self.server.address()).expect("it listens");
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
            stream.write_all(request.as_bytes()).expect("sent");
            let mut reply = String::new();
            stream.read_to_string(&mut reply).expect("the server closes");
            reply
        }
    }

    #[test]
    fn serves_status_metrics_and_the_page() {
        let running = start();
        let status = running.get("/status", "");
        let (head, body) = status.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains("application/json"));
        assert_eq!(serde_json::from_str::<Status>(body).expect("a status"), metrics::tests::full_status());
        let open = running.get("/metrics", "");
        assert!(open.contains(metrics::OPENMETRICS_TYPE) && open.ends_with("# EOF\n"), "{open}");
        let plain = running.get("/metrics", "accept: text/plain\r\n");
        assert!(plain.contains(metrics::PROMETHEUS_TYPE) && !plain.contains("# EOF"), "{plain}");
        assert!(running.get("/", "").contains("<title>Logferry"));
        assert!(running.get("/nothing", "").starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn readiness_names_the_reasons() {
        let running = start();
        assert!(running.get("/healthz", "").starts_with("HTTP/1.1 200"));
        assert!(running.get("/readyz", "").starts_with("HTTP/1.1 200"));
        *running.told.ready.lock().expect("unpoisoned") = Err("input nginx: starting".into());
        let reply = running.get("/readyz", "");
        assert!(reply.starts_with("HTTP/1.1 503") && reply.ends_with("input nginx: starting\n"), "{reply}");
        assert!(running.get("/healthz", "").starts_with("HTTP/1.1 200"), "not ready is not ill");
    }

    #[test]
    fn the_address_file_comes_and_goes() {
        let running = start();
        let file = running.dir.path().join(ADDRESS_FILE);
        let text = fs::read_to_string(&file).expect("the file is there");
        assert_eq!(text, format!("{}\n", running.server.address()));
        let address = running.server.address();
        running.server.stop();
        assert!(!file.exists());
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    }

    #[test]
    fn the_address_file_of_a_successor_stays() {
        let running = start();
        let file = running.dir.path().join(ADDRESS_FILE);
        fs::write(&file, "127.0.0.1:1\n").expect("written");
        running.server.stop();
        assert_eq!(fs::read_to_string(&file).expect("still there"), "127.0.0.1:1\n");
    }

    #[test]
    fn a_taken_port_is_named_with_the_way_out() {
        let running = start();
        let taken = running.server.address();
        let error = match AdminServer::start(taken, running.dir.path(), running.told.clone()) {
            Ok(_) => panic!("the port is taken"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(&taken.to_string()) && error.contains("admin.listen"), "{error}");
    }

    #[test]
    fn stopping_does_not_wait_for_a_stuck_client() {
        let running = start();
        let mut stuck = TcpStream::connect(running.server.address()).expect("it listens");
        stuck.write_all(b"GET /status HTT").expect("sent");
        running.get("/healthz", "");
        let begin = std::time::Instant::now();
        running.server.stop();
        assert!(begin.elapsed() < IDLE_MAX / 2, "stopped after {:?}", begin.elapsed());
    }

    /// Guarantees: a silent connection ends after the idle limit, one that trickles after the whole one, and both free their slot.
    #[test]
    fn idle_and_trickling_connections_are_cut() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let limits = Limits { idle: Duration::from_millis(20), whole: Duration::from_millis(100) };
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("any port");
            let address = listener.local_addr().expect("bound");
            let slots = Arc::new(Semaphore::new(1));
            let mut bounded = Bounded { listener, slots: Arc::clone(&slots), limits };

            let _silent = tokio::net::TcpStream::connect(address).await.expect("it listens");
            let (mut connection, _) = axum::serve::Listener::accept(&mut bounded).await;
            let begin = Instant::now();
            let error = read(&mut connection).await.expect_err("nothing is sent");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(begin.elapsed() >= limits.idle);
            assert_eq!(slots.available_permits(), 0);
            drop(connection);
            assert_eq!(slots.available_permits(), 1);

            let trickling = tokio::net::TcpStream::connect(address).await.expect("it listens");
            let (mut connection, _) = axum::serve::Listener::accept(&mut bounded).await;
            let begin = Instant::now();
            let error = loop {
                trickling.writable().await.expect("open");
                trickling.try_write(b"x").expect("sent");
                if let Err(error) = read(&mut connection).await {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(begin.elapsed() >= limits.whole);
        });
    }

    async fn read(connection: &mut Connection) -> io::Result<()> {
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        std::future::poll_fn(|context| Pin::new(&mut *connection).poll_read(context, &mut buf)).await
    }

    #[test]
    fn the_text_format_is_negotiated() {
        let check = |accept: Option<&str>, open: bool| assert_eq!(wants_openmetrics(accept), open, "{accept:?}");
        check(None, true);
        check(Some("*/*"), true);
        check(Some("text/plain"), false);
        check(Some("text/html,application/xhtml+xml,*/*;q=0.8"), true);
        check(Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"), true);
        check(Some("application/openmetrics-text;q=0.2, text/plain;q=0.9"), false);
        check(Some(";;q=,\u{1},,"), true);
    }
}
