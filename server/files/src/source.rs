//! What a PATH means.

use std::path::{Path, PathBuf};

use phi3::config::{PRESETS, Preset};
use serde_json::{Map, Value};

use crate::hub::{Endpoint, HubError, HubRef, HubSettings};
use crate::model::{CONFIG, exists, only_gguf};
use crate::{Companions, FilesError, hub_model};

/// Where a model's description comes from. A name that exists is a path; nothing else is guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory with a config, weights or both.
    Directory(PathBuf),
    /// A `config.json`, under any name ending in `.json`.
    Config(PathBuf),
    /// One file of safetensors.
    Safetensors(PathBuf),
    /// The index of a sharded checkpoint: a name ending in `.index.json`.
    Index(PathBuf),
    /// One GGUF file.
    Gguf(PathBuf),
    /// A config that is built in.
    Preset(&'static Preset),
    /// A config that was pasted: no file of this machine.
    Pasted(Map<String, Value>),
    /// A repository on the Hub.
    Hub(HubRef),
}

const PRESET_HINT: &str = "; a preset is written preset:NAME";

/// What a name that is no path may have meant.
fn hint(text: &str) -> &'static str {
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        [name] if !name.contains('.') || Preset::find(&name.to_lowercase()).is_some() => PRESET_HINT,
        [org, name] if !org.is_empty() && !org.starts_with('.') && !name.is_empty() => {
            "; a repository of the Hub is written hf:ORG/NAME"
        }
        _ => "",
    }
}

/// Whether it is an address of the Hub as a browser shows it, without the scheme.
#[must_use]
fn is_bare_address(text: &str) -> bool {
    text.starts_with("huggingface.co/") || text.starts_with("hf.co/")
}

fn hub_ref(text: &str) -> Result<HubRef, FilesError> {
    let scheme = if is_bare_address(text) { "https://" } else { "" };
    Ok(HubRef::parse(&format!("{scheme}{text}"), &Endpoint::from_env()?)?)
}

impl Source {
    /// Decides what `text` means.
    ///
    /// # Errors
    /// Absent, of no known kind, or a source that this build does not have.
    pub fn resolve(text: &str) -> Result<Self, FilesError> {
        let path = Path::new(text);
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => Self::of_directory(path),
            Ok(_) => Self::of_file(path),
            Err(error) => match text.split_once(':') {
                Some(("preset", name)) => Self::preset(name),
                Some(("hf" | "http" | "https", _)) => Self::hub(text),
                // As a browser shows them.
                _ if is_bare_address(text) => Self::hub(text),
                _ => Err(match FilesError::io(path, error) {
                    FilesError::NotFound { path, .. } => FilesError::NotFound { hint: hint(text), path },
                    error => error,
                }),
            },
        }
    }

    /// A repository on the Hub: `ORG/NAME[@REV]`, with or without `hf:`, or an address of the Hub.
    ///
    /// # Errors
    /// No name or address of the Hub; `HF_ENDPOINT` that is no address.
    pub fn hub(text: &str) -> Result<Self, FilesError> {
        Ok(Self::Hub(hub_ref(text)?))
    }

    /// The model on the Hub that the name or address of a repository, or of a file in it, means.
    ///
    /// # Errors
    /// As [`Source::hub`].
    pub fn hub_model(text: &str) -> Result<HubRef, FilesError> {
        Ok(hub_ref(text)?.of_model())
    }

    /// What `text` means to a process that reads this machine alone: of a repository on the Hub, its snapshot in the
    /// cache; anything else is left as it is.
    ///
    /// # Errors
    /// As [`Source::resolve`], or a snapshot that is not in the cache.
    pub fn on_this_machine(text: &str) -> Result<String, FilesError> {
        Self::as_configured(text, None, None)
    }

    /// Whether nothing of a model on the Hub is left to fetch, as far as its cache alone can tell. Offline its weights are
    /// enough.
    ///
    /// # Errors
    /// A snapshot with a link out of the cache; an environment that is refused.
    pub fn is_cached(hub: &HubRef) -> Result<bool, FilesError> {
        let settings = HubSettings::from_env()?;
        if settings.snapshot(hub)?.is_none() {
            return Ok(false);
        }
        Ok(match settings.offline {
            true => hub_model::open(hub, &settings).is_ok_and(|model| model.checkpoint.is_some()),
            false => hub_model::open_whole(hub, &settings).is_some(),
        })
    }

    /// As [`Source::on_this_machine`]. A load config may name the revision, where `text` names none, and the
    /// folder of the cache.
    ///
    /// # Errors
    /// As [`Source::resolve`], two revisions, or a snapshot that is not in the cache.
    pub fn as_configured(
        text: &str,
        revision: Option<&str>,
        cache_dir: Option<&Path>,
    ) -> Result<String, FilesError> {
        let resolved = Self::resolve(text).map_err(|error| match error {
            // A preset has nothing that could run.
            FilesError::NotFound { path, hint: PRESET_HINT } => FilesError::NotFound { path, hint: "" },
            error => error,
        })?;
        let Self::Hub(mut hub) = resolved else { return Ok(text.to_owned()) };
        if let Some(revision) = revision {
            hub = hub.at_revision(revision)?;
        }
        let mut settings = HubSettings::from_env()?;
        if let Some(cache_dir) = cache_dir {
            settings.cache = cache_dir.to_owned();
        }
        let Some(snapshot) = settings.snapshot(&hub)? else {
            let revision = match hub.revision() {
                "main" => String::new(),
                revision => format!(" --revision {revision}"),
            };
            let command = format!("hf download {}{revision}", hub.repo());
            return Err(HubError::NotDownloaded { source_name: hub.to_string(), command }.into());
        };
        Ok(hub_model::place(&hub, &snapshot)?.display().to_string())
    }

    /// A preset by its name.
    ///
    /// # Errors
    /// No such preset; those that there are.
    pub fn preset(name: &str) -> Result<Self, FilesError> {
        let unknown = || FilesError::UnknownPreset {
            path: format!("preset:{name}"),
            nearest: Preset::nearest(name),
            known: PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", "),
        };
        Preset::find(name).map(Self::Preset).ok_or_else(unknown)
    }

    /// What a directory is: its one GGUF model where it holds no other.
    ///
    /// # Errors
    /// Several of them.
    fn of_directory(path: &Path) -> Result<Self, FilesError> {
        let listed = Companions::Directory(path.to_owned()).list();
        let names: Vec<String> = listed.into_iter().map(|file| file.name).collect();
        let is_other = exists(&path.join(CONFIG)) || names.iter().any(|name| name.contains(".safetensors"));
        let gguf = if is_other { None } else { only_gguf(path, &names)? };
        Ok(gguf.map_or_else(|| Self::Directory(path.to_owned()), Self::Gguf))
    }

    /// What a file is, by its name.
    ///
    /// # Errors
    /// Of no kind that holds a model.
    pub(crate) fn of_file(path: &Path) -> Result<Self, FilesError> {
        let name =
            path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let path = path.to_owned();
        match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
            "json" if name.ends_with(".index.json") => Ok(Self::Index(path)),
            "json" => Ok(Self::Config(path)),
            "safetensors" => Ok(Self::Safetensors(path)),
            "gguf" => Ok(Self::Gguf(path)),
            "bin" | "pt" | "pth" | "ckpt" => Err(FilesError::UnknownKind {
                path,
                hint: "; pickled weights are never loaded, since they can run code",
            }),
            _ => Err(FilesError::UnknownKind { path, hint: "" }),
        }
    }
}
