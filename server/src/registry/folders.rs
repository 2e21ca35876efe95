//! Where models may lie: under the model roots, and the default.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use phi3::api::{ErrorObject, ModelSource};
use preflight_files::hub::HubSettings;

use super::RESERVED;

/// Id of the served default model.
pub const DEFAULT_ID: &str = "default";

/// Where the default model lies under a model root, if nothing else is said.
const DEFAULT_DIRECTORY: &str = "smollm2-135m-phi3";

/// Most folders of a root that are listed.
const MOST: usize = 1000;

/// The folders of a server.
#[derive(Debug, Default)]
pub struct Folders {
    roots: Vec<Root>,
    default: Option<PathBuf>,
    /// Where models of the Hub lie: as it is named, and with links resolved.
    hub_caches: Vec<PathBuf>,
}

/// A folder that models lie under.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// The end of its path that no other root ends in: where there are several, what lies below is named behind it, so
    /// that two folders of one name are never taken for each other, whatever comes and in whichever order they are given.
    name: PathBuf,
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
        let hub_caches = hub_cache.into_iter().chain(resolved).collect();
        Ok(Self { roots: named(roots), default, hub_caches })
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
        let found = match asked.is_absolute() {
            true => asked.canonicalize().ok(),
            false => self.below(asked)?,
        };
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

    /// What a relative path means: behind the name of a root what lies there, else the one that lies under any.
    fn below(&self, asked: &Path) -> Result<Option<PathBuf>, ErrorObject> {
        let there = |path: PathBuf| path.canonicalize().ok();
        let rest = |root: &Root| Some(root.path.join(asked.strip_prefix(&root.name).ok()?));
        let behind: BTreeSet<PathBuf> = self.roots.iter().filter_map(rest).filter_map(there).collect();
        let under: BTreeSet<PathBuf> =
            self.roots.iter().map(|root| root.path.join(asked)).filter_map(there).collect();
        // Of one root the name needs not be told, and is not.
        let found =
            if behind.is_empty() || (self.roots.len() == 1 && !under.is_empty()) { under } else { behind };
        let held: Vec<&PathBuf> = found.iter().filter(|path| self.holds(path)).collect();
        if held.len() > 1 {
            let names: Vec<_> = held.iter().map(|path| self.shown(path)).collect();
            let (asked, names) = (asked.display(), names.join(", "));
            let message = format!("{asked} lies under more than one --model-root: name one: {names}");
            return Err(ErrorObject::new("path_ambiguous", message).at("source.path"));
        }
        Ok(held.first().copied().or(found.first()).cloned())
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
        let roots = self.roots.iter().map(|root| (root.path.as_path(), self.prefix(root), "the model root"));
        let default = above_default.into_iter().map(|above| (above, String::new(), "the model root"));
        let caches = self.hub_caches.iter().map(|cache| (cache.as_path(), String::new(), "the Hub's cache"));
        let named = roots.chain(default).chain(caches).filter(|(root, ..)| root.file_name().is_some());
        named.fold(text.to_owned(), |text, (root, prefix, name)| {
            let root = root.display().to_string();
            text.replace(&format!("{root}/"), &prefix).replace(&root, name)
        })
    }

    fn holds(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(&root.path))
    }

    /// What stands before a path below a root.
    fn prefix(&self, root: &Root) -> String {
        if self.roots.len() > 1 { format!("{}/", root.name.display()) } else { String::new() }
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
            let entries = match root.path.read_dir() {
                Ok(entries) => entries.take(MOST).filter_map(Result::ok),
                Err(error) => {
                    // It could when the server started: what lies elsewhere is still told.
                    tracing::warn!(root = %root.path.display(), %error, "a model root cannot be read");
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
                let is_free = |id: &String| {
                    ![DEFAULT_ID, RESERVED].contains(&id.as_str())
                        && listed.iter().all(|found| found.id != *id)
                };
                let (id, of_root) = (file_name(&path), file_name(&root.name));
                // One of a name that is taken is told by its root too.
                let ids = [id.clone(), format!("{of_root}-{id}")];
                if let Some(id) = ids.into_iter().find(is_free) {
                    listed.push(Found { id, shown: self.shown(&path), path });
                }
            }
        }
        listed
    }

    /// A path below its root, behind the root's name where there are several: clients are told no more of this machine.
    #[must_use]
    pub fn shown(&self, path: &Path) -> String {
        // Of roots within each other the inner one.
        let below = self.roots.iter().filter_map(|root| Some((root, path.strip_prefix(&root.path).ok()?)));
        let below = below.min_by_key(|(_, below)| below.components().count());
        below.map_or_else(
            || file_name(path),
            |(root, below)| format!("{}{}", self.prefix(root), below.display()),
        )
    }
}

