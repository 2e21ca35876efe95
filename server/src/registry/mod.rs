//! The models of a server: rows of the registry, and what lies under the model roots without a row yet.

mod folders;
mod known_good;
mod rows;

pub use folders::{DEFAULT_ID, Folders, Found, default_model};
pub use known_good::newest_certificate;
pub use rows::{Row, rows};

use std::path::PathBuf;
use std::sync::Arc;

use phi3::api::{ErrorObject, ModelDetail, ModelEntry, ModelSource, Registered};
use phi3::inspect::Support;
use phi3::load_config::LoadConfig;
use preflight_files::hub::{HubRef, HubSettings, RemoteRepo, commit_of};
use preflight_files::{FilesError, Model, Source};
use serde_json::{Map, Value};
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::attempts::{NOTE_BYTES, now_ms};
use crate::store::Store;
use crate::{evidence, launcher, reports};

/// Longest id of a model.
const ID_BYTES: usize = 96;

/// No id of a model: `/api/models/offline` is an address of its own.
const RESERVED: &str = "offline";

/// Longest name of a model.
const NAME_BYTES: usize = 256;

/// Largest load config, as JSON: room for a chat template.
const LOAD_CONFIG_BYTES: usize = 256 << 10;

/// The models of a server.
#[derive(Debug)]
pub struct Registry {
    folders: Folders,
    store: Arc<Store>,
    /// Overrides for every load of every model.
    global: Map<String, Value>,
    /// Written from the look at what is there to the change of it; read while something that needs a model begins.
    changing: RwLock<()>,
}

/// A model as a load needs it.
#[derive(Debug, Clone)]
pub struct Located {
    /// Id of the model.
    pub id: String,
    /// Where its files are from.
    pub source: ModelSource,
    /// What a worker on this machine opens.
    pub path: PathBuf,
    /// Overrides for every load of this model.
    pub load_config: Map<String, Value>,
}

/// What a request registers.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Id in URLs; made of the name where it is not given.
    pub id: Option<String>,
    /// What is said of it; a new model is called as its folder or repository, with no notes and no overrides.
    pub patch: Patch,
    /// Whether the Hub may be asked; else its files must be on this machine, weights among them.
    pub may_ask_hub: bool,
}

/// What a request says of a model; `None` leaves it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patch {
    /// Name for people.
    pub name: Option<String>,
    /// Notes.
    pub notes: Option<String>,
    /// Overrides for every load.
    pub load_config: Option<Map<String, Value>>,
}

impl Patch {
    async fn check(&self) -> Result<(), ErrorObject> {
        self.name.as_deref().map_or(Ok(()), check_name)?;
        self.notes.as_deref().map_or(Ok(()), |notes| check_text("notes", notes, NOTE_BYTES))?;
        let Some(map) = self.load_config.clone() else { return Ok(()) };
        let checked = tokio::task::spawn_blocking(move || check_load_config(&map)).await;
        checked.map_err(|error| ErrorObject::new("internal", error.to_string()))?
    }

    fn apply(self, row: &mut Row) {
        let Self { name, notes, load_config } = self;
        row.name = name.unwrap_or(std::mem::take(&mut row.name));
        row.notes = notes.unwrap_or(std::mem::take(&mut row.notes));
        row.load_config = load_config.unwrap_or(std::mem::take(&mut row.load_config));
        row.updated_ms = now_ms();
    }
}

impl Registry {
    /// The registry in a database, with the folders that models may lie in.
    #[must_use]
    pub fn new(folders: Folders, store: Arc<Store>, global: Map<String, Value>) -> Self {
        Self { folders, store, global, changing: RwLock::default() }
    }

    /// The folders that models may lie in.
    #[must_use]
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// Overrides for every load of every model.
    #[must_use]
    pub fn global(&self) -> &Map<String, Value> {
        &self.global
    }

