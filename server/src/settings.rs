//! The server's settings: a flag, else an environment variable, else the config file, else the default; and for each
//! value where it comes from.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use phi3::api::{ErrorObject, Setting, SettingOrigin};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::registry::default_model;
use crate::store::default_path;
use crate::toml_text::{self, Document};

/// What one layer says; the keys of the config file, and as `--flags` with dashes the command line's.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layer {
    /// Address to listen on.
    #[serde(deserialize_with = "listen")]
    pub listen: Option<SocketAddr>,
    /// Folder for the server's own files.
    pub data_dir: Option<PathBuf>,
    /// Folders that models may be read from.
    pub model_root: Option<Vec<PathBuf>>,
    /// Directory of the default model.
    pub default_model: Option<PathBuf>,
    /// Folder of the built dashboard.
    pub dashboard: Option<PathBuf>,
    /// File with the token that requests must carry.
    pub token_file: Option<PathBuf>,
    /// Names beside this machine's own that requests may ask for in `Host`.
    pub allowed_host: Option<Vec<String>>,
    /// Let anyone who reaches the address use the server.
    pub insecure_no_auth: Option<bool>,
    /// Overrides for every load of every model; in the file alone.
    pub load_config: Option<Map<String, Value>>,
}

/// What holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// All others, put together.
    pub layer: Layer,
    /// The file that was read, where there was one.
    pub file: Option<PathBuf>,
    /// Every value with its origin.
    pub shown: Vec<Setting>,
}

const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

/// Largest config file that is read.
const FILE_BYTES: u64 = 1 << 20;

impl Settings {
    /// Puts the layers together: `flags`, the environment, and the file that `config` names, else the one in its
    /// usual place if there is one.
    ///
    /// # Errors
    /// A file that cannot be read, or a value that is refused: which flag, variable or key it is.
    pub fn read(
        flags: Layer,
        config: Option<&Path>,
        var: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ErrorObject> {
        let environment = environment(&var)?;
        let named = config.map(Path::to_owned).or_else(|| var("PREFLIGHT_CONFIG").map(PathBuf::from));
        let file = named.or_else(|| usual_file(&var).filter(|path| path.is_file()));
        let from_file = file.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let layers = [
            (SettingOrigin::Flag, flags),
            (SettingOrigin::Environment, environment),
            (SettingOrigin::File, from_file),
        ];
        let mut shown = Vec::new();
        let mut choose = Chooser { layers: &layers, shown: &mut shown };
        let listen = choose.one("listen", |layer| layer.listen, Some(SocketAddr::from(DEFAULT_LISTEN)));
        let layer = Layer {
            listen,
            data_dir: choose.one("data_dir", |layer| layer.data_dir.clone(), None),
            model_root: choose.one("model_root", |layer| layer.model_root.clone(), Some(Vec::new())),
            default_model: choose.one("default_model", |layer| layer.default_model.clone(), None),
            dashboard: choose.one("dashboard", |layer| layer.dashboard.clone(), None),
            token_file: choose.one("token_file", |layer| layer.token_file.clone(), None),
            allowed_host: choose.one("allowed_host", |layer| layer.allowed_host.clone(), Some(Vec::new())),
            insecure_no_auth: choose.one("insecure_no_auth", |layer| layer.insecure_no_auth, Some(false)),
            load_config: choose.one("load_config", |layer| layer.load_config.clone(), Some(Map::new())),
        };
        let held = var("PREFLIGHT_TOKEN").is_some_and(|token| !token.is_empty());
        let origin = if held { SettingOrigin::Environment } else { SettingOrigin::Default };
        let value = if held { Value::from("given, and not shown") } else { Value::Null };
        shown.push(Setting { key: "token".to_owned(), value, origin });
        let mut settings =
            Self { listen: listen.unwrap_or(SocketAddr::from(DEFAULT_LISTEN)), layer, file, shown };
        settings.show_defaults();
        Ok(settings)
    }

    /// What holds where nothing is said, for the settings whose default depends on the machine.
    fn show_defaults(&mut self) {
        let roots = self.layer.model_root.as_deref().unwrap_or_default();
        let defaults = [
            ("data_dir", default_path()),
            ("default_model", default_model(roots)),
            ("dashboard", find_dashboard()),
        ];
        for (key, path) in defaults {
            let unsaid = |setting: &&mut Setting| setting.key == key && setting.value.is_null();
            if let (Some(path), Some(setting)) = (path, self.shown.iter_mut().find(unsaid)) {
                setting.value = path.display().to_string().into();
            }
        }
    }

    /// The settings for whoever may ask: a load config without what looks like a secret.
    #[must_use]
    pub fn told(&self) -> phi3::api::Settings {
        let mut settings = self.shown.clone();
        settings.iter_mut().for_each(|setting| phi3::link::redact(&mut setting.value));
        phi3::api::Settings { file: self.file.as_ref().map(|path| path.display().to_string()), settings }
    }
}

/// `dist` beside the binary, else in the working directory.
pub(crate) fn find_dashboard() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().map(|binary| binary.with_file_name("dist"));
    beside.into_iter().chain([PathBuf::from("dist")]).find(|path| path.join("index.html").is_file())
}

