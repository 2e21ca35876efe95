//! The files beside a config, in a directory or on the Hub.

use std::path::{Path, PathBuf};

use crate::FilesError;
use crate::hub::{HubRef, RemoteRepo, of_directory};
use crate::small_file::read_optional;

/// Largest tokenizer, chat template or card that is read; real ones have up to 33 MB.
const MAX_COMPANION_BYTES: u64 = 64 << 20;

/// Most files of a directory that are listed; a model has a few dozen.
const MAX_LISTED: usize = 10_000;

/// Where the files beside a config are.
#[derive(Debug)]
pub enum Companions {
    /// There are none: a preset, a pasted config, a GGUF file.
    None,
    /// On this machine.
    Directory(PathBuf),
    /// On the Hub, in a folder of the repository; its root is the empty text, others end with `/`.
    Hub(Box<RemoteRepo>, String),
}

/// A file beside a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Its plain name.
    pub name: String,
    /// Its length; the Hub's list may not tell it.
    pub bytes: Option<u64>,
}

impl Companions {
    /// A small file; `None` where there is none.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FilesError> {
        match self {
            Self::None => Ok(None),
            Self::Directory(directory) => read_optional(&directory.join(name), MAX_COMPANION_BYTES),
            Self::Hub(repo, folder) => Ok(repo.small_file(&format!("{folder}{name}"), MAX_COMPANION_BYTES)?),
        }
    }

    /// The files of the folder, by name; those of folders in it are left out.
    #[must_use]
    pub fn list(&self) -> Vec<ListedFile> {
        let mut files: Vec<ListedFile> = match self {
            Self::None => Vec::new(),
            Self::Directory(directory) => {
                let entries = directory.read_dir().into_iter().flatten().flatten().take(MAX_LISTED);
                let listed = entries.filter_map(|entry| {
                    // Behind a broken link there is no file.
                    let metadata = entry.path().metadata().ok().filter(std::fs::Metadata::is_file)?;
                    Some(ListedFile {
                        name: entry.file_name().into_string().ok()?,
                        bytes: Some(metadata.len()),
                    })
                });
                listed.collect()
            }
            Self::Hub(repo, folder) => {
                let here = repo.files.iter().filter_map(|entry| {
                    let name = entry.path.strip_prefix(folder.as_str()).filter(|name| !name.contains('/'))?;
                    Some(ListedFile { name: name.to_owned(), bytes: entry.bytes })
                });
                here.collect()
            }
        };
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }

    /// The directory, if they lie on this machine.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(directory) => Some(directory),
            Self::None | Self::Hub(..) => None,
        }
    }

    /// The repository, if they are read from the Hub.
    #[must_use]
    pub fn remote(&self) -> Option<&RemoteRepo> {
        match self {
            Self::Hub(repo, _) => Some(repo),
            Self::None | Self::Directory(_) => None,
        }
    }

    /// Name and commit of the repository that they are from, where that is known: on the Hub, or in its cache.
    #[must_use]
    pub fn origin(&self) -> Option<(String, String)> {
        match self {
            Self::None => None,
            Self::Directory(directory) => of_directory(directory),
            Self::Hub(repo, _) => Some((repo.repo.clone(), repo.commit.clone())),
        }
    }

    /// The branch, tag or commit that was asked for, if they are read from the Hub.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.remote().map(RemoteRepo::asked).map(HubRef::revision)
    }
}
