//! The server's life: bind, serve, end in order.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use phi3::api::{ErrorObject, EventKind, Settings};
use preflight_files::Source;
use tokio::net::TcpListener;

use crate::attempts::Attempts;
use crate::devices::xid;
use crate::environment::Host;
use crate::events::Hub;
use crate::http::{self, Token};
use crate::ladders::{LadderRunner, Ladders, Profiles};
use crate::launcher::{Launcher, Launchers, Local};
use crate::ledger::Ledger;
use crate::loaded::LoadedModels;
use crate::metrics;
use crate::registry::{Folders, Registry};
use crate::runner::Runner;
use crate::settings::find_dashboard;
use crate::state::AppState;
use crate::store::{DataDir, Store};
use crate::worker_client::Limits;

/// Time that open requests and streams get to end.
const GRACE: Duration = Duration::from_secs(5);

/// Files that a server may need open at once, with room to spare.
#[cfg(unix)]
const FILES: u64 = 16_384;

/// What a server needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to bind; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Folder for the server's own files; held by one server at a time. The user's own where it is not given.
    pub data_dir: Option<PathBuf>,
    /// Folders that models may be read from.
    pub model_roots: Vec<PathBuf>,
    /// The default model.
    pub default_model: Option<PathBuf>,
    /// Folder of the built dashboard; found if not given.
    pub dashboard: Option<PathBuf>,
    /// Allows an address that others can reach without a token.
    pub insecure_no_auth: bool,
    /// What requests must carry.
    pub token: Option<Token>,
    /// Names that requests may ask for in `Host`, beside those of loopback.
    pub allowed_hosts: Vec<String>,
    /// Overrides for every load of every model.
    pub load_config: serde_json::Map<String, serde_json::Value>,
    /// Limits on workers.
    pub limits: Limits,
    /// All of these as people are told them.
    pub settings: Settings,
}

/// A bound server that does not serve yet.
pub struct Server {
    listener: TcpListener,
    state: AppState,
    limits: Limits,
    // Held for the server's life.
    data_dir: DataDir,
}

