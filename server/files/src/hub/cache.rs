//! Hugging Face's cache on disk: `models--ORG--NAME/{blobs,refs,snapshots}`. Read, never copied.

use std::path::{Path, PathBuf};

use super::name::is_commit;
use super::{HubError, HubRef, HubSettings};
use crate::read_small;

/// A reference file holds one commit.
const MAX_REF_BYTES: u64 = 256;

/// Most files of a snapshot whose links are looked at.
const MAX_FILES: usize = 10_000;

/// A snapshot in the cache: one commit's files, all or some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where its files lie, or the links to them.
    pub directory: PathBuf,
    /// The commit.
    pub commit: String,
}

impl HubSettings {
    /// The folder of a repository in the cache.
    #[must_use]
    pub fn repo_folder(&self, repo: &str) -> PathBuf {
        // Checked names hold no `--` and no part that leads elsewhere.
        self.cache.join(format!("models--{}", repo.replace('/', "--")))
    }

    /// The snapshot of a revision, as far as it is in the cache.
    ///
    /// # Errors
    /// A link in it that leads out of the cache.
    pub fn snapshot(&self, hub: &HubRef) -> Result<Option<Snapshot>, HubError> {
        let folder = self.repo_folder(hub.repo());
        let commit = match hub.revision() {
            commit if is_commit(commit) => commit.to_owned(),
            revision => {
                // A checked revision has no part that leads elsewhere.
                let Ok(text) = read_small(&folder.join("refs").join(revision), MAX_REF_BYTES) else {
                    return Ok(None);
                };
                String::from_utf8_lossy(&text).trim().to_owned()
            }
        };
        if !is_commit(&commit) {
            return Ok(None);
        }
        let directory = folder.join("snapshots").join(&commit);
        if !directory.is_dir() {
            return Ok(None);
        }
        check_links(&self.cache, &directory)?;
        Ok(Some(Snapshot { directory, commit }))
    }
}

/// The commit of the snapshot that a file or folder of a cache is in.
#[must_use]
pub fn commit_of(path: &Path) -> Option<String> {
    // What is linked from a snapshot lies elsewhere itself.
    path.ancestors().find_map(of_directory).map(|(_, commit)| commit)
}

/// Repository and commit of a directory that is a snapshot in a cache, by the names above it.
#[must_use]
pub(crate) fn of_directory(directory: &Path) -> Option<(String, String)> {
    let directory = directory.canonicalize().ok()?;
    let commit = directory.file_name()?.to_str().filter(|name| is_commit(name))?;
    let snapshots =
        directory.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "snapshots"))?;
    let folder = snapshots.parent()?.file_name()?.to_str()?.strip_prefix("models--")?;
    let repo = HubRef::parse_id(&folder.replacen("--", "/", 1)).ok()?.repo().to_owned();
    Some((repo, commit.to_owned()))
}

/// Links of a snapshot end at blobs of the same cache; one that leads out of it was not made by a download.
fn check_links(cache: &Path, directory: &Path) -> Result<(), HubError> {
    let Ok(root) = cache.canonicalize() else { return Ok(()) };
    let mut folders = vec![directory.to_owned()];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().into_iter().flatten().flatten() {
            looked_at += 1;
            let path = entry.path();
            // A broken link is told when the file is opened.
            let outside = path.canonicalize().is_ok_and(|target| !target.starts_with(&root));
            if outside || looked_at > MAX_FILES {
                return Err(HubError::OutsideCache { path, cache: cache.to_owned() });
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";

    fn settings(cache: &Path) -> HubSettings {
        let cache = cache.to_str().expect("UTF-8").to_owned();
        HubSettings::from_vars(|name| (name == "HF_HUB_CACHE").then(|| cache.clone())).expect("settings")
    }

    fn hub(text: &str) -> HubRef {
        HubRef::parse_id(text).expect("a name")
    }

    #[test]
    fn references_lead_to_snapshots() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let settings = settings(dir.path());
        let folder = settings.repo_folder("a/b");
        assert!(folder.ends_with("models--a--b"));
        assert!(settings.repo_folder("gpt2").ends_with("models--gpt2"));
        assert_eq!(settings.snapshot(&hub("a/b")), Ok(None));
        std::fs::create_dir_all(folder.join("refs/refs/pr")).expect("made");
        std::fs::write(folder.join("refs/main"), COMMIT).expect("written");
        std::fs::write(folder.join("refs/refs/pr/1"), format!("{COMMIT}\n")).expect("written");
        std::fs::write(folder.join("refs/bad"), "../../..").expect("written");
        assert_eq!(settings.snapshot(&hub("a/b")), Ok(None), "no snapshot yet");
        let directory = folder.join("snapshots").join(COMMIT);
        std::fs::create_dir_all(&directory).expect("made");
        let found = Ok(Some(Snapshot { directory: directory.clone(), commit: COMMIT.to_owned() }));
        for text in ["a/b", "a/b@main", "a/b@refs/pr/1", &format!("a/b@{COMMIT}")] {
            assert_eq!(settings.snapshot(&hub(text)), found, "{text}");
        }
        assert_eq!(settings.snapshot(&hub("a/b@bad")), Ok(None));
        assert_eq!(settings.snapshot(&hub("a/b@other")), Ok(None));
        assert_eq!(of_directory(&directory), Some(("a/b".to_owned(), COMMIT.to_owned())));
        assert_eq!(of_directory(dir.path()), None);
    }

    #[test]
    fn a_link_out_of_the_cache_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let settings = settings(&dir.path().join("cache"));
        let folder = settings.repo_folder("a/b");
        let snapshot = folder.join("snapshots").join(COMMIT);
        std::fs::create_dir_all(&snapshot).expect("made");
        std::fs::create_dir_all(folder.join("blobs")).expect("made");
        std::fs::write(folder.join("blobs/x"), "{}").expect("written");
        std::os::unix::fs::symlink("../../blobs/x", snapshot.join("config.json")).expect("linked");
        std::os::unix::fs::symlink("../../blobs/gone", snapshot.join("broken")).expect("linked");
        let asked = hub(&format!("a/b@{COMMIT}"));
        assert!(settings.snapshot(&asked).expect("good links").is_some());
        std::fs::write(dir.path().join("secret"), "{}").expect("written");
        std::os::unix::fs::symlink(dir.path().join("secret"), snapshot.join("tokenizer.json"))
            .expect("linked");
        assert_eq!(settings.snapshot(&asked).expect_err("leads out").code(), "unsafe_path");
    }
}
