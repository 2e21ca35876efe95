//! Where models may lie: under the model roots, and the default.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use phi3::api::{ErrorObject, ModelSource};
use preflight_files::hub::HubSettings;

/// Id of the served default model.
pub const DEFAULT_ID: &str = "default";

/// Where the default model lies under a model root, if nothing else is said.
const DEFAULT_DIRECTORY: &str = "smollm2-135m-phi3";

/// Most folders of a root that are listed.
const MOST: usize = 1000;

/// The folders of a server.
#[derive(Debug, Default)]
pub struct Folders {
    roots: Vec<PathBuf>,
    default: Option<PathBuf>,
    /// Where models of the Hub lie: as it is named, and with links resolved.
    hub_caches: Vec<PathBuf>,
}

/// A model that lies where models may lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its id: `default`, or the folder's name.
    pub id: String,
    /// Its path below its root.
    pub shown: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Found {
    /// What a row of it is registered from.
    pub(super) fn source(&self) -> ModelSource {
        ModelSource::Path(self.shown.clone())
    }
}

impl Folders {
    /// Roots and default, made absolute with links resolved.
    ///
    /// # Errors
    /// A root or default that is not there, or a root that is no folder or cannot be read.
    pub fn new(roots: &[PathBuf], default: Option<&Path>) -> Result<Self, ErrorObject> {
        let resolve = |flag: &str, path: &Path| {
            path.canonicalize().map_err(|error| {
                let path = path.display().to_string();
                let why = if error.kind() == ErrorKind::NotFound {
                    "no such file or directory".to_owned()
                } else {
                    error.to_string()
                };
                ErrorObject::new("not_found", format!("{flag} {path}: {why}")).at(path)
            })
        };
        let roots = roots.iter().map(|root| resolve("--model-root", root)).collect::<Result<Vec<_>, _>>()?;
        for root in &roots {
            root.read_dir().map_err(|error| {
                let root = root.display().to_string();
                ErrorObject::new("not_found", format!("--model-root {root}: {error}")).at(root)
            })?;
        }
        let default = match default {
            Some(path) => Some(resolve("--default-model", path)?),
            None => default_model(&roots),
        };
        let hub_cache = HubSettings::from_env().ok().map(|settings| settings.cache);
        let resolved = hub_cache.as_deref().and_then(|cache| cache.canonicalize().ok());
        Ok(Self { roots, default, hub_caches: hub_cache.into_iter().chain(resolved).collect() })
    }

    /// The path of a path in a request, which must lie under a root once links are resolved.
    ///
    /// # Errors
    /// Outside of every root (whether it exists is not told), or absent under one.
    pub fn allowed(&self, path: &str) -> Result<PathBuf, ErrorObject> {
        let outside = || {
            let message = "a path must lie under a --model-root of the server";
            ErrorObject::new("path_outside_roots", message).at("source.path")
        };
        if path.contains('\0') {
            return Err(outside());
        }
        let asked = Path::new(path);
        let candidates: Vec<PathBuf> = match asked.is_absolute() {
            true => vec![asked.to_owned()],
            false => self.roots.iter().map(|root| root.join(asked)).collect(),
        };
        let found = candidates.iter().find_map(|path| path.canonicalize().ok());
        match found {
            Some(found) if self.holds(&found) => match leads_out(&found, |path| self.holds(path)) {
                Some(link) => Err(self.linked_out(&link).at("source.path")),
                None => Ok(found),
            },
            Some(_) => Err(outside()),
            None if asked.is_relative() && !self.roots.is_empty() && !path.contains("..") => {
                let message = format!("{path}: not found under any --model-root");
                Err(ErrorObject::new("not_found", message).at("source.path"))
            }
            None => Err(outside()),
        }
    }

    /// An error as a client may see it: paths below their root, where a message names one.
    #[must_use]
    pub fn told(&self, error: ErrorObject) -> ErrorObject {
        let path = error.path.map(|path| self.told_text(&path));
        ErrorObject { message: self.told_text(&error.message), path, ..error }
    }

