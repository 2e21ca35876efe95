//! From a request to an attempt: layers of load configs, the one change against the parent, no identical retries.

use std::path::Path;
use std::sync::Arc;

use phi3::api::worker::{Load, Validate};
use phi3::api::{Attempt, AttemptKind, AttemptRecord, ErrorObject, Evidence, ModelSource};
use phi3::load_config::{Change, Layer, LoadConfig, Origin, Resolved, diff, one_change, resolve};
use phi3::placement::DeviceId;
use preflight_files::Source;
use serde_json::{Map, Value, json};

use crate::alike::{Alike, fingerprint};
use crate::attempts::{Attempts, AttemptsError, Job, NOTE_BYTES, now_ms};
use crate::environment::Host;
use crate::launcher::{self, SEVERAL};
use crate::ledger;
use crate::registry::{Located, Registry, check_size, check_text};
use crate::runner::free_on;

/// Attempts among which the newest that loads something is looked for; the others brought files.
const NEWEST: u32 = 20;

/// What somebody asks to be tried.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Id of the model.
    pub model: String,
    /// Load and keep, or load, validate and unload.
    pub kind: AttemptKind,
    /// Above the load config's `device_map`.
    pub device: Option<String>,
    /// The layer of this attempt.
    pub load_config: Map<String, Value>,
    /// What to run, for a validation.
    pub validate: Option<Validate>,
    /// Longest sequence; the default of the estimator where it is not said.
    pub context: Option<usize>,
    /// The attempt that this one changes one thing of.
    pub parent: Parent,
    /// Allows more than one change.
    pub branch: bool,
    /// Load although the estimate says that it does not fit.
    pub force: bool,
    /// A note.
    pub note: String,
}

/// What an attempt goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The model's newest attempt, where the difference is one change.
    Newest,
    /// Nothing.
    Root,
    /// This attempt.
    Of(u64),
}

impl From<Option<u64>> for Parent {
    fn from(id: Option<u64>) -> Self {
        id.map_or(Self::Newest, Self::Of)
    }
}

/// Why an attempt is not made.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// A value in the request, or a model that is not there.
    #[error(transparent)]
    Refused(ErrorObject),
    /// More than one change against the parent.
    #[error("{message}")]
    TooManyChanges {
        /// The parent.
        parent: u64,
        /// What differs.
        changes: Vec<Change>,
        /// In words.
        message: String,
    },
    /// The same ended in a way that it would end in again.
    #[error("the same was tried as attempt {}, and would end in the same way: {}; `force: true` tries it all the same", .0.attempt.id, reason(.0))]
    Identical(Box<AttemptRecord>),
    /// The attempts do not take it.
    #[error(transparent)]
    Attempts(#[from] AttemptsError),
}

impl AskError {
    /// The stable name.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(error) => &error.code,
            Self::TooManyChanges { .. } => "too_many_changes",
            Self::Identical(_) => "identical_retry",
            Self::Attempts(error) => error.code(),
        }
    }
}

fn reason(record: &AttemptRecord) -> String {
    let mut reason = record.attempt.error.as_ref().map(ToString::to_string).unwrap_or_default();
    // What is told of it then is told of the retry.
    reason.truncate(reason.find("; `force: true`").unwrap_or(reason.len()));
    reason
}

impl From<ErrorObject> for AskError {
    fn from(error: ErrorObject) -> Self {
        Self::Refused(error)
    }
}

