//! `preflight serve`: the server with its dashboard.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use phi3::api::ErrorObject;
use phi3::load_config::LoadConfig;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::output;
use crate::error::CliError;
use crate::http::Token;
use crate::launcher;
use crate::serve::{Config, Server};
use crate::settings::{Layer, Settings, VARIABLES, unknown_variables};
use crate::worker_client::Limits;

/// Serve the dashboard and the API.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS", value_parser = crate::settings::address)]
    listen: Option<SocketAddr>,
    /// Folder for the server's own files; made if absent, held by one server at a time
    /// [default: $XDG_DATA_HOME/preflight, else ~/.local/share/preflight].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder that models may be read from; may be given several times, and paths then begin with its name.
    #[arg(long, value_name = "DIR")]
    model_root: Vec<PathBuf>,
    /// Directory of the default model [default: smollm2-135m-phi3 under a model root].
    #[arg(long, value_name = "DIR")]
    default_model: Option<PathBuf>,
    /// Folder of the built dashboard [default: dist beside the binary or in the working directory].
    #[arg(long, value_name = "DIR")]
    dashboard: Option<PathBuf>,
    /// File with the token that requests must carry; needed where others can reach the address. (The variable
    /// PREFLIGHT_TOKEN holds the token itself.)
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Name that requests may ask for in `Host`, beside localhost and addresses; may be given several times. Without it any
    /// name is taken where a token is asked for.
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,
    /// Listen on an address that others can reach, although anyone who reaches it can use it.
    #[arg(long)]
    insecure_no_auth: bool,
    /// Config file [default: $XDG_CONFIG_HOME/preflight/config.toml, else the same under ~/.config, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Longest token file that is read.
const TOKEN_BYTES: u64 = 4096;

/// Shortest token: one that cannot be guessed has more.
const TOKEN_AT_LEAST: usize = 16;

impl Args {
    /// What holds: these flags above the environment, that above the config file.
    pub(super) fn settings(self) -> Result<Settings, CliError> {
        let some = |list: Vec<PathBuf>| (!list.is_empty()).then_some(list);
        let flags = Layer {
            listen: self.listen,
            data_dir: self.data_dir,
            model_root: some(self.model_root),
            default_model: self.default_model,
            dashboard: self.dashboard,
            token_file: self.token_file,
            allowed_host: (!self.allowed_host.is_empty()).then_some(self.allowed_host),
            insecure_no_auth: self.insecure_no_auth.then_some(true),
            load_config: None,
        };
        Ok(Settings::read(flags, self.config.as_deref(), |name| std::env::var_os(name))?)
    }
}

/// The token: from its file, else from the environment.
fn token(file: Option<&Path>) -> Result<Option<Token>, CliError> {
    let (origin, text) = match file {
        Some(path) => {
            let read = preflight_files::read_small(path, TOKEN_BYTES).map_err(ErrorObject::from);
            let bytes = read.map_err(|error| {
                let message = format!("--token-file: {}", error.message);
                ErrorObject { message, ..error }
            })?;
            (format!("--token-file {}", path.display()), String::from_utf8_lossy(&bytes).trim().to_owned())
        }
        None => match std::env::var("PREFLIGHT_TOKEN") {
            Ok(text) => ("PREFLIGHT_TOKEN".to_owned(), text.trim().to_owned()),
            Err(_unset) => return Ok(None),
        },
    };
    if text.len() < TOKEN_AT_LEAST || text.contains(char::is_whitespace) {
        let message = format!("{origin}: a token has at least {TOKEN_AT_LEAST} characters and no space");
        return Err(CliError::usage(message));
    }
    Ok(Some(Token::new(&text)))
}

/// What the environment has for a server and no server reads: it may be misspelt. A sentence each.
pub(super) fn strange_variables() -> impl Iterator<Item = String> {
    let known = VARIABLES.join(", ");
    unknown_variables(std::env::vars_os().map(|(name, _)| name)).into_iter().map(move |name| {
        format!("the environment has {name}, which means nothing to a server; there are {known}")
    })
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let settings = args.settings()?;
    let told = settings.told();
    let Settings { listen, layer, file, .. } = settings;
    // Told now, not at the first load.
    if let Some(map) = &layer.load_config {
        let file = file.map_or_else(String::new, |file| format!("{}: ", file.display()));
        let refuse = |error: &dyn std::fmt::Display| CliError::usage(format!("{file}{error}"));
        let parsed = LoadConfig::from_map(map).map_err(|error| refuse(&error))?;
        launcher::check_template_early(parsed.chat_template.as_deref()).map_err(|error| refuse(&error))?;
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour);
    // A log that cannot be written must end nothing: what tells of such errors would panic.
    log.with_writer(std::io::stderr).log_internal_errors(false).init();
    let config = Config {
        listen,
        token: token(layer.token_file.as_deref())?,
        data_dir: layer.data_dir,
        model_roots: layer.model_root.unwrap_or_default(),
        default_model: layer.default_model,
        dashboard: layer.dashboard,
        allowed_hosts: layer.allowed_host.unwrap_or_default(),
        insecure_no_auth: layer.insecure_no_auth.unwrap_or(false),
        load_config: layer.load_config.unwrap_or_default(),
        limits: Limits::default(),
        settings: told,
    };
    let is_open = config.insecure_no_auth && config.token.is_none() && !config.listen.ip().is_loopback();
    let internal = |error: std::io::Error| CliError::internal(error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(internal)?;
    runtime.block_on(async {
        // Heard before the address is told, so that whoever reads it can end us.
        let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
        let server = Server::bind(config).await?;
        let open =
            "no token is asked for: whoever reaches this address can load models and read what is kept";
        let open = is_open.then(|| open.to_owned());
        for warning in strange_variables().chain(open) {
            writeln!(std::io::stderr(), "warning: {warning}").ok();
        }
        output::print(&format!("listening on {}\n", server.url().map_err(internal)?))?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        server.run(shutdown).await;
        Ok::<(), CliError>(())
    })?;
    // A read that hangs on a dead disk must not keep us.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