    /// A text with the paths of this machine in it cut to what lies below a root, or in the Hub's cache.
    #[must_use]
    pub fn told_text(&self, text: &str) -> String {
        let above_default = self.default.as_deref().and_then(Path::parent);
        let above = self.roots.iter().map(PathBuf::as_path).chain(above_default);
        let above = above.map(|root| (root, "the model root"));
        let caches = self.hub_caches.iter().map(|cache| (cache.as_path(), "the Hub's cache"));
        let named = above.chain(caches).filter(|(root, _)| root.file_name().is_some());
        named.fold(text.to_owned(), |text, (root, name)| {
            let root = root.display().to_string();
            text.replace(&format!("{root}/"), "").replace(&root, name)
        })
    }

    fn holds(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(root))
    }

    /// The folder of a model that is named by its id, as [`Folders::allowed`] holds paths: no file of it is a link
    /// that leads out of the roots. What the server was started with may lie anywhere, with links that stay within
    /// it, or within its repository in the Hub's cache.
    ///
    /// # Errors
    /// `path_outside_roots`
    pub fn enclosed(&self, path: &Path) -> Result<PathBuf, ErrorObject> {
        let snapshots =
            path.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "snapshots"));
        let own = snapshots.and_then(Path::parent).unwrap_or(path).canonicalize();
        let is_default = self.default.as_deref() == Some(path);
        let holds = |found: &Path| {
            self.holds(found) || (is_default && own.as_ref().is_ok_and(|own| found.starts_with(own)))
        };
        match leads_out(path, holds) {
            Some(link) => Err(self.linked_out(&link)),
            None => Ok(path.to_owned()),
        }
    }

    fn linked_out(&self, link: &Path) -> ErrorObject {
        let message = format!(
            "{} is a link that leads out of the model roots: put the file itself there",
            self.shown(link)
        );
        ErrorObject::new("path_outside_roots", message)
    }

    /// The directory of the default model.
    ///
    /// # Errors
    /// There is none.
    pub fn default_model(&self) -> Result<&Path, ErrorObject> {
        let message = "this server has no default model; start it with --default-model DIR";
        self.default.as_deref().ok_or_else(|| ErrorObject::new("no_such_model", message))
    }

    /// Whether a folder is that of the default model.
    #[must_use]
    pub fn is_default(&self, path: &Path) -> bool {
        self.default.is_some() && path.canonicalize().ok() == self.default
    }

    /// The models that are found: the default first, then the folders of the roots that hold a config, by name.
    #[must_use]
    pub fn found(&self) -> Vec<Found> {
        let mut listed: Vec<Found> = Vec::new();
        if let Some(path) = &self.default {
            listed.push(Found { id: DEFAULT_ID.to_owned(), shown: self.shown(path), path: path.clone() });
        }
        for root in &self.roots {
            let entries = match root.read_dir() {
                Ok(entries) => entries.take(MOST).filter_map(Result::ok),
                Err(error) => {
                    // It could when the server started: what lies elsewhere is still told.
                    tracing::warn!(root = %root.display(), %error, "a model root cannot be read");
                    continue;
                }
            };
            // A link that leads out of the roots is not followed.
            let inside = |path: &PathBuf| path.canonicalize().is_ok_and(|path| self.holds(&path));
            let mut folders: Vec<_> = entries
                .map(|entry| entry.path())
                .filter(|path| path.join("config.json").is_file() && inside(path))
                .collect();
            folders.sort();
            for path in folders {
                let id = file_name(&path);
                // The first of two folders of one name is meant.
                if !listed.iter().any(|found| found.id == id) && id != DEFAULT_ID {
                    listed.push(Found { id, shown: self.shown(&path), path });
                }
            }
        }
        listed
    }

    /// A path below its root: clients are told no more of this machine.
    #[must_use]
    pub fn shown(&self, path: &Path) -> String {
        let below = self.roots.iter().find_map(|root| path.strip_prefix(root).ok());
        below.map_or_else(|| file_name(path), |below| below.display().to_string())
    }
}

