//! What a person gave: the files of a model, read as far as an answer needs. Of weights only headers are read.

use phi3::config::{ConfigError, MAX_CONFIG_BYTES, tokenizer_vocab_size};
use phi3::decoder::Decoder;
use phi3::estimate::params_total;
use phi3::inspect::{self, Finding, Severity};
use phi3::weights::gguf::part_names;
use phi3::weights::{Checkpoint, ShardIndex, WeightsError};
use serde_json::Value;

use super::model::{OwnFiles, Problem, last_part};
use super::weights::Weights;
use crate::platform::files::Picked;
use crate::text;

/// Largest tokenizer.json that is read: it is only asked for the size of its vocabulary.
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

/// Ends of names of weights that pickle reads.
const PICKLES: [&str; 5] = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];

/// Files of a model that are JSON and no config.
const PARTS: [&str; 3] = ["generation_config.json", "tokenizer.json", "tokenizer_config.json"];

/// How files begin that pickle reads: in a zip, as torch writes them, or as they are.
const PICKLE_HEADS: [&[u8]; 2] = [b"PK\x03\x04", &[0x80]];

/// Places of a model's files in a list of paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// `config.json`.
    pub config: Option<usize>,
    /// `generation_config.json` beside it.
    pub generation: Option<usize>,
    /// `tokenizer.json` beside it.
    pub tokenizer: Option<usize>,
    /// `*.safetensors.index.json` beside it.
    pub index: Option<usize>,
    /// `*.safetensors` beside it.
    pub shards: Vec<usize>,
    /// A `*.gguf`, where there is no config.
    pub gguf: Option<usize>,
}

/// Finds a model's files: those in the folder of the config nearest to the top; else the only file, if it is JSON of any name;
/// else weights without a config, all of one folder.
#[must_use]
pub fn places(paths: &[&str]) -> Places {
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let folder = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let depth = |i: &usize| paths[*i].matches('/').count();
    let all = || 0..paths.len();
    let config = all().filter(|i| name(paths[*i]) == "config.json").min_by_key(depth);
    let gguf = all().filter(|i| name(paths[*i]).ends_with(".gguf")).min_by_key(depth);
    let only = || (paths.len() == 1 && paths[0].ends_with(".json")).then_some(0);
    let config = config.or_else(|| if gguf.is_some() { None } else { only() });
    let weights = || all().filter(|i| name(paths[*i]).ends_with(".safetensors")).min_by_key(depth);
    let Some(first) = config.or_else(|| if gguf.is_some() { None } else { weights() }) else {
        return Places { gguf, ..Places::default() };
    };
    let home = folder(paths[first]);
    let beside = |i: &usize| folder(paths[*i]) == home && Some(*i) != config;
    let named = |wanted: &str| all().filter(beside).find(|i| name(paths[*i]) == wanted);
    Places {
        config,
        generation: named("generation_config.json"),
        tokenizer: named("tokenizer.json"),
        index: all().filter(beside).find(|i| name(paths[*i]).ends_with(".safetensors.index.json")),
        shards: all().filter(beside).filter(|i| name(paths[*i]).ends_with(".safetensors")).collect(),
        gguf: None,
    }
}

/// Files that were given before and lack a config, with those that were given now: together they are a model. `None` where
/// there is nothing to join.
#[must_use]
pub fn joined(before: &[Picked], now: &[Picked]) -> Option<Vec<Picked>> {
    let found = |files: &[Picked]| places(&files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>());
    let (old, new) = (found(before), found(now));
    let is_config = new.config.is_some() && new.shards.is_empty();
    let first = old.shards.first().filter(|_| old.config.is_none() && is_config)?;
    let folder = before[*first].path.rsplit_once('/').map_or("", |(folder, _)| folder);
    // Wherever the config lay and whatever it was called, it is theirs now.
    let moved = |file: &Picked| {
        if now.len() == 1 && !PARTS.contains(&file.name()) {
            file.as_config(folder)
        } else {
            file.within(folder)
        }
    };
    Some(before.iter().cloned().chain(now.iter().map(moved)).collect())
}

/// What the config is called among files that were given.
#[must_use]
pub fn config_name(files: &[Picked]) -> Option<String> {
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    places(&paths).config.map(|config| files[config].name().to_owned())
}