impl Server {
    /// Checks the config and binds.
    ///
    /// # Errors
    /// An address that is refused or in use, a folder that is not there or is held by another server.
    pub async fn bind(config: Config) -> Result<Self, ErrorObject> {
        raise_file_limit();
        let loopback_only = config.listen.ip().is_loopback();
        if !loopback_only && config.token.is_none() && !config.insecure_no_auth {
            let message = format!(
                "--listen {}: others could reach it: give a --token-file, listen on 127.0.0.1, or add --insecure-no-auth",
                config.listen
            );
            return Err(ErrorObject::new("insecure_listen", message));
        }
        let folders = Folders::new(&config.model_roots, config.default_model.as_deref())?;
        if let Some(path) = &config.default_model {
            check_default(path, &config.model_roots)?;
        }
        let dashboard = match config.dashboard {
            Some(path) if path.join("index.html").is_file() => Some(path),
            Some(path) => {
                let message = format!("--dashboard {}: holds no index.html", path.display());
                return Err(ErrorObject::new("not_found", message));
            }
            None => find_dashboard(),
        };
        let listener = TcpListener::bind(config.listen).await.map_err(|error| {
            let why = match error.kind() {
                ErrorKind::AddrInUse => {
                    "the address is in use: end what listens there, or choose another port (0: a free one)"
                        .to_owned()
                }
                _ => error.to_string(),
            };
            ErrorObject::new("cannot_listen", format!("--listen {}: {why}", config.listen))
        })?;
        // After the address: who asks for one in use is told so, not that the folder is in use too.
        let data_dir = match &config.data_dir {
            Some(path) => DataDir::take(path)?,
            None => DataDir::take_default()?,
        };
        let store = Arc::new(Store::open(data_dir.path()).await?);
        let mut allowed_hosts = config.allowed_hosts;
        if loopback_only {
            // All of 127.0.0.0/8 is loopback: the address that is told is answered to.
            allowed_hosts.push(match config.listen.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            });
        }
        let mut settings = config.settings;
        // What was asked for may leave something open: a free port, a folder beside the one that is held.
        let held = [
            ("listen", listener.local_addr().ok().map(|address| address.to_string())),
            ("data_dir", Some(data_dir.path().display().to_string())),
            ("dashboard", dashboard.as_ref().map(|path| path.display().to_string())),
        ];
        for (key, value) in held {
            if let Some(setting) = settings.settings.iter_mut().find(|setting| setting.key == key) {
                setting.value = value.into();
            }
        }
        metrics::install();
        xid::watch();
        let hub = Arc::new(Hub::new());
        let attempts = Attempts::open(Ledger::new(Arc::clone(&store)), Arc::clone(&hub)).await?;
        let ladders = Ladders::open(Arc::clone(&store), Arc::clone(&hub)).await?;
        let state = AppState {
            registry: Arc::new(Registry::new(folders, Arc::clone(&store), config.load_config)),
            attempts: Arc::new(attempts),
            ladders: Arc::new(ladders),
            profiles: Arc::new(Profiles::new(Arc::clone(&store))),
            loaded: Arc::new(LoadedModels::default()),
            store,
            host: Arc::new(Host::default()),
            hub,
            dashboard: dashboard.map(Arc::new),
            settings: Arc::new(settings),
            loopback_only,
            allowed_hosts: allowed_hosts.into(),
            token: config.token,
        };
        Ok(Self { listener, state, limits: config.limits, data_dir })
    }

    /// Where it can be reached.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn url(&self) -> io::Result<String> {
        Ok(format!("http://{}", self.listener.local_addr()?))
    }

    /// Serves until `shutdown` is done; then workers end, streams are told, and open requests get some time.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let Self { listener, state, limits, data_dir } = self;
        let store = Arc::clone(&state.store);
        let runner = Arc::new(Runner {
            attempts: Arc::clone(&state.attempts),
            launchers: Arc::new(FoundLate),
            limits,
            loaded: Arc::clone(&state.loaded),
            registry: Arc::clone(&state.registry),
        });
        let runner = tokio::spawn(runner.run());
        let ladders = Arc::new(LadderRunner {
            ladders: Arc::clone(&state.ladders),
            attempts: Arc::clone(&state.attempts),
            registry: Arc::clone(&state.registry),
            host: Arc::clone(&state.host),
        });
        let ladders = tokio::spawn(ladders.run());
        let ending = tokio_util::sync::CancellationToken::new();
        let begin_end = {
            let (state, ending) = (state.clone(), ending.clone());
            async move {
                shutdown.await;
                tracing::info!("shutting down");
                // A ladder is interrupted by the server's end, not by that of its attempt.
                state.ladders.close().await;
                state.attempts.close().await;
                ending.cancel();
            }
        };
        // Streams end by the shutdown event, which comes after the last state of every attempt.
        let hub = Arc::clone(&state.hub);
        let mut end_streams = tokio::spawn(async move {
            let ended = tokio::join!(runner, ladders);
            hub.publish(EventKind::Shutdown);
            ended
        });
        tokio::spawn(begin_end);
        let in_order = http::serve(listener, http::router(state), &ending, GRACE).await;
        if !in_order {
            tracing::warn!("open connections were cut after {GRACE:?}");
        }
        // Nobody may be connected: the ends of attempts are written all the same.
        if tokio::time::timeout(GRACE, &mut end_streams).await.is_err() {
            tracing::warn!("workers did not end within {GRACE:?}");
            end_streams.abort();
        }
        store.close().await;
        drop(data_dir);
    }
}

/// Tells at the start, not at the first load, of a default model that is none; and of one that no path of a request reaches.
fn check_default(path: &Path, roots: &[PathBuf]) -> Result<(), ErrorObject> {
    let shown = path.display().to_string();
    let refuse = |why: String| {
        ErrorObject::new("not_found", format!("--default-model {shown}: {why}")).at(shown.clone())
    };
    if path.is_dir() {
        let entries = path.read_dir().map_err(|error| refuse(error.to_string()))?;
        let mut names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        if !names.any(|name| [".json", ".safetensors", ".gguf"].iter().any(|end| name.ends_with(end))) {
            return Err(refuse("holds no model: no config.json, no weights".to_owned()));
        }
    } else {
        Source::resolve(&shown).map_err(|error| refuse(ErrorObject::from(error).message))?;
    }
    let place = path.canonicalize().ok();
    let holds = |root: &PathBuf| {
        root.canonicalize().ok().zip(place.as_ref()).is_some_and(|(root, place)| place.starts_with(root))
    };
    if !roots.is_empty() && !roots.iter().any(holds) {
        tracing::warn!(
            "--default-model {shown}: lies under no --model-root: requests reach it as model `default`, not by its path"
        );
    }
    Ok(())
}

/// Each client is an open file, and many systems begin with room for fewer than may come.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            setrlimit(Resource::RLIMIT_NOFILE, soft.max(hard.min(FILES)), hard).ok();
        }
    }
}

/// Looks for the worker anew at each launch, so that it may be built while the server runs.
struct FoundLate;

impl Launchers for FoundLate {
    fn launcher(&self, device: &str) -> io::Result<Box<dyn Launcher>> {
        Ok(Box::new(Local::find(Some(device))?))
    }
}
