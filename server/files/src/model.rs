//! A model opened from a [`Source`]: its config, and its checked weights where it has some.

use std::path::{Path, PathBuf};

use phi3::config::{ConfigError, Fields, MAX_CONFIG_BYTES};
use phi3::decoder::{Decoder, Family};
use phi3::weights::gguf::part_names;
use phi3::weights::safetensors::{MAX_INDEX_BYTES, ShardIndex};
use phi3::weights::{Checkpoint, WeightsError};
use serde_json::Value;

use crate::hub::{HubRef, HubSettings};
use crate::{Companions, FileSource, FilesError, Source, WeightFile, hub_model, read_small};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";

/// Keys of a config of which every one that describes a model has some.
const SIZES: [&str; 7] = [
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "text_config",
    "n_embd",
    "n_layer",
    "d_model",
];

/// Files beside the weights that every run reads where they are.
pub const READ_BESIDE: [&str; 6] = [
    CONFIG,
    "generation_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];

/// An opened model. No tensor's data has been read.
#[derive(Debug)]
pub struct Model {
    /// What it was opened from, as the user named it.
    pub name: String,
    /// The file that the config came from, for messages.
    pub config_file: String,
    /// `config.json` as it stands.
    pub config_json: Vec<u8>,
    /// Checked headers of its weights, where it has some.
    pub checkpoint: Option<Checkpoint<WeightFile>>,
    /// The files beside its config.
    pub companions: Companions,
}

impl Model {
    /// Opens a model: reads its config and the headers of its weights. The Hub is used as the environment says.
    ///
    /// # Errors
    /// [`FilesError`], naming the file.
    pub fn open(source: &Source) -> Result<Self, FilesError> {
        match source {
            Source::Hub(hub) => Self::open_on_hub(hub, &HubSettings::from_env()?),
            Source::Preset(preset) => {
                let name = format!("preset:{}", preset.name);
                Ok(Self {
                    config_file: name.clone(),
                    name,
                    config_json: preset.config.as_bytes().to_vec(),
                    checkpoint: None,
                    companions: Companions::None,
                })
            }
            Source::Pasted(config) => {
                let name = "config".to_owned();
                Ok(Self {
                    config_file: name.clone(),
                    name,
                    config_json: Value::Object(config.clone()).to_string().into_bytes(),
                    checkpoint: None,
                    companions: Companions::None,
                })
            }
            Source::Config(path) => Self::with_weights(path, path, path.parent(), None),
            Source::Directory(path) => {
                let model = Self::with_weights(path, &path.join(CONFIG), Some(path), open_named(path)?)?;
                match only_gguf(path, &model.gguf_meant())? {
                    Some(gguf) => Self::open(&Source::Gguf(gguf)),
                    None => model.with_its_weights(),
                }
            }
            Source::Safetensors(path) => Self::beside(path, open_single(path)?),
            Source::Index(path) => Self::beside(path, open_shards(path)?),
            Source::Gguf(path) => {
                let name = path.display().to_string();
                let mut files = vec![(name.clone(), WeightFile::Local(FileSource::open(path)?))];
                for part in other_parts(path) {
                    if exists(&part) {
                        let file = WeightFile::Local(FileSource::open(&part)?);
                        files.push((part.display().to_string(), file));
                    }
                }
                Self::from_gguf(name, files)
            }
        }
    }

    /// Opens a model on the Hub, or in its cache, as `settings` say.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_on_hub(hub: &HubRef, settings: &HubSettings) -> Result<Self, FilesError> {
        hub_model::open(hub, settings)
    }

    /// A model that is one GGUF file, or the parts of one: its config and tensors are in the headers.
    pub(crate) fn from_gguf(name: String, files: Vec<(String, WeightFile)>) -> Result<Self, FilesError> {
        let (config, checkpoint) = pollster::block_on(Checkpoint::from_gguf_parts(&name, files))?;
        Ok(Self {
            config_file: name.clone(),
            name,
            config_json: Value::Object(config).to_string().into_bytes(),
            checkpoint: Some(checkpoint),
            companions: Companions::None,
        })
    }

    /// The model by a name that means it for certain: of a repository without a config, with the GGUF file that it is.
    #[must_use]
    pub fn named_in(&self, hub: HubRef) -> HubRef {
        let is_gguf = |name: &str| name.to_ascii_lowercase().ends_with(".gguf");
        let file = self.config_file.rsplit('/').next().filter(|name| is_gguf(name));
        match file {
            Some(file) if !hub.path().is_some_and(is_gguf) => hub.file(file),
            _ => hub,
        }
    }

    /// The keys of the config, not judged yet.
    ///
    /// # Errors
    /// [`FilesError::Config`] where it is no JSON object.
    pub fn fields(&self) -> Result<Fields, FilesError> {
        Fields::parse(&self.config_json).map_err(|error| self.refuse(error))
    }

    /// The weights, which must be those of the config. On the Hub a head stored beside a tied embedding is not held
    /// against it: that would fetch both.
    ///
    /// # Errors
    /// There are none, or they differ from the config; every difference is named.
    pub fn checked_weights(&self, decoder: &Decoder) -> Result<&Checkpoint<WeightFile>, FilesError> {
        let checkpoint = self.described_weights(decoder)?;
        checkpoint.check(decoder)?;
        Ok(checkpoint)
    }

    /// The same, also in formats that can be sized and not loaded.
    ///
    /// # Errors
    /// As [`Model::checked_weights`].
    pub fn described_weights(&self, decoder: &Decoder) -> Result<&Checkpoint<WeightFile>, FilesError> {
        let lacks = || {
            let named = || PathBuf::from(&self.name);
            let (path, what) = if self.name.starts_with("preset:") {
                let what = "weights: it is a config alone; name a model's directory, or make one with `preflight synth`";
                (named(), what)
            } else if self.name == self.config_file {
                // Weights may lie beside it: they were not asked for.
                (named(), "weights: it is a config alone; give the directory that it lies in")
            } else {
                let directory = self.companions.directory().map_or_else(named, Path::to_owned);
                let is_pickled = self.no_weights().is_some_and(|none| none.code == NoWeights::PICKLED);
                let what = match is_pickled {
                    true => {
                        "weights that are read: those in it are pickled, and could run code; take safetensors"
                    }
                    false => "weights (model.safetensors or model.safetensors.index.json)",
                };
                (directory, what)
            };
            FilesError::Lacks { path, what }
        };
        let checkpoint = self.checkpoint.as_ref().ok_or_else(lacks)?;
        checkpoint.check_described(decoder)?;
        if self.companions.remote().is_none() {
            pollster::block_on(checkpoint.check_tied_head(decoder))?;
        }
        Ok(checkpoint)
    }

    /// Why a model that could have weights has none: what is said of it rests on its config alone. `None` where there are
    /// some, and where no more than a config was asked for.
    #[must_use]
    pub fn no_weights(&self) -> Option<NoWeights> {
        // A config that was named, wherever it lies, is all that was asked for.
        let is_config = self.name.to_ascii_lowercase().ends_with(".json");
        if self.checkpoint.is_some() || is_config || matches!(self.companions, Companions::None) {
            return None;
        }
        let named = |is_it: fn(&str) -> bool| -> Vec<String> {
            let files = self.companions.list().into_iter().map(|file| file.name);
            files.filter(|name| is_it(&name.to_ascii_lowercase())).collect()
        };
        let (pickled, gguf) = (named(is_pickled), named(|name| name.ends_with(".gguf")));
        let (code, why) = match (pickled.as_slice(), gguf.as_slice()) {
            ([], []) => ("no_weights", "there are no weights here".to_owned()),
            ([], gguf) => (
                "no_weights",
                format!("{} lies beside the config and is not read: name it instead", gguf.join(", ")),
            ),
            (pickled, _) => {
                let files = pickled.join(", ");
                let why = format!(
                    "{files} is pickled, which is never read, since it can run code: take safetensors"
                );
                (NoWeights::PICKLED, why)
            }
        };
        Some(NoWeights { code, why })
    }

    /// The checked weights of files without a config beside them; `None` where there are none. Which of several files
    /// without an index belong together nothing tells: they are counted all together.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn weights_alone(source: &Source) -> Result<Option<Checkpoint<WeightFile>>, FilesError> {
        match source {
            Source::Safetensors(path) => open_single(path).map(Some),
            Source::Index(path) => open_shards(path).map(Some),
            Source::Directory(path) => {
                if let Some(checkpoint) = open_named(path)? {
                    return Ok(Some(checkpoint));
                }
                let files = weight_names(&Companions::Directory(path.clone()));
                let open = |name: String| {
                    let file = WeightFile::Local(FileSource::open(&path.join(&name))?);
                    Ok((name, file))
                };
                let files = files.into_iter().map(open).collect::<Result<Vec<_>, FilesError>>()?;
                match files.is_empty() {
                    true => Ok(None),
                    false => Ok(Some(pollster::block_on(Checkpoint::from_safetensors(files))?)),
                }
            }
            _ => Ok(None),
        }
    }

    /// Weights that lie beside those that are used, in words: which are, and which are not. `None` where there are none,
    /// and where one file was named.
    #[must_use]
    pub fn unused_weights(&self) -> Option<String> {
        const MOST: usize = 8;
        let checkpoint = self.checkpoint.as_ref()?;
        if self.name.to_ascii_lowercase().ends_with(".safetensors") {
            return None;
        }
        let plain = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        let used: Vec<String> = checkpoint.file_names().map(plain).collect();
        let is_single = used == [SINGLE];
        let listed = self.companions.list().into_iter().map(|file| file.name);
        let index = is_single.then(|| listed.filter(|name| name == INDEX)).into_iter().flatten();
        let unused: Vec<String> =
            index.chain(weight_names(&self.companions)).filter(|name| !used.contains(name)).collect();
        let more = match unused.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = unused.get(..MOST).unwrap_or(&unused).join(", ");
        let used = match is_single {
            true => SINGLE.to_owned(),
            false => format!("what {} names", plain(checkpoint.name())),
        };
        (!unused.is_empty()).then(|| format!("{used} is used; not used, though it lies there: {names}{more}"))
    }

    /// GGUF models beside a config that says the kind of model and no size of it, as some repositories of them have one: what
    /// is meant is in them.
    pub(crate) fn gguf_meant(&self) -> Vec<String> {
        let has_sizes =
            self.fields().map_or(true, |fields| SIZES.iter().any(|key| fields.get(key).is_some()));
        if self.checkpoint.is_some() || has_sizes {
            return Vec::new();
        }
        let names: Vec<String> = self.companions.list().into_iter().map(|file| file.name).collect();
        gguf_models(&names).into_iter().map(str::to_owned).collect()
    }

    /// Refuses weights that nothing names: nobody could say which tensors of which file are the model's.
    pub(crate) fn with_its_weights(self) -> Result<Self, FilesError> {
        if self.checkpoint.is_some() {
            return Ok(self);
        }
        let files = weight_names(&self.companions);
        if files.is_empty() {
            return Ok(self);
        }
        Err(FilesError::NoIndex { name: self.name, files })
    }

    /// A small file beside the config, such as `tokenizer.json`; `None` where there is none.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn companion(&self, name: &str) -> Result<Option<Vec<u8>>, FilesError> {
        self.companions.read(name)
    }

    /// An error about this model's config.
    #[must_use]
    pub fn refuse(&self, error: ConfigError) -> FilesError {
        if let ConfigError::UnknownArchitecture { model_type } = &error
            && Family::of(model_type).is_some()
        {
            return FilesError::NotRun { file: self.config_file.clone(), model_type: model_type.clone() };
        }
        FilesError::Config { file: self.config_file.clone(), error }
    }

    fn beside(weights: &Path, checkpoint: Checkpoint<WeightFile>) -> Result<Self, FilesError> {
        let directory = weights.parent().unwrap_or_else(|| Path::new("."));
        Self::with_weights(weights, &directory.join(CONFIG), Some(directory), Some(checkpoint))
    }

    fn with_weights(
        named: &Path,
        config: &Path,
        directory: Option<&Path>,
        checkpoint: Option<Checkpoint<WeightFile>>,
    ) -> Result<Self, FilesError> {
        let config_file = config.display().to_string();
        let config_json = match read_small(config, MAX_CONFIG_BYTES) {
            Err(FilesError::TooLarge { bytes, limit, .. }) => {
                let error = ConfigError::TooLarge { bytes, limit };
                return Err(FilesError::Config { file: config_file, error });
            }
            Err(FilesError::NotFound { .. }) => {
                let path = directory.unwrap_or(named).to_owned();
                return Err(FilesError::Lacks { path, what: CONFIG });
            }
            read => read?,
        };
        let name = named.display().to_string();
        let companions = directory.map_or(Companions::None, |path| Companions::Directory(path.to_owned()));
        Ok(Self { name, config_file, config_json, checkpoint, companions })
    }
}