/// Places of the files that a run of the model may read; none where there are no weights.
#[must_use]
pub fn model_files(paths: &[&str]) -> Vec<usize> {
    let Places { config, shards, gguf, .. } = places(paths);
    let Some(config) = config.filter(|_| !shards.is_empty()) else { return gguf.into_iter().collect() };
    let folder = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let home = folder(paths[config]);
    (0..paths.len()).filter(|i| folder(paths[*i]) == home).collect()
}

/// Places of the other parts of a split GGUF file that lie beside it.
fn other_parts(paths: &[&str], gguf: usize) -> Vec<usize> {
    let split = |path: &str| {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        (folder.to_owned(), name.to_owned())
    };
    let (folder, name) = split(paths[gguf]);
    let names = part_names(&name).unwrap_or_default();
    let is_part = |i: &usize| {
        let (within, name) = split(paths[*i]);
        *i != gguf && within == folder && names.contains(&name)
    };
    (0..paths.len()).filter(is_part).collect()
}

/// Names that tools give to every model's files.
const OF_ANY_MODEL: [&str; 3] = ["model", "consolidated", "pytorch_model"];

/// Name of a model by the paths of its files: their folder's, else that of its weights where it is not what every model's are
/// called; `None` where no path names it.
#[must_use]
pub fn name_of(paths: &[&str]) -> Option<String> {
    let folder = paths.first()?.rsplit_once('/').map_or("", |(folder, _)| folder);
    let folder = folder.rsplit('/').next().filter(|name| !name.is_empty());
    let is_own = |path: &&&str| {
        let is_weights = [".safetensors", ".gguf"].iter().any(|end| path.ends_with(end));
        let stem = path.split(['.', '-']).next().unwrap_or_default();
        is_weights && !OF_ANY_MODEL.contains(&stem)
    };
    folder.or_else(|| paths.iter().find(is_own).copied()).map(str::to_owned)
}

/// Name of a model that no path names: what its config calls it, else the file's where that says more than `config.json`,
/// else its kind and size.
fn name_in(config: &str, file: &str, weights: Option<&Weights>) -> String {
    let text_of =
        |map: &Value| map.get("_name_or_path").and_then(Value::as_str).map(|path| last_part(path).to_owned());
    let called = serde_json::from_str(config).ok().as_ref().and_then(text_of).filter(|name| !name.is_empty());
    if let Some(name) = called.or_else(|| (file != "config.json").then(|| file.to_owned())) {
        return name;
    }
    Decoder::parse(config.as_bytes()).map_or_else(
        |_| String::new(),
        |decoder| {
            let params = params_total(&decoder, weights.map(Weights::stored).as_ref());
            text::of_kind(decoder.family.model_types.first().copied().unwrap_or_default(), params)
        },
    )
}

/// What tells files of one name from others.
#[must_use]
pub fn print_of(picked: &[Picked]) -> String {
    picked.iter().map(Picked::print).collect::<Vec<_>>().join("\n")
}

/// Reads what was given.
///
/// # Errors
/// No config among it, a file that cannot be read, weights that are refused.
pub async fn read(picked: &[Picked]) -> Result<OwnFiles, Problem> {
    let paths: Vec<&str> = picked.iter().map(|p| p.path.as_str()).collect();
    let places = places(&paths);
    if let Some(gguf) = places.gguf {
        let others = other_parts(&paths, gguf);
        let files = std::iter::once(gguf).chain(others).map(|i| &picked[i]);
        return read_gguf(files.collect()).await;
    }
    let Some(config) = places.config else {
        if let Some(alone) = read_alone(picked, &places).await? {
            return Ok(alone);
        }
        // A name alone makes no pickle.
        let mut is_pickle = false;
        for file in picked.iter().filter(|file| PICKLES.iter().any(|end| file.path.ends_with(end))) {
            let head = file.head().await;
            is_pickle |= PICKLE_HEADS.iter().any(|begin| head.starts_with(begin));
        }
        return Err(text::problem::no_config(paths.len(), is_pickle));
    };
    let of_model = std::iter::once(config).chain(places.shards.iter().copied()).map(|i| paths[i]);
    let (named, file) = (name_of(&of_model.collect::<Vec<_>>()), picked[config].name());
    let generation = match places.generation {
        Some(index) => Some(read_text(&picked[index]).await?),
        None => None,
    };
    let config = read_text(&picked[config]).await?;
    let tokenizer_vocab = match places.tokenizer.map(|i| &picked[i]) {
        Some(file) if file.size() <= MAX_TOKENIZER_BYTES => tokenizer_vocab_size(&bytes(file).await?),
        _ => None,
    };
    let weights = read_weights(picked, &places, &config).await?;
    let name = named.unwrap_or_else(|| name_in(&config, file, weights.as_ref()));
    Ok(OwnFiles { name, config, generation, tokenizer_vocab, weights })
}