    /// While this is held no model changes or goes: from the look at one to the beginning of what needs it.
    pub async fn as_it_is(&self) -> RwLockReadGuard<'_, ()> {
        self.changing.read().await
    }

    /// Every model: the default first, then those found and those registered, by id.
    ///
    /// # Errors
    /// The registry cannot be read.
    pub async fn list(&self) -> Result<Vec<ModelEntry>, ErrorObject> {
        let mut rows = self.rows().await?;
        let good = self.known_good_attempts().await?;
        let mut entries: Vec<ModelEntry> = Vec::new();
        for found in self.folders.found() {
            // A folder whose name is no id is registered under another.
            let is_its_own = |row: &Row| found.id != DEFAULT_ID && row.source == found.source();
            let at =
                rows.iter().position(|row| row.id == found.id).or_else(|| rows.iter().position(is_its_own));
            let row = at.map(|at| rows.swap_remove(at));
            if row.is_none() && found.id != DEFAULT_ID && self.folders.is_default(&found.path) {
                // Listed as the default already; its folder's name still leads to it.
                continue;
            }
            entries.push(match row {
                // The server may have been started with another default since.
                Some(row) if found.id == DEFAULT_ID => ModelEntry { path: found.shown, ..entry(row) },
                Some(row) => entry(row),
                None => unregistered(found),
            });
        }
        entries.extend(rows.into_iter().map(entry));
        entries.sort_by(|a, b| (a.id != DEFAULT_ID, &a.id).cmp(&(b.id != DEFAULT_ID, &b.id)));
        for entry in &mut entries {
            entry.known_good = good.iter().find(|(model, _)| *model == entry.id).map(|(_, attempt)| *attempt);
        }
        Ok(entries)
    }

    /// One model with all that is kept of it.
    ///
    /// # Errors
    /// No such model, or the registry cannot be read.
    pub async fn detail(&self, id: &str) -> Result<ModelDetail, ErrorObject> {
        let listed = self.list().await?.into_iter().find(|entry| entry.id == id);
        // A folder that is listed under another id is still found by its name.
        let found = || self.folders.found().into_iter().find(|found| found.id == id).map(unregistered);
        let mut entry = listed.or_else(found).ok_or_else(|| self.unknown(id))?;
        let row = self.row(id).await?;
        let path = self.locate(id).await.map(|located| located.path);
        let files = match path {
            Ok(path) => evidence::facts(&self.store, &path, false).await,
            Err(error) => {
                // On the Hub alone is no fault.
                let gone = Some(error).filter(|_| entry.hub.is_none());
                entry.error = entry.error.or(gone);
                Vec::new()
            }
        };
        Ok(ModelDetail {
            entry,
            created_ms: row.as_ref().map(|row| row.created_ms),
            updated_ms: row.as_ref().map(|row| row.updated_ms),
            card: row.and_then(|row| row.card),
            files,
        })
    }

    /// A model as a load needs it.
    ///
    /// # Errors
    /// No such model, or its files are not on this machine.
    pub async fn locate(&self, id: &str) -> Result<Located, ErrorObject> {
        let row = self.row(id).await?.map(Row::readable).transpose()?;
        let found = || self.folders.found().into_iter().find(|found| found.id == id);
        let (source, path) = match &row {
            _ if id == DEFAULT_ID => {
                let path = self.folders.default_model()?;
                (ModelSource::Path(self.folders.shown(path)), self.folders.enclosed(path)?)
            }
            Some(Row { source: ModelSource::Path(path), .. }) => {
                let gone = |error: ErrorObject| match error.code.as_str() {
                    "not_found" => {
                        let message = format!(
                            "the files of `{id}` are gone: {path} is under no --model-root any more; put them back, or DELETE /api/models/{id}"
                        );
                        ErrorObject::new(error.code, message)
                    }
                    _ => error,
                };
                (ModelSource::Path(path.clone()), self.folders.allowed(path).map_err(gone)?)
            }
            Some(Row { source: ModelSource::Hub(hub), .. }) => {
                let name = format!("hf:{hub}");
                let path = blocking(move || Ok(Source::on_this_machine(&name)?)).await?;
                (ModelSource::Hub(hub.clone()), path.into())
            }
            None => {
                let found = found().ok_or_else(|| self.unknown(id))?;
                (found.source(), self.folders.enclosed(&found.path)?)
            }
        };
        let load_config = row.map(|row| row.load_config).unwrap_or_default();
        Ok(Located { id: id.to_owned(), source, path, load_config })
    }

    /// Checks a model's files and gives it a row; nothing is loaded. One that has a row already keeps it, with what is
    /// said anew.
    ///
    /// # Errors
    /// Files that are refused, an id that is another's, or the registry cannot be written.
    pub async fn register(
        &self,
        source: ModelSource,
        asked: Registration,
    ) -> Result<(Registered, bool), ErrorObject> {
        asked.patch.check().await?;
        let examined = self.examine(source, asked.may_ask_hub).await;
        let (source, name, card) = examined.map_err(|error| self.folders.told(error))?;
        let _changing = self.changing.write().await;
        let rows = self.rows().await?;
        let is_it = |row: &&Row| {
            row.error.is_none() && row.source == source && asked.id.as_ref().is_none_or(|id| *id == row.id)
        };
        if let Some(row) = rows.iter().filter(is_it).min_by_key(|row| row.created_ms) {
            let mut row = row.clone();
            if asked.patch != Patch::default() || row.card != card {
                asked.patch.apply(&mut row);
                row.card = card;
                self.write(&row).await?;
            }
            return Ok((registered(&row), false));
        }
        let found = self.folders.found();
        // A folder's own row has the folder's id.
        let is_others = |found: &Found| found.source() != source;
        let taken = |id: &str| {
            id == DEFAULT_ID
                || rows.iter().any(|row| row.id == id)
                || found.iter().any(|found| found.id == id && is_others(found))
        };
        let id = match asked.id {
            Some(id) => {
                check_id(&id)?;
                if taken(&id) {
                    let message = format!("there is a model `{id}` already");
                    return Err(ErrorObject::new("model_exists", message).at("id"));
                }
                id
            }
            None => {
                let base = slug(asked.patch.name.as_ref().unwrap_or(&name));
                let numbered = (2..).map(|number| format!("{base}-{number}"));
                let mut ids = std::iter::once(base.clone()).chain(numbered);
                ids.find(|id| !taken(id)).unwrap_or(base)
            }
        };
        let mut row = Row::new(id, name, source, card);
        asked.patch.apply(&mut row);
        self.write(&row).await?;
        Ok((registered(&row), true))
    }

    /// Whether all that a model needs lies on this machine: of a repository, its snapshot in the cache.
    ///
    /// # Errors
    /// A name that is none.
    pub async fn is_here(&self, source: &ModelSource) -> Result<bool, ErrorObject> {
        let ModelSource::Hub(hub) = source else { return Ok(true) };
        let hub = Source::hub_model(hub)?;
        // A shard, or a file beside it, that is missing or cut is fetched again.
        blocking(move || Ok(Source::is_cached(&hub)?)).await
    }

    /// The repository of a model at its commit, where it is from the Hub.
    ///
    /// # Errors
    /// No such model, or the registry cannot be read.
    pub async fn repository(&self, id: &str) -> Result<Option<String>, ErrorObject> {
        match self.row(id).await?.ok_or_else(|| self.unknown(id))?.readable()?.source {
            ModelSource::Hub(hub) => Ok(Some(hub)),
            ModelSource::Path(_) => Ok(None),
        }
    }

    /// Changes a model; one that was only found gets a row.
    ///
    /// # Errors
    /// No such model, a value that is refused, or the registry cannot be written.
    pub async fn patch(&self, id: &str, patch: Patch) -> Result<(), ErrorObject> {
        // Before anybody waits for it.
        self.row_or_found(id).await?;
        patch.check().await?;
        let _changing = self.changing.write().await;
        let mut row = self.row_or_found(id).await?;
        patch.apply(&mut row);
        self.write(&row).await
    }

    /// Takes a model's row away, and what was committed to it; its attempts stay. One that lies under a model root is
    /// still found.
    ///
    /// # Errors
    /// What `in_use` says, with nothing begun meanwhile; it has no row, or the registry cannot be written.
    pub async fn remove(
        &self,
        id: &str,
        in_use: impl FnOnce() -> Option<ErrorObject>,
    ) -> Result<(), ErrorObject> {
        let _changing = self.changing.write().await;
        if let Some(error) = in_use() {
            return Err(error);
        }
        if self.delete(id).await? { Ok(()) } else { Err(self.unknown(id)) }
    }

    /// The row of a model; one that was only found gets the row that it would have.
    async fn row_or_found(&self, id: &str) -> Result<Row, ErrorObject> {
        if let Some(row) = self.row(id).await? {
            return row.readable();
        }
        let found = self.folders.found().into_iter().find(|found| found.id == id);
        let found = found.ok_or_else(|| self.unknown(id))?;
        let path = found.path.clone();
        let card = blocking(move || {
            let source = Source::resolve(&path.display().to_string())?;
            Ok(Model::open(&source).ok().and_then(|model| reports::inspect(&model).ok()?.report.card))
        });
        let (name, source) = (folders::file_name(&found.path), found.source());
        Ok(Row::new(found.id, name, source, card.await?))
    }

    /// Opens a model, and gives what it is with its revision pinned, its name, and its card.
    async fn examine(
        &self,
        source: ModelSource,
        may_ask_hub: bool,
    ) -> Result<(ModelSource, String, Option<phi3::inspect::card::Card>), ErrorObject> {
        enum At {
            Hub(HubRef),
            Here { path: PathBuf, shown: String },
        }
        let at = match source {
            ModelSource::Hub(hub) => At::Hub(Source::hub_model(&hub)?),
            ModelSource::Path(path) => {
                let path = self.folders.allowed(&path)?;
                At::Here { shown: self.folders.shown(&path), path }
            }
        };
        blocking(move || {
            let opened = match &at {
                At::Hub(hub) if may_ask_hub => Source::Hub(hub.clone()),
                At::Hub(hub) => Source::resolve(&Source::on_this_machine(&hub.to_string())?)?,
                At::Here { path, .. } => Source::resolve(&path.display().to_string())?,
            };
            let model = Model::open(&opened)?;
            let inspected = reports::inspect(&model)?;
            if let Some(error) = inspected.error {
                return Err(error);
            }
            let field = if matches!(at, At::Hub(_)) { "source.hub" } else { "source.path" };
            let are_brought = may_ask_hub && !HubSettings::from_env().map_err(FilesError::from)?.offline;
            if let Some(repo) = model.companions.remote() {
                // What a download would bring, if there is anything to bring.
                repo.needed().map_err(FilesError::from)?;
            }
            if !are_brought && model.checkpoint.is_none() {
                let alone = || ("no_weights", "a config alone has no weights: name its directory".to_owned());
                let (code, why) = model.no_weights().map_or_else(alone, |none| (none.code, none.why));
                return Err(ErrorObject::new(code, why).at(field));
            }
            if let Some(error) = inspected.unusable
                && inspected.report.support == Support::Run
            {
                // What no load could read is told now.
                return Err(error);
            }
            let card = inspected.report.card;
            Ok(match at {
                At::Hub(hub) => {
                    let commit = commit_of_model(&hub, &model)?;
                    let (name, hub) = (hub.name().to_owned(), model.named_in(hub));
                    (ModelSource::Hub(hub.pinned_id(&commit)), name, card)
                }
                At::Here { shown, .. } => {
                    let name = folders::file_name(shown.as_ref());
                    (ModelSource::Path(shown), name, card)
                }
            })
        })
        .await
    }

    fn unknown(&self, id: &str) -> ErrorObject {
        match self.folders.default_model() {
            Err(error) if id == DEFAULT_ID => error,
            _ => {
                let id: String = id.chars().filter(|c| !c.is_control()).take(ID_BYTES).collect();
                ErrorObject::new("no_such_model", format!("there is no model `{id}`"))
            }
        }
    }
}

