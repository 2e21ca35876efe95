//! A model opened from the Hub: its config, and headers of its weights by ranges; from the cache where it is there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use phi3::config::MAX_CONFIG_BYTES;
use phi3::weights::gguf::part_names;
use phi3::weights::safetensors::{MAX_INDEX_BYTES, ShardIndex};
use phi3::weights::{Checkpoint, WeightsFinding};

use crate::hub::{HubError, HubFile, HubRef, HubSettings, RemoteRepo, Snapshot};
use crate::model::{CONFIG, INDEX, READ_BESIDE, SINGLE, TOKENIZER, exists, gguf_models};
use crate::{Companions, FilesError, Model, Source, WeightFile};

/// Headers that are fetched at once.
const MOST_AT_ONCE: usize = 8;

/// Opens what `hub` names. A snapshot in the cache is used where nothing may be fetched, and where it is complete
/// and of the very commit that is asked for.
pub(crate) fn open(hub: &HubRef, settings: &HubSettings) -> Result<Model, FilesError> {
    if settings.offline {
        let snapshot = settings.snapshot(hub)?.ok_or_else(|| HubError::Offline {
            source_name: hub.to_string(),
            cache: settings.cache.clone(),
        })?;
        return open_snapshot(hub, &snapshot);
    }
    if hub.is_pinned()
        && let Some(model) = open_whole(hub, settings)
    {
        return Ok(model);
    }
    let repo = RemoteRepo::ask(settings, hub)?;
    match open_listed(hub, &repo, settings)? {
        Some(model) => Ok(model),
        None => open_remote(repo),
    }
}

/// The model in the snapshot of a commit, where the cache alone tells that nothing is missing of it: which model is meant,
/// its weights, and beside them what a load reads. What is cut, odd or not certain is left to the Hub's files.
pub(crate) fn open_whole(hub: &HubRef, settings: &HubSettings) -> Option<Model> {
    let snapshot = settings.snapshot(hub).ok().flatten()?;
    let place = place(hub, &snapshot).ok()?;
    // The one GGUF file that was fetched may be one of several.
    let is_named = place.is_dir() || hub.path().is_some_and(|path| place.ends_with(path));
    let model = open_snapshot(hub, &snapshot).ok().filter(|model| is_named && has_all_parts(model))?;
    let is_lost = |name: &&str| exists(&place.join(name)) && !place.join(name).is_file();
    let is_whole = place.is_file() || (place.join(TOKENIZER).is_file() && !READ_BESIDE.iter().any(is_lost));
    is_whole.then_some(model)
}

/// The same where the Hub's list tells what belongs to it.
fn open_listed(hub: &HubRef, repo: &RemoteRepo, settings: &HubSettings) -> Result<Option<Model>, FilesError> {
    let needed = match repo.needed() {
        Ok(needed) => needed,
        Err(error @ HubError::Ambiguous { .. }) => return Err(error.into()),
        // No weights that are read: there may be a config.
        Err(_) => return Ok(None),
    };
    let Ok(Some(snapshot)) = settings.snapshot(&repo.pinned()) else { return Ok(None) };
    let is_here = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_read = READ_BESIDE.contains(&name) || is_weights(name);
        !is_read || snapshot.directory.join(path).is_file()
    };
    if !needed.iter().all(|entry| is_here(&entry.path)) {
        return Ok(None);
    }
    Ok(open_snapshot(hub, &snapshot).ok().filter(has_all_parts))
}

fn is_weights(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".safetensors", ".gguf", ".safetensors.index.json"].iter().any(|end| name.ends_with(end))
}

fn has_all_parts(model: &Model) -> bool {
    let is_part = |finding: &WeightsFinding| matches!(finding, WeightsFinding::MissingParts(_));
    model.checkpoint.as_ref().is_some_and(|checkpoint| !checkpoint.findings().iter().any(is_part))
}

fn open_snapshot(hub: &HubRef, snapshot: &Snapshot) -> Result<Model, FilesError> {
    let path = place(hub, snapshot)?;
    let source = if path.is_dir() { Source::Directory(path) } else { Source::of_file(&path)? };
    Ok(Model { name: hub.to_string(), ..Model::open(&source)? })
}

/// Where in a snapshot the model lies: the folder or file that is named, or the one GGUF file of a folder without a config.
pub(crate) fn place(hub: &HubRef, snapshot: &Snapshot) -> Result<PathBuf, FilesError> {
    let path = hub.path().map_or(snapshot.directory.clone(), |path| snapshot.directory.join(path));
    if !path.is_dir() {
        return Ok(path);
    }
    let names: Vec<String> =
        Companions::Directory(path.clone()).list().into_iter().map(|file| file.name).collect();
    let gguf = if names.iter().any(|name| name == CONFIG) { None } else { only_gguf(hub, &names)? };
    Ok(gguf.map_or_else(|| path.clone(), |name| path.join(name)))
}