/// Reads weights without a config: a report on what their headers hold stands in the place of one on a config.
async fn read_alone(picked: &[Picked], places: &Places) -> Result<Option<OwnFiles>, Problem> {
    let Some(mut weights) = read_weights(picked, places, "").await? else { return Ok(None) };
    let odd = std::mem::take(&mut weights.findings);
    weights.findings = inspect::weights_alone(&weights.stored()).findings.into_iter().chain(odd).collect();
    let paths: Vec<&str> = places.shards.iter().map(|i| picked[*i].path.as_str()).collect();
    let first = || paths.first().copied().unwrap_or_default().to_owned();
    let name = name_of(&paths).unwrap_or_else(first);
    Ok(Some(OwnFiles { name, weights: Some(weights), ..OwnFiles::default() }))
}

/// Reads a GGUF file, the first of the list, with the other parts of its model.
async fn read_gguf(files: Vec<&Picked>) -> Result<OwnFiles, Problem> {
    let name = files.first().map_or("", |file| file.name()).to_owned();
    let files = files.into_iter().map(|file| (file.name().to_owned(), file.clone()));
    let opened = Checkpoint::from_gguf_parts(&name, files.collect()).await;
    let (config, checkpoint) = opened.map_err(|e| text::problem::weights(&e))?;
    let config = Value::Object(config).to_string();
    let weights = Some(headers(&checkpoint, &config));
    Ok(OwnFiles { name, config, weights, ..OwnFiles::default() })
}

async fn read_weights(picked: &[Picked], places: &Places, config: &str) -> Result<Option<Weights>, Problem> {
    if places.shards.is_empty() {
        return Ok(None);
    }
    let shards: Vec<_> =
        places.shards.iter().map(|i| (picked[*i].name().to_owned(), picked[*i].clone())).collect();
    let refused = |error: WeightsError| text::problem::weights(&error);
    let checkpoint = match places.index.map(|i| &picked[i]) {
        Some(file) => {
            let index = ShardIndex::parse(file.name(), &bytes(file).await?).map_err(refused)?;
            Checkpoint::from_shards(&index, shards).await
        }
        None => Checkpoint::from_safetensors(shards).await,
    };
    Ok(Some(headers(&checkpoint.map_err(refused)?, config)))
}

/// What the headers say, held against the config where that is understood.
fn headers(checkpoint: &Checkpoint<Picked>, config: &str) -> Weights {
    let (files, bytes) = (checkpoint.file_names().count(), checkpoint.stored_bytes());
    let Ok(decoder) = Decoder::parse(config.as_bytes()) else {
        let mut weights = Weights::new(checkpoint.tensors(), files, bytes);
        weights.findings = checkpoint.findings().iter().map(Finding::from).collect();
        return weights;
    };
    let mut weights = Weights::new(&checkpoint.language_model(&decoder), files, bytes);
    weights.findings = checkpoint.findings_of(&decoder).iter().map(Finding::from).collect();
    let lines = checkpoint.named_differences(&decoder);
    if !lines.is_empty() {
        weights.findings.push(Finding::new("tensors_differ", Severity::Error, lines.join("; ")));
    }
    weights.contradiction = checkpoint.contradiction(&decoder);
    weights.other_parts = checkpoint.other_parts(&decoder);
    weights
}

async fn bytes(file: &Picked) -> Result<Vec<u8>, Problem> {
    file.read().await.map_err(|why| text::problem::unreadable(&file.path, why))
}

