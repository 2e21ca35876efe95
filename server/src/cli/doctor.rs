//! `preflight doctor`: whether everything that a load needs is in its place.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use phi3::units::format_bytes;
use preflight_files::hub::HubSettings;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::ledger::DataArgs;
use super::output;
use super::page::{BAD, BOLD, Cell, GOOD, Page, WARN};
use super::serve::strange_variables;
use crate::devices;
use crate::error::{CliError, Exit};
use crate::launcher::Local;
use crate::log_ring::LogRing;
use crate::store::{FILE, Store, StoreError};
use crate::worker_client::{Limits, Worker, WorkerError};

/// Look whether everything that a load needs is in its place.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    Good,
    Note,
    Bad,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    health: Health,
    detail: String,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let environment = devices::environment();
    let mut checks = vec![
        check("preflight", Health::Good, env!("CARGO_PKG_VERSION").to_owned()),
        check("system", Health::Good, format!("{}, kernel {}", environment.os, environment.kernel)),
        worker(),
        database(&args.data),
        hub(),
    ];
    for device in devices::now() {
        let memory = match (device.free_bytes, device.total_bytes) {
            (Some(free), Some(total)) => format!("{} free of {}", format_bytes(free), format_bytes(total)),
            _ => "memory unknown".to_owned(),
        };
        let driver = device.driver.map_or_else(String::new, |driver| format!(", {driver}"));
        let detail = format!("{}{driver}, {memory}", device.name);
        checks.push(match device.fault {
            Some(fault) => check(&device.device, Health::Bad, format!("{detail}; {fault}")),
            None => check(&device.device, Health::Good, detail),
        });
    }
    if environment.gpus.is_empty() {
        let detail = "no GPU tells of itself here: models run on the CPU".to_owned();
        checks.push(check("GPU", Health::Note, detail));
    }
    for note in environment.notes.into_iter().chain(strange_variables()) {
        checks.push(check("note", Health::Note, note));
    }
    let healthy = checks.iter().all(|check| check.health != Health::Bad);
    if args.json {
        output::print_json(&serde_json::json!({ "healthy": healthy, "checks": checks }))?;
    } else {
        output::print_page(page(&checks))?;
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) })
}

fn check(name: &str, health: Health, detail: String) -> Check {
    Check { name: name.to_owned(), health, detail }
}

/// Starts a worker, hears its greeting, and ends it.
fn worker() -> Check {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let greeted = runtime.map_err(WorkerError::Launch).and_then(|runtime| {
        runtime.block_on(async {
            let local = Local::find(Some("cpu"))?;
            let log = Arc::new(LogRing::default());
            let worker = Worker::start(&local, Limits::default(), log, CancellationToken::new()).await?;
            let build = worker.build().to_owned();
            worker.shutdown().await;
            Ok(format!("{}, version {build}", local.program.display()))
        })
    });
    match greeted {
        Ok(detail) => check("worker", Health::Good, detail),
        Err(error) => check("worker", Health::Bad, error.to_string()),
    }
}

fn database(data: &DataArgs) -> Check {
    let name = "database";
    let folder = match data.folder() {
        Ok(folder) => folder,
        Err(error) => return check(name, Health::Bad, error.object.message),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return check(name, Health::Bad, error.to_string()),
    };
    let found = runtime.block_on(async { Store::read(&folder).await?.integrity().await });
    match found {
        Ok(found) if found == "ok" => match writable(&folder) {
            Ok(()) => check(name, Health::Good, format!("{}: sound", folder.display())),
            Err(error) => {
                let detail =
                    format!("{}: sound, to be read; no server can run on it: {error}", folder.display());
                check(name, Health::Note, detail)
            }
        },
        Ok(found) => check(name, Health::Bad, format!("{}: {found}", folder.display())),
        Err(StoreError::Absent { .. }) => {
            let detail = format!("{}: none yet; `preflight serve` makes it", folder.display());
            check(name, Health::Note, detail)
        }
        Err(error) => check(name, Health::Bad, error.to_string()),
    }
}

/// Whether the database in a folder can be changed, and files be made beside it.
fn writable(folder: &Path) -> std::io::Result<()> {
    File::options().append(true).open(folder.join(FILE))?;
    #[cfg(unix)]
    nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK)?;
    Ok(())
}

/// Where models from the Hub are; whether there is a token, not which.
fn hub() -> Check {
    match HubSettings::from_env() {
        Ok(settings) => {
            let token = if settings.token.is_some() { "a token is set" } else { "no token" };
            let offline = if settings.offline { ", offline" } else { "" };
            let (endpoint, cache) = (&settings.endpoint, settings.cache.display());
            let detail = format!("settings: {endpoint}, cache {cache}, {token}{offline}; it was not asked");
            check("Hub", Health::Good, detail)
        }
        Err(error) => check("Hub", Health::Bad, error.to_string()),
    }
}

fn page(checks: &[Check]) -> Page {
    let mut page = Page::default();
    page.line(BOLD, "preflight doctor");
    let row = |check: &Check| {
        let (style, word) = match check.health {
            Health::Good => (GOOD, "good"),
            Health::Note => (WARN, "note"),
            Health::Bad => (BAD, "bad"),
        };
        vec![Cell::left(check.name.clone()), Cell::left(word).styled(style), Cell::left(check.detail.clone())]
    };
    page.table(&checks.iter().map(row).collect::<Vec<_>>());
    page
}