fn open_remote(repo: RemoteRepo) -> Result<Model, FilesError> {
    let asked = repo.asked().clone();
    let missing = |file: &str| HubError::NoFile { source_name: asked.to_string(), file: file.to_owned() };
    let folder = match asked.path() {
        None => String::new(),
        Some(path) if repo.find(path).is_some() => return open_file(repo, path),
        Some(path) => format!("{path}/"),
    };
    if !folder.is_empty() && !repo.files.iter().any(|entry| entry.path.starts_with(&folder)) {
        return Err(missing(folder.trim_end_matches('/')).into());
    }
    let has = |name: &str| repo.find(&format!("{folder}{name}")).is_some();
    if !has(CONFIG) {
        let here = repo.files.iter().filter_map(|entry| entry.path.strip_prefix(&folder));
        let names: Vec<String> = here.map(str::to_owned).collect();
        return match only_gguf(&asked, &names)? {
            Some(name) => open_file(repo, &format!("{folder}{name}")),
            None => Err(missing(&format!("{folder}{CONFIG}")).into()),
        };
    }
    let checkpoint = match () {
        () if has(SINGLE) => Some(open_single(&repo, &format!("{folder}{SINGLE}"))?),
        () if has(INDEX) => Some(open_shards(&repo, &folder, INDEX)?),
        () => None,
    };
    let model = with_config(repo, folder.clone(), CONFIG, checkpoint)?;
    match (model.gguf_meant(), model.companions) {
        (meant, Companions::Hub(repo, _)) if !meant.is_empty() => match only_gguf(&asked, &meant)? {
            Some(name) => open_file(*repo, &format!("{folder}{name}")),
            None => Err(missing(&format!("{folder}{CONFIG}")).into()),
        },
        (_, companions) => Model { companions, ..model }.with_its_weights(),
    }
}

/// Opens one file of a repository, by its kind; its config lies beside it.
fn open_file(repo: RemoteRepo, path: &str) -> Result<Model, FilesError> {
    let kind = Source::of_file(Path::new(path))?;
    let (folder, name) = match path.rfind('/') {
        Some(at) => path.split_at(at + 1),
        None => ("", path),
    };
    let checkpoint = match kind {
        Source::Gguf(_) => {
            let named = repo.name_of(path);
            let mut files = vec![(named.clone(), WeightFile::Hub(repo.open(path)?))];
            let others = part_names(name).unwrap_or_default().into_iter().filter(|part| part != name);
            for part in others.map(|part| format!("{folder}{part}")) {
                if repo.find(&part).is_some() {
                    files.push((repo.name_of(&part), WeightFile::Hub(repo.open(&part)?)));
                }
            }
            let model = Model::from_gguf(named, files)?;
            let companions = Companions::Hub(Box::new(repo), folder.to_owned());
            return Ok(Model { companions, ..model });
        }
        Source::Safetensors(_) => Some(open_single(&repo, path)?),
        Source::Index(_) => Some(open_shards(&repo, folder, name)?),
        _ => return with_config(repo, folder.to_owned(), name, None),
    };
    with_config(repo, folder.to_owned(), CONFIG, checkpoint)
}

fn with_config(
    repo: RemoteRepo,
    folder: String,
    config: &str,
    checkpoint: Option<Checkpoint<WeightFile>>,
) -> Result<Model, FilesError> {
    let path = format!("{folder}{config}");
    let missing = || HubError::NoFile { source_name: repo.asked().to_string(), file: path.clone() };
    let config_json = repo.small_file(&path, MAX_CONFIG_BYTES)?.ok_or_else(missing)?;
    Ok(Model {
        name: repo.asked().to_string(),
        config_file: repo.name_of(&path),
        config_json,
        checkpoint,
        companions: Companions::Hub(Box::new(repo), folder),
    })
}

fn open_single(repo: &RemoteRepo, path: &str) -> Result<Checkpoint<WeightFile>, FilesError> {
    let file = repo.open(path)?;
    file.fetch_header()?;
    let files = vec![(repo.name_of(path), WeightFile::Hub(file))];
    Ok(pollster::block_on(Checkpoint::from_safetensors(files))?)
}

fn open_shards(repo: &RemoteRepo, folder: &str, index: &str) -> Result<Checkpoint<WeightFile>, FilesError> {
    let path = format!("{folder}{index}");
    let missing = || HubError::NoFile { source_name: repo.asked().to_string(), file: path.clone() };
    let json = repo.small_file(&path, MAX_INDEX_BYTES)?.ok_or_else(missing)?;
    let index = ShardIndex::parse(&repo.name_of(&path), &json)?;
    let mut files = Vec::new();
    for shard in index.shards() {
        let path = format!("{folder}{shard}");
        // Absent shards are named all together when the index is held against the files.
        if repo.find(&path).is_some() {
            files.push((shard, repo.open(&path)?));
        }
    }
    if files.len() == index.shards().len() {
        fetch_headers(&files)?;
    }
    let files = files.into_iter().map(|(shard, file)| (shard, WeightFile::Hub(file))).collect();
    Ok(pollster::block_on(Checkpoint::from_shards(&index, files))?)
}

/// Fetches the headers of all shards, a few at once; the first failure ends it.
fn fetch_headers(files: &[(String, HubFile)]) -> Result<(), HubError> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..files.len().min(MOST_AT_ONCE) {
            scope.spawn(|| {
                while let Some((_, file)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = file.fetch_header() {
                        next.store(files.len(), Ordering::Relaxed);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// The one GGUF model of a folder; several are mostly one model in several formats, and nobody can guess which is meant.
fn only_gguf<'a>(hub: &HubRef, names: &'a [String]) -> Result<Option<&'a str>, HubError> {
    match gguf_models(names)[..] {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        ref models => {
            let files = models.iter().map(|name| hub.file(name).to_string()).collect();
            Err(HubError::Ambiguous { source_name: hub.to_string(), files })
        }
    }
}