/// Why nothing of a model's weights was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoWeights {
    /// A stable name for programs.
    pub code: &'static str,
    /// For people.
    pub why: String,
}

impl NoWeights {
    /// Code of weights that are never read, whoever asks.
    pub const PICKLED: &str = "pickle_not_read";

    /// Why, and what an estimate rests on then.
    #[must_use]
    pub fn message(&self) -> String {
        format!("{}; sized from {CONFIG} alone", self.why)
    }
}

/// Whether a file holds weights that somebody pickled, by its lower-case name.
pub(crate) fn is_pickled(name: &str) -> bool {
    let is_weights =
        !["training_args", "optimizer", "scheduler", "rng_state"].iter().any(|o| name.starts_with(o));
    is_weights && [".bin", ".pt", ".pth", ".ckpt"].iter().any(|end| name.ends_with(end))
}

/// The other parts of a split GGUF file, there or not.
#[must_use]
pub fn other_parts(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let names = part_names(name).unwrap_or_default().into_iter().filter(|part| part != name);
    names.map(|part| path.with_file_name(part)).collect()
}

/// The GGUF models among the names of a folder: of one in several parts its first.
pub(crate) fn gguf_models(names: &[String]) -> Vec<&str> {
    let mut models: Vec<&str> = Vec::new();
    for name in names.iter().filter(|name| name.to_ascii_lowercase().ends_with(".gguf")) {
        let parts = part_names(name).unwrap_or_default();
        if !models.iter().any(|first| parts.iter().any(|part| part == first)) {
            models.push(name);
        }
    }
    models
}