struct Chooser<'a> {
    layers: &'a [(SettingOrigin, Layer); 3],
    shown: &'a mut Vec<Setting>,
}

impl Chooser<'_> {
    fn one<T: Serialize>(
        &mut self,
        key: &'static str,
        of: impl Fn(&Layer) -> Option<T>,
        default: Option<T>,
    ) -> Option<T> {
        let said = self.layers.iter().find_map(|(origin, layer)| Some((*origin, of(layer)?)));
        let (origin, value) = match said {
            Some((origin, value)) => (origin, Some(value)),
            None => (SettingOrigin::Default, default),
        };
        let value_shown = serde_json::to_value(&value).unwrap_or_default();
        self.shown.push(Setting { key: key.to_owned(), value: value_shown, origin });
        value
    }
}

/// Variables that begin as ours do and mean nothing to this program: most likely one is misspelt.
#[must_use]
pub fn unknown_variables(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let ours = names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("PREFLIGHT_"));
    let mut unknown: Vec<String> = ours.filter(|name| !VARIABLES.contains(&name.as_str())).collect();
    unknown.sort_unstable();
    unknown
}

/// Every variable that a server reads.
pub const VARIABLES: [&str; 11] = [
    "PREFLIGHT_ALLOWED_HOST",
    "PREFLIGHT_CONFIG",
    "PREFLIGHT_DASHBOARD",
    "PREFLIGHT_DATA_DIR",
    "PREFLIGHT_DEFAULT_MODEL",
    "PREFLIGHT_INSECURE_NO_AUTH",
    "PREFLIGHT_LISTEN",
    "PREFLIGHT_MODEL_ROOT",
    "PREFLIGHT_TOKEN",
    "PREFLIGHT_TOKEN_FILE",
    "PREFLIGHT_WORKER",
];

/// `PREFLIGHT_LISTEN` and its like: each flag has one.
fn environment(var: &impl Fn(&str) -> Option<OsString>) -> Result<Layer, ErrorObject> {
    let text = |name: &str| -> Result<Option<String>, ErrorObject> {
        let Some(value) = var(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        let refuse = |value: OsString| refused(name, &format!("{value:?} is no text"));
        value.into_string().map(Some).map_err(refuse)
    };
    let path = |name: &str| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let listen = text("PREFLIGHT_LISTEN")?
        .map(|value| address(&value).map_err(|error| refused("PREFLIGHT_LISTEN", &error)));
    let insecure = text("PREFLIGHT_INSECURE_NO_AUTH")?.map(|value| match value.as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(refused("PREFLIGHT_INSECURE_NO_AUTH", &format!("is `{other}`, expected true or false"))),
    });
    Ok(Layer {
        listen: listen.transpose()?,
        data_dir: path("PREFLIGHT_DATA_DIR"),
        model_root: var("PREFLIGHT_MODEL_ROOT").map(|value| std::env::split_paths(&value).collect()),
        default_model: path("PREFLIGHT_DEFAULT_MODEL"),
        dashboard: path("PREFLIGHT_DASHBOARD"),
        token_file: path("PREFLIGHT_TOKEN_FILE"),
        allowed_host: text("PREFLIGHT_ALLOWED_HOST")?
            .map(|value| value.split(',').map(|host| host.trim().to_owned()).collect()),
        insecure_no_auth: insecure.transpose()?,
        load_config: None,
    })
}

fn listen<'de, D: Deserializer<'de>>(value: D) -> Result<Option<SocketAddr>, D::Error> {
    address(&String::deserialize(value)?).map(Some).map_err(D::Error::custom)
}