fn registered(row: &Row) -> Registered {
    let hub = match &row.source {
        ModelSource::Hub(hub) => Some(hub.clone()),
        ModelSource::Path(_) => None,
    };
    Registered { model_id: row.id.clone(), attempt_id: None, hub }
}

fn entry(row: Row) -> ModelEntry {
    let (path, hub) = match row.source {
        ModelSource::Path(path) => (path, None),
        ModelSource::Hub(hub) => (String::new(), Some(hub)),
    };
    ModelEntry {
        id: row.id,
        name: row.name,
        path,
        hub,
        notes: row.notes,
        load_config: row.load_config,
        registered: true,
        loaded_by: None,
        known_good: None,
        error: row.error,
    }
}

fn unregistered(found: Found) -> ModelEntry {
    ModelEntry {
        name: folders::file_name(&found.path),
        id: found.id,
        path: found.shown,
        hub: None,
        notes: String::new(),
        load_config: Map::new(),
        registered: false,
        loaded_by: None,
        known_good: None,
        error: None,
    }
}

/// A load config that is kept must be one that can be read: all that is wrong with it is told at once.
fn check_load_config(map: &Map<String, Value>) -> Result<(), ErrorObject> {
    check_size(map)?;
    let parsed = LoadConfig::from_map_all(map).map_err(|errors| {
        let message = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        ErrorObject::new("load_config_invalid", message).at("load_config")
    })?;
    launcher::check_template_early(parsed.chat_template.as_deref())
        .map_err(|error| error.at("load_config.chat_template"))
}

