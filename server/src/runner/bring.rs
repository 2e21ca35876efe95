//! Brings a model's files from the Hub into its cache, and checks them there.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use phi3::api::{AttemptState, ErrorObject};
use phi3::engine::{LoadProgress, LoadStage};
use preflight_files::hub::{DownloadProgress, HubRef, HubSettings, RemoteRepo};
use preflight_files::{FilesError, Source};
use tokio::sync::oneshot;

use super::{CANCELLED, RunError, Runner};
use crate::attempts::Taken;
use crate::{climb, evidence};

impl Runner {
    /// Downloads a repository's files; what came of an earlier try is not fetched again.
    pub(super) async fn bring(&self, taken: &Taken) -> Result<(), RunError> {
        let id = taken.id;
        self.attempts.enter(id, AttemptState::Downloading, |_| ()).await?;
        let (attempts, cancel) = (Arc::clone(&self.attempts), taken.cancel.clone());
        let mut watch = move |DownloadProgress { done_bytes, total_bytes }| {
            if cancel.is_cancelled() {
                return ControlFlow::Break(());
            }
            attempts.progress(id, LoadProgress { stage: LoadStage::Downloading, done_bytes, total_bytes });
            ControlFlow::Continue(())
        };
        let (name, revision) = (taken.job.load.path.clone(), taken.job.revision.clone());
        let (sender, fetched) = oneshot::channel();
        // A thread of its own: one that waits for a Hub that says nothing holds up neither a cancel nor our end.
        let thread = std::thread::Builder::new().name("download".to_owned()).spawn(move || {
            sender.send(fetch(&name, revision.as_deref(), &mut watch)).ok();
        });
        let failed = |error: io::Error| ErrorObject::new("internal", format!("a thread: {error}"));
        thread.map_err(failed)?;
        let fetched = tokio::select! {
            () = taken.cancel.cancelled() => return Err(CANCELLED),
            fetched = fetched => fetched,
        };
        let fault = || ErrorObject::new("internal", "the download ended without a word");
        let path = fetched.map_err(|_gone| fault())?.map_err(ErrorObject::from)?;
        self.attempts.enter(id, AttemptState::Checking, |_| ()).await?;
        let files = evidence::facts(self.attempts.ledger().store(), path.as_ref(), false).await;
        self.attempts.learn(id, |record| record.evidence.files = files);
        let checked = tokio::task::spawn_blocking(move || climb::inspect(&path)).await;
        Ok(checked.map_err(|error| ErrorObject::new("internal", error.to_string())).flatten()?)
    }
}

/// Brings what is pinned by its commit, and keeps the name that somebody asked for it by. Where it lies then.
fn fetch(
    name: &str,
    revision: Option<&str>,
    watch: &mut dyn FnMut(DownloadProgress) -> ControlFlow<()>,
) -> Result<String, FilesError> {
    let settings = HubSettings::from_env()?;
    let hub = HubRef::parse(name, &settings.endpoint)?;
    let repo = RemoteRepo::ask(&settings, &hub)?;
    let needed = repo.needed()?;
    repo.download(&needed, watch)?;
    if let Some(revision) = revision {
        repo.refer(revision)?;
    }
    Source::on_this_machine(name)
}