/// An address with a port; `localhost` is this machine by IPv4, as `Host` has it.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let numbers = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numbers.as_deref().unwrap_or(text).parse().map_err(|_no_address| {
        format!("`{text}` is no address with a port: write 127.0.0.1:8080, or [::1]:8080")
    })
}

fn refused(what: &str, why: &str) -> ErrorObject {
    ErrorObject::new("config_refused", format!("{what}: {why}")).at(what)
}

/// `$XDG_CONFIG_HOME/preflight/config.toml`, else the same under `~/.config`.
fn usual_file(var: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    folder.map(|folder| folder.join("preflight/config.toml"))
}

fn read_file(path: &Path) -> Result<Layer, ErrorObject> {
    let shown = path.display().to_string();
    let refuse =
        |why: String| ErrorObject::new("config_refused", format!("{shown}: {why}")).at(shown.clone());
    let bytes = preflight_files::read_small(path, FILE_BYTES).map_err(ErrorObject::from)?;
    let text = toml_text::utf8(bytes).map_err(refuse)?;
    let mut layer: Layer = Document::parse(&text).and_then(|document| document.read()).map_err(refuse)?;
    // Paths in a file are meant from where the file is.
    let base = path.parent().unwrap_or_else(|| Path::new("."));
    let place = |path: &mut PathBuf| *path = base.join(&*path);
    let one = [&mut layer.data_dir, &mut layer.default_model, &mut layer.dashboard, &mut layer.token_file];
    one.into_iter().flatten().for_each(place);
    layer.model_root.iter_mut().flatten().for_each(place);
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_above_the_environment_and_that_above_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("config.toml");
        let text = "listen = \"127.0.0.1:1\"\ndata_dir = \"data\"\nmodel_root = [\"/models\", \"more\"]\n[load_config]\ntorch_dtype = \"float16\"\n";
        std::fs::write(&file, text).expect("written");
        let var = |name: &str| (name == "PREFLIGHT_LISTEN").then(|| OsString::from("127.0.0.1:2"));
        let flags = Layer { default_model: Some("m".into()), ..Layer::default() };
        let settings = Settings::read(flags, Some(&file), var).expect("read");
        assert_eq!(settings.listen.port(), 2);
        let origin = |key: &str| settings.shown.iter().find(|s| s.key == key).expect("shown").origin;
        assert_eq!(origin("listen"), SettingOrigin::Environment);
        assert_eq!(origin("default_model"), SettingOrigin::Flag);
        assert_eq!((origin("data_dir"), origin("dashboard")), (SettingOrigin::File, SettingOrigin::Default));
        assert_eq!(settings.layer.data_dir, Some(dir.path().join("data")));
        assert_eq!(settings.layer.model_root, Some(vec!["/models".into(), dir.path().join("more")]));
        assert!(settings.layer.load_config.is_some_and(|map| map["torch_dtype"] == "float16"));
    }

    #[test]
    fn every_variable_that_is_read_is_known() {
        let read = std::cell::RefCell::new(std::collections::BTreeSet::new());
        let var = |name: &str| {
            read.borrow_mut().insert(name.to_owned());
            None
        };
        Settings::read(Layer::default(), None, var).expect("nothing is set");
        let mut ours = read.into_inner();
        ours.retain(|name| name.starts_with("PREFLIGHT_"));
        assert!(ours.iter().all(|name| VARIABLES.contains(&name.as_str())), "{ours:?}");
        let elsewhere: Vec<_> = VARIABLES.iter().filter(|name| !ours.contains(**name)).collect();
        assert_eq!(elsewhere, [&"PREFLIGHT_WORKER"]);
    }

    #[test]
    fn what_is_wrong_names_itself() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "\nlisten_on = 1\n").expect("written");
        let error = Settings::read(Layer::default(), Some(&file), |_| None).expect_err("an unknown key");
        assert!(error.message.contains("line 2") && error.message.contains("listen_on"), "{error}");
        assert!(error.message.contains("is not known, expected one of `listen`, `data_dir`"), "{error}");
        std::fs::write(&file, "listen = \"nowhere\"\n").expect("written");
        let error = Settings::read(Layer::default(), Some(&file), |_| None).expect_err("no address");
        assert!(error.message.contains("line 1, column 1: `listen`: `nowhere` is no address"), "{error}");
        let var = |name: &str| (name == "PREFLIGHT_LISTEN").then(|| OsString::from("nowhere"));
        let error = Settings::read(Layer::default(), None, var).expect_err("no address");
        assert!(error.message.starts_with("PREFLIGHT_LISTEN"), "{error}");
    }
}