/// The one GGUF model among the names of a directory.
///
/// # Errors
/// Several: nobody could say which is meant.
pub(crate) fn only_gguf(directory: &Path, names: &[String]) -> Result<Option<PathBuf>, FilesError> {
    match gguf_models(names)[..] {
        [] => Ok(None),
        [only] => Ok(Some(directory.join(only))),
        ref several => {
            let files = several.iter().map(|name| directory.join(name).display().to_string()).collect();
            Err(FilesError::SeveralGguf { path: directory.to_owned(), files })
        }
    }
}

/// Whether a name is taken, by a working link or not: what cannot be opened is told, not passed over.
pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The weights of a directory that have their names by Hugging Face's rule; a single file goes before an index.
fn open_named(directory: &Path) -> Result<Option<Checkpoint<WeightFile>>, FilesError> {
    let [single, index] = [SINGLE, INDEX].map(|name| directory.join(name));
    match () {
        () if exists(&single) => open_single(&single).map(Some),
        () if exists(&index) => open_shards(&index).map(Some),
        () => Ok(None),
    }
}

/// Files of safetensors in a folder, by name, but for adapters.
fn weight_names(companions: &Companions) -> Vec<String> {
    let is_weights = |name: &String| {
        let name = name.to_ascii_lowercase();
        name.ends_with(".safetensors") && !name.starts_with("adapter_")
    };
    companions.list().into_iter().map(|file| file.name).filter(is_weights).collect()
}

fn open_single(path: &Path) -> Result<Checkpoint<WeightFile>, FilesError> {
    let files = vec![(path.display().to_string(), WeightFile::Local(FileSource::open(path)?))];
    Ok(pollster::block_on(Checkpoint::from_safetensors(files))?)
}

fn open_shards(path: &Path) -> Result<Checkpoint<WeightFile>, FilesError> {
    let json = read_small(path, MAX_INDEX_BYTES)?;
    let index = ShardIndex::parse(&path.display().to_string(), &json)?;
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let mut files = Vec::new();
    for shard in index.shards() {
        match FileSource::open(&directory.join(&shard)) {
            Ok(source) => files.push((shard, WeightFile::Local(source))),
            // Absent shards are named all together when the index is held against the files.
            Err(FilesError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let of_shard = |error: WeightsError| match index.shards().contains(&error.file) {
        true => WeightsError { file: directory.join(&error.file).display().to_string(), ..error },
        false => error,
    };
    Ok(pollster::block_on(Checkpoint::from_shards(&index, files)).map_err(of_shard)?)
}