/// The default model where none is named: a folder of its name under a root.
#[must_use]
pub fn default_model(roots: &[PathBuf]) -> Option<PathBuf> {
    roots.iter().map(|root| root.join(DEFAULT_DIRECTORY)).find(|path| path.is_dir())
}

/// An entry of a folder, or one beside a file, that is a link to what `holds` does not hold: opening the model would
/// follow it.
fn leads_out(path: &Path, holds: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let entries = folder.and_then(|folder| folder.read_dir().ok()).into_iter().flatten();
    let mut links = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_symlink());
    // A link to nowhere is told as such when it is opened.
    links.find(|link| link.canonicalize().is_ok_and(|found| !holds(&found)))
}

/// The last part of a path.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> (tempfile::TempDir, Folders) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for model in ["root/b", "root/a", "outside"] {
            std::fs::create_dir_all(dir.path().join(model)).expect("made");
            std::fs::write(dir.path().join(model).join("config.json"), "{}").expect("written");
        }
        std::os::unix::fs::symlink(dir.path().join("outside"), dir.path().join("root/link")).expect("linked");
        let models = Folders::new(&[dir.path().join("root")], None).expect("the root exists");
        (dir, models)
    }

    #[test]
    fn what_clients_are_told_starts_below_the_root() {
        let (dir, folders) = roots();
        let root = dir.path().join("root").canonicalize().expect("there");
        let message = format!("{0}/a/config.json: bad; see {0}", root.display());
        let error = ErrorObject::new("c", message).at(root.join("a").display().to_string());
        let told = folders.told(error);
        assert_eq!(told.message, "a/config.json: bad; see the model root");
        assert_eq!(told.path.as_deref(), Some("a"));
        let everything = Folders::new(&[PathBuf::from("/")], None).expect("it exists");
        assert_eq!(everything.told_text("/etc/x: 1/2"), "/etc/x: 1/2");
    }

    #[test]
    fn no_path_leads_out_of_the_roots() {
        let (dir, models) = roots();
        let outside = dir.path().join("outside");
        assert!(models.allowed("a").is_ok());
        assert!(models.allowed("a/config.json").is_ok());
        assert!(models.allowed(&dir.path().join("root/a").display().to_string()).is_ok());
        for path in [
            "../outside",
            "a/../../outside",
            "link",
            "link/config.json",
            "/etc/passwd",
            "/no/such/file",
            "../no-such",
            "a\0",
            &outside.display().to_string(),
        ] {
            let error = models.allowed(path).expect_err(path);
            assert_eq!(error.code, "path_outside_roots", "{path}");
        }
        assert_eq!(models.allowed("c").expect_err("absent").code, "not_found");
        let none = Folders::default().allowed("a").expect_err("no roots");
        assert_eq!(none.code, "path_outside_roots");
    }

    #[test]
    fn models_are_found_by_name() {
        let (dir, models) = roots();
        let ids: Vec<_> = models.found().into_iter().map(|found| found.id).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(models.default_model().expect_err("none").code, "no_such_model");
        let default = dir.path().join("outside");
        let models = Folders::new(&[], Some(&default)).expect("it exists");
        assert!(models.default_model().is_ok());
        let file = dir.path().join("root/a/generation_config.json");
        std::os::unix::fs::symlink(dir.path().join("outside/config.json"), &file).expect("linked");
        let linked = Folders::new(&[dir.path().join("root")], None).expect("it exists");
        let found = linked.found().into_iter().find(|found| found.id == "a").expect("found");
        assert_eq!(linked.enclosed(&found.path).expect_err("a link out").code, "path_outside_roots");
        assert!(models.enclosed(models.default_model().expect("there")).is_ok());
        assert_eq!(models.found()[0].shown, "outside");
        let no_folder = dir.path().join("root/b/config.json");
        let refused = Folders::new(&[no_folder], None).expect_err("no folder");
        assert!(refused.code == "not_found" && refused.message.starts_with("--model-root"), "{refused}");
    }
}