async fn read_text(file: &Picked) -> Result<String, Problem> {
    let limit = MAX_CONFIG_BYTES;
    // What was pasted lies in no folder.
    let path = file.path.trim_start_matches('/');
    if file.size() > limit {
        return Err(Problem::config(path, &ConfigError::TooLarge { bytes: file.size(), limit }));
    }
    // Bytes that are no text are no JSON either, and the parser says where.
    let text = String::from_utf8_lossy(&bytes(file).await?).into_owned();
    if text.is_empty() { Err(Problem::config(path, &ConfigError::Empty)) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::config::PRESETS;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn the_config_nearest_to_the_top_is_chosen_and_its_folder_with_it() {
        let found = places(&[
            "m/sub/config.json",
            "m/generation_config.json",
            "m/config.json",
            "m/model-00001-of-00002.safetensors",
            "m/model.safetensors.index.json",
            "m/sub/model.safetensors",
            "m/tokenizer.json",
        ]);
        let wanted = Places {
            config: Some(2),
            generation: Some(1),
            tokenizer: Some(6),
            index: Some(4),
            shards: vec![3],
            gguf: None,
        };
        assert_eq!(found, wanted);
        let config = |paths: &[&str]| places(paths).config;
        assert_eq!(config(&["m/config.json", "m/sub/generation_config.json"]), Some(0));
        assert_eq!(config(&["phi-4.json"]), Some(0));
        assert_eq!(config(&["a.json", "b.json"]), None);
        assert_eq!(config(&[]), None);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn weights_without_a_config_are_those_of_one_folder() {
        let shards = |paths: &[&str]| places(paths).shards;
        assert_eq!(shards(&["model.safetensors"]), [0]);
        let paths = ["m/sub/x.safetensors", "m/b.safetensors", "m/a.safetensors", "m/tokenizer.json"];
        assert_eq!(shards(&paths), [1, 2]);
        assert_eq!((places(&paths).config, places(&paths).tokenizer), (None, Some(3)));
        // A run needs more than weights.
        assert_eq!(model_files(&paths), [0; 0]);
        let with_gguf = places(&["a.gguf", "model.safetensors"]);
        assert_eq!((with_gguf.gguf, with_gguf.shards.len()), (Some(0), 0));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_run_gets_the_files_of_one_folder_and_none_without_weights() {
        let paths =
            ["m/config.json", "m/model.safetensors", "m/sub/model.safetensors", "m/tokenizer_config.json"];
        assert_eq!(model_files(&paths), [0, 1, 3]);
        assert_eq!(model_files(&["m/config.json", "m/tokenizer.json"]), [0; 0]);
        assert_eq!(model_files(&["a.gguf"]), [0]);
        let name = |paths: &[&str]| name_of(paths).unwrap_or_default();
        assert_eq!(name(&["home/m/config.json", "home/m/mine.safetensors"]), "m");
        assert_eq!(name(&["a.gguf"]), "a.gguf");
        assert_eq!(name(&["config.json", "mine.safetensors"]), "mine.safetensors");
        assert_eq!(name(&["config.json", "model-00001-of-00002.safetensors"]), "");
        assert_eq!(name(&["/config.json", "model.safetensors"]), "");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_model_that_no_path_names_has_its_configs_name_or_its_kind_and_size() {
        let of =
            |name: &str| PRESETS.iter().find(|preset| preset.name.contains(name)).map(|preset| preset.config);
        let (mini, small) = (of("phi-3-mini-4k").unwrap_or_default(), of("phi-4-mini").unwrap_or_default());
        let nameless = |config: &str| {
            let mut config: Value = serde_json::from_str(config).unwrap();
            config.as_object_mut().unwrap().remove("_name_or_path");
            config.to_string()
        };
        let name = |config: &str| name_in(config, "config.json", None);
        assert_eq!(name(&nameless(mini)), "phi3, 3.82 B");
        assert_ne!(name(&nameless(mini)), name(&nameless(small)));
        assert_eq!(name(r#"{"model_type":"phi3","_name_or_path":"a/b"}"#), "b");
        assert_eq!(name_in(&nameless(mini), "mine.json", None), "mine.json");
        assert_eq!(name("{"), "");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_gguf_stands_for_itself() {
        assert_eq!(places(&["a.gguf"]).gguf, Some(0));
        assert_eq!(places(&["m/config.json", "m/a.gguf"]).gguf, None);
        assert_eq!(places(&["phi (1).json"]).config, Some(0));
        for other in ["pytorch_model.bin", "picture.png"] {
            assert_eq!(places(&[other]), Places::default());
        }
        let parts =
            ["m/a-00001-of-00002.gguf", "m/b.gguf", "a-00002-of-00002.gguf", "m/a-00002-of-00002.gguf"];
        assert_eq!(other_parts(&parts, 0), [3]);
        assert_eq!(other_parts(&parts, 1), [0; 0]);
    }
}