/// Refuses a load config that is too large to be told with every event of its attempts.
///
/// # Errors
/// `load_config_invalid`
pub(crate) fn check_size(load_config: &Map<String, Value>) -> Result<(), ErrorObject> {
    let bytes = serde_json::to_string(load_config).map_or(usize::MAX, |text| text.len());
    if bytes <= LOAD_CONFIG_BYTES {
        return Ok(());
    }
    let message = format!("has {bytes} bytes, expected at most {LOAD_CONFIG_BYTES}");
    Err(ErrorObject::new("load_config_invalid", message).at("load_config"))
}

/// Refuses a text that is too long to be told with every event, or that no database and no terminal takes as it is.
///
/// # Errors
/// `invalid_request`
pub(crate) fn check_text(field: &str, text: &str, limit: usize) -> Result<(), ErrorObject> {
    if text.len() > limit {
        return Err(
            ErrorObject::new("invalid_request", format!("`{field}` is longer than {limit} bytes")).at(field)
        );
    }
    if text.contains('\0') {
        return Err(ErrorObject::new("invalid_request", format!("`{field}` holds a NUL character")).at(field));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), ErrorObject> {
    check_text("name", name, NAME_BYTES)?;
    if name.trim().is_empty() {
        return Err(
            ErrorObject::new("invalid_request", "`name` is empty: leave it out, or give one").at("name")
        );
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), ErrorObject> {
    if id == RESERVED {
        let message = format!("`{RESERVED}` is the address that stages models: choose another id");
        return Err(ErrorObject::new("invalid_request", message).at("id"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if id.is_empty() || id.len() > ID_BYTES || !id.chars().all(plain) || id.starts_with(['.', '-']) {
        let message = format!(
            "an id has 1 to {ID_BYTES} letters, digits, `.`, `_` and `-`, and begins with none of `.` and `-`"
        );
        return Err(ErrorObject::new("invalid_request", message).at("id"));
    }
    Ok(())
}

/// The commit that a model of the Hub was opened at. A file from the cache says nothing of it: it is asked for again.
fn commit_of_model(hub: &HubRef, model: &Model) -> Result<String, FilesError> {
    let origin = model.companions.origin().map(|(_, commit)| commit);
    if let Some(commit) = origin.or_else(|| commit_of(model.name.as_ref())) {
        return Ok(commit);
    }
    let settings = HubSettings::from_env()?;
    match settings.snapshot(hub)?.filter(|_| settings.offline) {
        Some(snapshot) => Ok(snapshot.commit),
        None => Ok(RemoteRepo::ask(&settings, hub)?.commit),
    }
}

/// An id made of a name.
fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let slug: String = name.chars().take(ID_BYTES - 8).map(plain).collect();
    let slug = slug.trim_matches(['.', '-']);
    if slug.is_empty() || slug == RESERVED { "model".to_owned() } else { slug.to_owned() }
}

/// Runs what reads files or the Hub off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ErrorObject> + Send + 'static,
) -> Result<T, ErrorObject> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ErrorObject::new("internal", error.to_string()))?
}
