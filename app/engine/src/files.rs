//! A model's files: fetched from beside the page, chosen by a person, or made up.

use std::io;

use phi3::api::ErrorObject;
use phi3::weights::safetensors::{INDEX_FILE, SINGLE_FILE};
use phi3::weights::synthetic::SyntheticFile;
use phi3::weights::{BytesSource, Checkpoint, ShardIndex, WeightSource, WeightsError};
use web_sys::File;

use crate::scope;

/// Largest of the files that are read whole; a tokenizer is the largest of them.
const MAX_WHOLE_BYTES: u64 = 64 << 20;
/// What is asked of a weight file at first: all of a small one.
const FIRST_BYTES: u64 = 8 << 20;

/// A weight file.
pub(super) enum Weights {
    /// In memory: it is small, or its host knows no ranges.
    Whole(Vec<u8>),
    /// Read by ranges.
    Remote { url: String, len: u64 },
    /// Read by slices.
    Chosen(File),
    /// Made up as it is read.
    MadeUp(SyntheticFile),
}

impl WeightSource for Weights {
    fn len(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Remote { len, .. } => *len,
            Self::Chosen(file) => file.size() as u64,
            Self::MadeUp(file) => file.len(),
        }
    }

    async fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Whole(bytes) => BytesSource(bytes.as_slice()).read_into(offset, buffer).await,
            Self::MadeUp(file) => file.read_into(offset, buffer).await,
            Self::Chosen(file) => scope::slice(file, offset, buffer).await.map_err(io::Error::other),
            Self::Remote { url, .. } => {
                let range = (offset, offset + buffer.len() as u64);
                let found = scope::fetched(url, Some(range)).await.map_err(io::Error::other)?;
                if found.bytes.len() != buffer.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                buffer.copy_from_slice(&found.bytes);
                Ok(())
            }
        }
    }
}

/// The files of one model.
pub(super) enum Files {
    /// Below an address.
    Below(String),
    /// Those that were chosen, now or when this browser was asked to keep them.
    Chosen(Vec<File>),
}

impl Files {
    /// A file that is read whole; `None` where it is not there.
    pub(super) async fn companion(&self, name: &str) -> Result<Option<Vec<u8>>, ErrorObject> {
        let refused = |why: String| ErrorObject::new("io_error", format!("{name}: {why}")).at(name);
        match self {
            Self::Below(base) => match scope::fetched(&format!("{base}/{name}"), None).await {
                Ok(found) => Ok(Some(found.bytes)),
                // A host tells what is absent by 404, and some by 403.
                Err(why) if ["HTTP 404", "HTTP 403"].contains(&why.as_str()) => Ok(None),
                Err(why) => Err(refused(why)),
            },
            Self::Chosen(files) => {
                let Some(file) = files.iter().find(|file| file.name() == name) else { return Ok(None) };
                if file.size() as u64 > MAX_WHOLE_BYTES {
                    return Err(refused(format!(
                        "{} bytes, more than the {MAX_WHOLE_BYTES} that are read whole",
                        file.size()
                    )));
                }
                let mut bytes = vec![0; file.size() as usize];
                scope::slice(file, 0, &mut bytes).await.map_err(refused)?;
                Ok(Some(bytes))
            }
        }
    }

    /// The same where it must be there.
    pub(super) async fn needed(&self, name: &str) -> Result<Vec<u8>, ErrorObject> {
        let absent = || {
            let message = match self {
                Self::Below(base) => format!("{name} is not at {base}"),
                Self::Chosen(files) if files.iter().any(|file| file.name().ends_with(".gguf")) => {
                    "GGUF does not run in a tab: `preflight convert FILE.gguf FOLDER` makes a folder that does".to_owned()
                }
                Self::Chosen(_) => {
                    format!("{name} is not among the files that were chosen: choose the model's whole folder")
                }
            };
            ErrorObject::new("not_found", message).at(name)
        };
        self.companion(name).await?.ok_or_else(absent)
    }

    /// The weights: one safetensors file, or those of an index.
    pub(super) async fn checkpoint(&self) -> Result<Checkpoint<Weights>, ErrorObject> {
        match self {
            Self::Below(base) => {
                // An index is asked for only where there is no single file: most hosts note a 404 on the console.
                let one = remote(base, SINGLE_FILE).await;
                if let Ok(file) = one {
                    let files = vec![(SINGLE_FILE.to_owned(), file)];
                    return Checkpoint::from_safetensors(files).await.map_err(|error| refused(&error));
                }
                let Some(index) = self.companion(INDEX_FILE).await? else {
                    let why = one.err().unwrap_or_default();
                    return Err(ErrorObject::new("io_error", format!("{SINGLE_FILE}: {why}")).at(SINGLE_FILE));
                };
                let index = ShardIndex::parse(INDEX_FILE, &index).map_err(|error| refused(&error))?;
                let mut files = Vec::new();
                for name in index.shards() {
                    let failed =
                        |why| ErrorObject::new("io_error", format!("{name}: {why}")).at(name.clone());
                    files.push((name.clone(), remote(base, &name).await.map_err(failed)?));
                }
                Checkpoint::from_shards(&index, files).await.map_err(|error| refused(&error))
            }
            Self::Chosen(files) => {
                let index = files.iter().find(|file| file.name().ends_with(".safetensors.index.json"));
                let weights = files.iter().filter(|file| file.name().ends_with(".safetensors"));
                let weights: Vec<_> =
                    weights.map(|file| (file.name(), Weights::Chosen(file.clone()))).collect();
                if weights.is_empty() {
                    let message = "no *.safetensors is among the files that were chosen: choose the model's whole folder";
                    return Err(ErrorObject::new("not_found", message));
                }
                let checkpoint = match index {
                    None => Checkpoint::from_safetensors(weights).await,
                    Some(file) => {
                        let name = file.name();
                        let json = self.needed(&name).await?;
                        let index = ShardIndex::parse(&name, &json).map_err(|error| refused(&error))?;
                        Checkpoint::from_shards(&index, weights).await
                    }
                };
                checkpoint.map_err(|error| refused(&error))
            }
        }
    }
}

/// A file below an address: by ranges where the host knows them.
async fn remote(base: &str, name: &str) -> Result<Weights, String> {
    let url = format!("{base}/{name}");
    let found = scope::fetched(&url, Some((0, FIRST_BYTES))).await?;
    Ok(match found.whole_len {
        Some(len) if len > found.bytes.len() as u64 => Weights::Remote { url, len },
        _ => Weights::Whole(found.bytes),
    })
}

/// The error object of a file of weights that is refused.
pub(super) fn refused(error: &WeightsError) -> ErrorObject {
    ErrorObject::new(error.code(), error.to_string()).at(&error.file)
}
