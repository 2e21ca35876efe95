//! The data folder as commands read it: beside a server that may run on it, and without one.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::CliError;
use crate::settings::{Layer, Settings};
use crate::store::{Store, StoreError, default_path};

/// Which data folder.
#[derive(Debug, clap::Args)]
pub(super) struct DataArgs {
    /// Folder of the server's own files [default: as `preflight serve`].
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

impl DataArgs {
    /// This folder.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { data_dir: Some(folder) }
    }

    /// The folder.
    pub(super) fn folder(&self) -> Result<PathBuf, CliError> {
        let flags = Layer { data_dir: self.data_dir.clone(), ..Layer::default() };
        let settings = Settings::read(flags, None, |name| std::env::var_os(name))?;
        let usage = || CliError::usage("--data-dir: neither XDG_DATA_HOME nor HOME says where it is");
        settings.layer.data_dir.or_else(default_path).ok_or_else(usage)
    }

    /// Opens the database for reading and asks it something.
    pub(super) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(Arc<Store>) -> Result<T, StoreError>,
    ) -> Result<T, CliError> {
        let folder = self.folder()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CliError::internal(error.to_string()))?;
        let answer = runtime.block_on(async { question(Arc::new(Store::read(&folder).await?)).await });
        answer.map_err(|error: StoreError| phi3::api::ErrorObject::from(error).into())
    }
}
