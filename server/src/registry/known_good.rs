//! The load config that is known to be good, with its evidence.

use phi3::api::worker::Validate;
use phi3::api::{AttemptRecord, Certificate, ErrorObject, ModelSource};
use phi3::validate::Verdict;
use serde_json::Value;
use sqlx::Row as _;

use super::{DEFAULT_ID, Registry, Row};
use crate::attempts::now_ms;
use crate::evidence;
use crate::store::{Store, StoreError};

impl Registry {
    /// Commits the load config of a validated attempt to its model; the record is that with the log.
    ///
    /// # Errors
    /// The attempt is of another model or proves nothing, or the registry cannot be written.
    pub async fn commit(&self, model: &str, record: &AttemptRecord) -> Result<Certificate, ErrorObject> {
        // Hashes of files that were not touched since are remembered; others take their time, which nobody waits for.
        let path = self.locate(model).await?.path;
        let files = evidence::facts(&self.store, &path, true).await;
        let _changing = self.changing.write().await;
        let mut row = self.row_or_found(model).await?;
        if record.evidence.source != self.source_of(&row) {
            let message = format!(
                "attempt {} is of other files ({}) than `{model}`: validate those that it has now",
                record.attempt.id, record.evidence.source
            );
            return Err(ErrorObject::new("not_validated", message).at("attempt_id"));
        }
        let mut certificate = certificate(model, &row.name, record)?;
        let differ = evidence::differing(&certificate.files, &files);
        if !differ.is_empty() {
            let message = format!(
                "the files of `{model}` changed since attempt {}: {}; validate those that it has now",
                certificate.attempt,
                differ.join("; ")
            );
            return Err(ErrorObject::new("not_validated", message).at("attempt_id"));
        }
        certificate.log.iter_mut().for_each(|line| *line = self.folders.told_text(line));
        let json = serde_json::to_string(&certificate);
        let json = json.map_err(|error| ErrorObject::new("internal", error.to_string()))?;
        row.load_config.clone_from(&certificate.load_config);
        row.updated_ms = now_ms();
        self.write(&row).await?;
        let mut writer = self.store.writer().await?;
        sqlx::query("INSERT INTO known_good (model, attempt, certificate, created_ms) VALUES (?, ?, ?, ?)")
            .bind(model)
            .bind(i64::try_from(record.attempt.id).unwrap_or(i64::MAX))
            .bind(json)
            .bind(i64::try_from(now_ms()).unwrap_or(i64::MAX))
            .execute(&mut *writer)
            .await
            .map_err(|error| self.store.fail(error))?;
        Ok(certificate)
    }

    /// Where the files of a model are from now.
    ///
    /// # Errors
    /// No such model, or the registry cannot be read.
    pub async fn source(&self, model: &str) -> Result<ModelSource, ErrorObject> {
        Ok(self.source_of(&self.row_or_found(model).await?))
    }

    /// The server may have been started with another default model since its row was written.
    fn source_of(&self, row: &Row) -> ModelSource {
        match self.folders.default_model() {
            Ok(path) if row.id == DEFAULT_ID => ModelSource::Path(self.folders.shown(path)),
            _ => row.source.clone(),
        }
    }

    /// The certificate that was committed last.
    ///
    /// # Errors
    /// There is none, or the registry cannot be read.
    pub async fn certificate(&self, model: &str) -> Result<Certificate, ErrorObject> {
        let found = newest_certificate(&self.store, model).await?;
        found.ok_or_else(|| {
            let message = format!(
                "no load config of `{model}` is known to be good: validate it, then POST /api/models/{model}/known-good"
            );
            ErrorObject::new("no_known_good", message)
        })
    }

    /// The attempt behind each model's certificate.
    pub(super) async fn known_good_attempts(&self) -> Result<Vec<(String, u64)>, ErrorObject> {
        let rows = sqlx::query(
            "SELECT model, attempt FROM known_good WHERE id IN (SELECT max(id) FROM known_good GROUP BY model)",
        )
        .fetch_all(self.store.readers())
        .await
        .map_err(|error| self.store.fail(error))?;
        let pair = |row: &sqlx::sqlite::SqliteRow| -> Result<(String, u64), sqlx::Error> {
            let attempt: i64 = row.try_get("attempt")?;
            Ok((row.try_get("model")?, u64::try_from(attempt).unwrap_or_default()))
        };
        rows.iter().map(|row| pair(row).map_err(|error| self.store.fail(error).into())).collect()
    }
}

/// The certificate that was committed last for a model.
///
/// # Errors
/// It cannot be read.
pub async fn newest_certificate(store: &Store, model: &str) -> Result<Option<Certificate>, StoreError> {
    let json: Option<String> =
        sqlx::query_scalar("SELECT certificate FROM known_good WHERE model = ? ORDER BY id DESC LIMIT 1")
            .bind(model)
            .fetch_optional(store.readers())
            .await
            .map_err(|error| store.fail(error))?;
    let unreadable = |error| store.unreadable(format!("the certificate of `{model}`"), error);
    json.map(|json| serde_json::from_str(&json)).transpose().map_err(unreadable)
}

/// The certificate of an attempt that proves something.
fn certificate(model: &str, name: &str, record: &AttemptRecord) -> Result<Certificate, ErrorObject> {
    let (attempt, evidence) = (&record.attempt, &record.evidence);
    let refuse = |message: String| ErrorObject::new("not_validated", message).at("attempt_id");
    let json = |run: &Validate| {
        serde_json::to_value(run).map_err(|error| ErrorObject::new("internal", error.to_string()))
    };
    if attempt.model != model {
        return Err(refuse(format!(
            "attempt {} is of model `{}`, not of `{model}`",
            attempt.id, attempt.model
        )));
    }
    let (Some(report), Some(run), Some(finished_ms)) = (&attempt.report, &evidence.run, attempt.finished_ms)
    else {
        let message =
            format!("attempt {} has no report: only a validated load config is known to be good", attempt.id);
        return Err(refuse(message));
    };
    if report.verdict == Verdict::Fail {
        return Err(refuse(format!("the validation of attempt {} failed: {}", attempt.id, report.reason)));
    }
    // It goes to other machines.
    let mut note = Value::from(attempt.note.as_str());
    phi3::link::redact(&mut note);
    let mut log = Value::from(attempt.log.clone());
    phi3::link::redact(&mut log);
    let mut asked = json(run)?;
    phi3::link::redact(&mut asked);
    if asked != json(run)? {
        let message = format!(
            "the prompt of attempt {} holds what looks like a secret, which no certificate may carry: validate again without it",
            attempt.id
        );
        return Err(refuse(message));
    }
    let certificate = Certificate {
        preflight_certificate: Certificate::VERSION,
        model: model.to_owned(),
        name: name.to_owned(),
        source: evidence.source.clone(),
        files: evidence.files.clone(),
        load_config: attempt.load_config.clone(),
        run: run.clone(),
        report: report.clone(),
        environment: evidence.environment.clone(),
        attempt: attempt.id,
        note: note.as_str().unwrap_or_default().to_owned(),
        log: serde_json::from_value(log).unwrap_or_default(),
        finished_ms,
    };
    match certificate.lacks() {
        None => Ok(certificate),
        Some(missing) => {
            Err(refuse(format!("the evidence of attempt {} lacks {missing}: validate again", attempt.id)))
        }
    }
}
