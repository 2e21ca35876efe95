//! What a ladder without a server has proved, as a certificate. A server makes its own, of an attempt (`registry`).

use std::path::Path;

use phi3::api::worker::Validate;
use phi3::api::{Certificate, ErrorObject, ModelSource};
use phi3::validate::Report;
use preflight_files::Source;
use preflight_files::hub::commit_of;
use serde_json::{Map, Value, json};

use crate::{devices, evidence};

/// A validation that passed.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    /// The step that ran it.
    pub(super) step: String,
    /// With its device, so that another machine runs the same.
    pub(super) load_config: Map<String, Value>,
    /// What was run.
    pub(super) run: Validate,
    /// What came of it.
    pub(super) report: Report,
    /// Version of the worker.
    pub(super) worker_build: Option<String>,
    /// What the ladder and the step are called.
    pub(super) note: String,
    /// The last lines of the worker's log.
    pub(super) log: Vec<String>,
    /// Milliseconds since 1970.
    pub(super) finished_ms: u64,
}

impl Proof {
    /// The certificate of a model: `asked` is where it is as somebody said it, `path` where it lies here. Reads every file.
    ///
    /// # Errors
    /// `not_validated`: what was run holds a secret; `internal`: a file cannot be read, or changes meanwhile.
    pub(super) fn certificate(&self, asked: &str, path: &Path) -> Result<Certificate, ErrorObject> {
        // It goes to other machines.
        let told = json!([self.run, self.note]);
        let mut redacted = told.clone();
        phi3::link::redact(&mut redacted);
        if redacted != told {
            let message = format!(
                "the prompt of step {} holds what looks like a secret, which no certificate may carry: validate again without it",
                self.step
            );
            return Err(ErrorObject::new("not_validated", message));
        }
        let mut log = json!(self.log);
        phi3::link::redact(&mut log);
        let files = evidence::hashed(path).map_err(|error| {
            ErrorObject::new("internal", format!("{asked}: the files cannot be hashed: {error}"))
        })?;
        let (name, source) = named(asked, path)?;
        let mut environment = devices::environment();
        environment.worker_build.clone_from(&self.worker_build);
        Ok(Certificate {
            preflight_certificate: Certificate::VERSION,
            model: name.clone(),
            name,
            source,
            files,
            load_config: self.load_config.clone(),
            run: self.run.clone(),
            report: self.report.clone(),
            environment,
            attempt: Certificate::NO_ATTEMPT,
            note: self.note.clone(),
            log: serde_json::from_value(log).unwrap_or_default(),
            finished_ms: self.finished_ms,
        })
    }
}

/// What a model is called, and where it is from: on the Hub by its commit, which no push moves.
fn named(asked: &str, path: &Path) -> Result<(String, ModelSource), ErrorObject> {
    let file_name = || {
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        whole.file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    let Source::Hub(hub) = Source::resolve(asked)? else {
        return Ok((file_name(), ModelSource::Path(asked.to_owned())));
    };
    let commit = commit_of(path);
    let pinned = hub.pinned_id(commit.as_deref().unwrap_or(hub.revision()));
    Ok((hub.name().to_owned(), ModelSource::Hub(pinned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_the_hub_is_named_by_its_commit() {
        let commit = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";
        let dir = tempfile::tempdir().expect("a temporary directory");
        let snapshot = dir.path().join("models--a--b/snapshots").join(commit);
        std::fs::create_dir_all(&snapshot).expect("made");
        let hub = |text: &str| ModelSource::Hub(text.replace("COMMIT", commit));
        assert_eq!(named("hf:a/b", &snapshot).expect("a name"), ("b".to_owned(), hub("a/b@COMMIT")));
        let file = named("hf://a/b@main/x.gguf", &snapshot.join("x.gguf")).expect("a name");
        assert_eq!(file.1, hub("//a/b@COMMIT/x.gguf"));
        assert_eq!(format!("{}", file.1), format!("hf://a/b@{commit}/x.gguf"));
        let here = dir.path().to_str().expect("UTF-8");
        assert_eq!(named(here, dir.path()).expect("a name").1, ModelSource::Path(here.to_owned()));
    }
}
