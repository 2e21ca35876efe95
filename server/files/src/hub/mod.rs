//! The Hugging Face Hub: names as data, its cache, its files read over HTTP without downloading
//! them, and downloads into the cache.
//!
//! Own code over one small HTTP client: `hf-hub` follows every redirect, knows no `HF_HUB_OFFLINE`, joins file names
//! to paths unchecked and brings its storage protocol along.

mod error;
mod endpoint;
mod settings;
mod name;
mod cache;
mod client;
mod file;
mod remote;
mod download;

pub(crate) use cache::of_directory;
pub use cache::{Snapshot, commit_of};
pub use download::DownloadProgress;
pub use endpoint::Endpoint;
pub use error::HubError;
pub use file::HubFile;
pub use name::HubRef;
pub use remote::{BlobId, RemoteEntry, RemoteRepo};
pub use settings::{HubSettings, Token};