/// Puts an attempt into the queue. A load of what is loaded already, or being loaded, is that attempt.
///
/// # Errors
/// [`AskError`]
pub async fn ask(
    registry: &Registry,
    attempts: &Attempts,
    host: &Arc<Host>,
    ask: Ask,
) -> Result<u64, AskError> {
    let _as_it_is = registry.as_it_is().await;
    let located = registry.locate(&ask.model).await?;
    check_text("note", &ask.note, NOTE_BYTES)?;
    check_size(&ask.load_config)?;
    let resolved = resolve_layers(registry, &located, &ask)?;
    check_revision(&located, &resolved.config).await?;
    let Lineage { parent, changes, context } = lineage(attempts, &ask, &located, &resolved.config).await?;
    let device = resolved.config.single_device().ok().flatten().unwrap_or_else(|| device_words(&resolved));
    let lanes = host.lanes(&resolved.config);
    let Alike { loads, settled } = {
        let (path, config) = (located.path.clone(), resolved.config.clone());
        let chosen_anyway = host.lanes(&LoadConfig { device_map: None, ..config.clone() }) == lanes;
        let alike = tokio::task::spawn_blocking(move || Alike::new(&path, config, context, chosen_anyway));
        alike.await.map_err(|error| ErrorObject::new("internal", error.to_string()))?
    };
    let environment = host.environment();
    let machine = json!([environment.build, environment.gpus, environment.driver, launcher::builds()]);
    let alike = fingerprint(&json!([settled, ask.kind.name(), ask.validate, machine]));
    if !ask.force
        && let Some(record) = attempts.ledger().failed_alike(&alike).await.map_err(AttemptsError::from)?
        && !has_room_by_now(&record, &lanes).await
    {
        return Err(AskError::Identical(Box::new(record)));
    }
    let load = Load {
        path: located.path.display().to_string(),
        load_config: resolved.overrides.clone(),
        context,
        validate: ask.validate.clone(),
        // What is held for use answers two at once.
        batch: (ask.kind == AttemptKind::Load).then_some(2),
        calibration: attempts.ledger().calibration(&environment).await.map_err(AttemptsError::from)?,
        ..Load::default()
    };
    let attempt = Attempt {
        parent,
        changes,
        load_config: resolved.overrides,
        note: ask.note,
        ..Attempt::queued(ask.model.clone(), ask.kind, device, now_ms())
    };
    let evidence = Evidence {
        branch: ask.branch,
        resolved: resolved.values,
        run: ask.validate.clone(),
        context,
        asked_context: context,
        ..Evidence::new(located.source, environment)
    };
    let job = Job {
        model: ask.model,
        kind: ask.kind,
        load,
        revision: None,
        validate: ask.validate,
        lane: lanes.first().cloned().unwrap_or_else(|| "cpu".to_owned()),
        lanes,
        fingerprint: alike,
        loads,
        force: ask.force,
    };
    Ok(attempts.queue(AttemptRecord { attempt, evidence }, job).await?)
}

/// Whether what did not fit into what was free then finds as much free now: others have ended meanwhile.
async fn has_room_by_now(record: &AttemptRecord, lanes: &[String]) -> bool {
    let Some(error) = record.attempt.error.as_ref().filter(|error| error.code == "does_not_fit") else {
        return false;
    };
    match (error.requested_bytes, lanes) {
        (Some(needed), [lane]) => free_on(lane).await.is_some_and(|free| free >= needed),
        // Which of several was full is not kept; the check before a load looks at each anew.
        _ => true,
    }
}

fn resolve_layers(registry: &Registry, located: &Located, ask: &Ask) -> Result<Resolved, ErrorObject> {
    let mut own = ask.load_config.clone();
    if let Some(device) = &ask.device {
        // One home for where it goes, so that the one-change rule and the record see it.
        if device != "auto" {
            let known = device.parse::<DeviceId>();
            known.map_err(|error| ErrorObject::new("device_absent", error.to_string()).at("device"))?;
        }
        own.insert("device_map".to_owned(), Value::String(device.clone()));
    }
    let layer = |origin, overrides: &Map<String, Value>| Layer { origin, overrides: overrides.clone() };
    let layers = [
        layer(Origin::Global, registry.global()),
        layer(Origin::Model, &located.load_config),
        layer(Origin::Attempt, &own),
    ];
    resolve(&layers).map_err(|error| {
        let first = error.errors.first().map(ErrorObject::from);
        let path = first.as_ref().and_then(|error| error.path.clone());
        let code = first.map_or_else(|| "load_config_invalid".to_owned(), |error| error.code);
        let path = path.map_or_else(|| "load_config".to_owned(), |path| format!("load_config.{path}"));
        ErrorObject::new(code, error.to_string()).at(path)
    })
}

/// A model from the Hub is registered at a commit: a load config may call it by another name, and no other.
async fn check_revision(located: &Located, config: &LoadConfig) -> Result<(), ErrorObject> {
    let ModelSource::Hub(hub) = &located.source else { return Ok(()) };
    let (key, revision) = match (&config.revision, &config.cache_dir) {
        (None, None) => return Ok(()),
        (Some(revision), _) => ("revision", Some(revision.clone())),
        (None, Some(_)) => ("cache_dir", None),
    };
    let (hub_name, cache_dir) = (hub.clone(), config.cache_dir.clone());
    let found = tokio::task::spawn_blocking(move || {
        let pinned = Source::hub_model(&hub_name)?;
        let named = revision.map_or(Ok(pinned.clone()), |revision| pinned.moved_to(&revision))?;
        Source::as_configured(&named.to_string(), None, cache_dir.as_deref().map(Path::new))
    });
    let found = found.await.map_err(|error| ErrorObject::new("internal", error.to_string()))?;
    let refuse = |why: String| ErrorObject::new("load_config_invalid", why).at(format!("load_config.{key}"));
    match found {
        Ok(path) if Path::new(&path) == located.path => Ok(()),
        Ok(_) => Err(refuse(format!(
            "`{key}` leads to other files than the model's, which is {hub}: register those as a model of their own"
        ))),
        Err(error) => Err(refuse(format!("`{key}`: {error}"))),
    }
}

