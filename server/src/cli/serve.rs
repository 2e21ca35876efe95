//! `preflight serve`: the server with its dashboard.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::output;
use crate::error::CliError;
use crate::serve::{Config, Server};
use crate::worker_client::Limits;

/// Serve the dashboard and the API.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Folder for the server's own files; made if absent, held by one server at a time
    /// [default: $XDG_DATA_HOME/preflight, else ~/.local/share/preflight].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder that models may be read from; may be given several times.
    #[arg(long, value_name = "DIR")]
    model_root: Vec<PathBuf>,
    /// Directory of the default model [default: smollm2-135m-phi3 under a model root].
    #[arg(long, value_name = "DIR")]
    default_model: Option<PathBuf>,
    /// Folder of the built dashboard [default: dist beside the binary or in the working directory].
    #[arg(long, value_name = "DIR")]
    dashboard: Option<PathBuf>,
    /// Listen on an address that others can reach, although anyone who reaches it can use it.
    #[arg(long)]
    insecure_no_auth: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
    let config = Config {
        listen: args.listen,
        data_dir: args.data_dir,
        model_roots: args.model_root,
        default_model: args.default_model,
        dashboard: args.dashboard,
        insecure_no_auth: args.insecure_no_auth,
        load_config: serde_json::Map::new(),
        limits: Limits::default(),
    };
    let internal = |error: std::io::Error| CliError::internal(error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(internal)?;
    runtime.block_on(async {
        // Heard before the address is told, so that whoever reads it can end us.
        let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
        let server = Server::bind(config).await?;
        output::print(&format!("listening on {}\n", server.url().map_err(internal)?))?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        server.run(shutdown).await.map_err(internal)
    })?;
    // A read that hangs on a dead disk must not keep us.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