/// The default model where none is named: a folder of its name under a root.
#[must_use]
pub fn default_model(roots: &[PathBuf]) -> Option<PathBuf> {
    roots.iter().map(|root| root.join(DEFAULT_DIRECTORY)).find(|path| path.is_dir())
}

/// Roots with the shortest ends of their paths that tell them apart; each once.
fn named(mut paths: Vec<PathBuf>) -> Vec<Root> {
    let mut seen = BTreeSet::new();
    paths.retain(|path| seen.insert(path.clone()));
    let end = |path: &Path, parts: usize| -> PathBuf {
        let all: Vec<_> = path.components().collect();
        all[all.len().saturating_sub(parts)..].iter().collect()
    };
    let name = |path: &PathBuf| {
        let longest = path.components().count();
        let is_its_own = |name: &PathBuf| paths.iter().all(|other| other == path || !other.ends_with(name));
        (1..=longest).map(|parts| end(path, parts)).find(is_its_own).unwrap_or_else(|| path.clone())
    };
    paths.iter().map(|path| Root { name: name(path), path: path.clone() }).collect()
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

    /// Two folders of one name under two roots are two models, by their names and in whichever order the roots come.
    #[test]
    fn namesakes_under_two_roots_are_told_apart() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |path: &str| dir.path().join(path);
        for model in ["one/same", "two/same", "two/only", "x/one/same"] {
            std::fs::create_dir_all(at(model)).expect("made");
            std::fs::write(at(model).join("config.json"), "{}").expect("written");
        }
        for roots in [["one", "two"], ["two", "one"]] {
            let folders = Folders::new(&roots.map(at), None).expect("they exist");
            for path in ["one/same", "two/same", "two/only"] {
                let found = folders.allowed(path).expect(path);
                assert_eq!(found, at(path).canonicalize().expect("there"));
                assert_eq!(folders.allowed(&at(path).display().to_string()).expect("absolute"), found);
                assert_eq!(folders.shown(&found), path);
            }
            let error = folders.allowed("same").expect_err("two of them");
            assert_eq!(error.code, "path_ambiguous");
            assert!(error.message.ends_with("name one: one/same, two/same"), "{error}");
            // What a server with one root called it still means it, while it is the only one.
            assert_eq!(folders.shown(&folders.allowed("only").expect("one of them")), "two/only");
            let message =
                format!("{}/same/config.json: bad", at("two").canonicalize().expect("there").display());
            assert_eq!(folders.told_text(&message), "two/same/config.json: bad");
            let found: Vec<_> = folders.found().into_iter().map(|found| (found.id, found.shown)).collect();
            let second = [format!("{}-same", roots[1]), format!("{}/same", roots[1])];
            assert!(found.iter().any(|(id, shown)| [id, shown] == [&second[0], &second[1]]), "{found:?}");
        }
        // Of two roots of one name as much is told as tells them apart.
        let folders = Folders::new(&["one", "x/one"].map(at), None).expect("they exist");
        let inner = at("x/one/same").canonicalize().expect("there");
        assert_eq!(folders.shown(&inner), "x/one/same");
        assert_eq!(folders.allowed("x/one/same").expect("its name"), inner);
        // One root's models go by their own names, and one that was named behind it is still found.
        let folders = Folders::new(&[at("two")], None).expect("it exists");
        assert_eq!(folders.shown(&folders.allowed("two/only").expect("by its root")), "only");
        // Folders whose names are no ids of models have others.
        for name in ["offline", "default"] {
            std::fs::create_dir(at("two").join(name)).expect("made");
            std::fs::write(at("two").join(name).join("config.json"), "{}").expect("written");
        }
        let found: Vec<_> = folders.found().into_iter().map(|found| found.id).collect();
        assert_eq!(found, ["two-default", "two-offline", "only", "same"].map(str::to_owned));
    }
}