/// What an attempt goes on from.
#[derive(Default)]
struct Lineage {
    parent: Option<u64>,
    changes: Vec<Change>,
    /// Longest sequence to load for: what is asked, else what was asked of the parent that was named.
    context: Option<usize>,
}

/// The parent of an attempt, and what it changes. Attempts of the files that the model had before are no parents.
async fn lineage(
    attempts: &Attempts,
    ask: &Ask,
    located: &Located,
    child: &LoadConfig,
) -> Result<Lineage, AskError> {
    let refuse = |message: String| ErrorObject::new("invalid_request", message).at("parent");
    let parsed = |record: &AttemptRecord| LoadConfig::from_map(&record.attempt.load_config);
    let root = Lineage { context: ask.context, ..Lineage::default() };
    let id = match ask.parent {
        Parent::Of(id) => id,
        Parent::Root => return Ok(root),
        Parent::Newest => {
            let filter =
                ledger::Filter { model: Some(ask.model.clone()), limit: Some(NEWEST), ..Default::default() };
            let newest = attempts.ledger().list(&filter).await.map_err(AttemptsError::from)?;
            // What cannot be read is no ground to stand on.
            let is_ground = |record: &AttemptRecord| {
                record.attempt.kind != AttemptKind::Stage
                    && ledger::is_readable(record)
                    && record.evidence.source == located.source
            };
            let newest = newest.into_iter().find(is_ground);
            // One that is too different was not meant, unless a branch was asked for: this is a new root then.
            let one = |record: AttemptRecord| {
                let changes = changes(&record, &parsed(&record).ok()?, ask, child);
                let is_meant = changes.len() <= 1 || ask.branch;
                is_meant.then_some((Some(record.attempt.id), changes))
            };
            let (parent, changes) = newest.and_then(one).unwrap_or_default();
            return Ok(Lineage { parent, changes, ..root });
        }
    };
    let record = match attempts.get(id).await {
        Err(AttemptsError::Unknown(_)) => return Err(refuse(format!("there is no attempt {id}")).into()),
        record => record?,
    };
    if record.attempt.model != ask.model {
        return Err(refuse(format!("attempt {id} is of model `{}`", record.attempt.model)).into());
    }
    if !ledger::is_readable(&record) {
        return Err(refuse(reason(&record)).into());
    }
    if record.evidence.source != located.source {
        let message =
            format!("attempt {id} is of other files than `{}`: {}", ask.model, record.evidence.source);
        return Err(refuse(message).into());
    }
    let before = parsed(&record).map_err(|error| ErrorObject::from(&error))?;
    let are_loads = [record.attempt.kind, ask.kind] == [AttemptKind::Load; 2];
    // As it was asked for: what was left open is left open again, so that the same load is known as the same.
    let inherited = record.evidence.asked_context.filter(|_| are_loads);
    match one_change(changes(&record, &before, ask, child), ask.branch) {
        Ok(changes) => Ok(Lineage { parent: Some(id), changes, context: ask.context.or(inherited) }),
        Err(too_many) => {
            let message = too_many.to_string();
            Err(AskError::TooManyChanges { parent: id, changes: too_many.0, message })
        }
    }
}

/// What an attempt changes of another: the values of the load config, and of two loads their context.
fn changes(parent: &AttemptRecord, before: &LoadConfig, ask: &Ask, child: &LoadConfig) -> Vec<Change> {
    let mut changes = diff(before, child);
    let are_loads = [parent.attempt.kind, ask.kind] == [AttemptKind::Load; 2];
    // What is left open is the parent's, where one was named.
    if let (true, Some(from), Some(to)) = (are_loads, parent.evidence.context, ask.context)
        && from != to
    {
        changes.push(Change { path: "context".to_owned(), from: Some(from.into()), to: Some(to.into()) });
    }
    changes
}

/// What an attempt on several devices is called.
fn device_words(resolved: &Resolved) -> String {
    match resolved.overrides.get("device_map") {
        Some(Value::String(text)) => text.clone(),
        Some(_) => SEVERAL.to_owned(),
        None => "auto".to_owned(),
    }
}
