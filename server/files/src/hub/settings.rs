//! Where the Hub is, where its cache lies and who asks: Hugging Face's environment variables, with its rules.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Endpoint, HubError};

/// Hugging Face's own default for a read that brings nothing.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest token that is read from a file; real ones have 37 characters.
const MAX_TOKEN_BYTES: u64 = 4096;

/// How this process uses the Hub.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// The only place that is asked: `HF_ENDPOINT`, else <https://huggingface.co>.
    pub endpoint: Endpoint,
    /// Folder of `models--ORG--NAME`: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, or `hub` under `HF_HOME`.
    pub cache: PathBuf,
    /// `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, or what `hf auth login` wrote.
    pub token: Option<Token>,
    /// `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`: nothing but the cache is read.
    pub offline: bool,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`: longest wait for an answer and for the next piece of it.
    pub timeout: Duration,
}

impl HubSettings {
    /// As the environment of this process says.
    ///
    /// # Errors
    /// An endpoint or token that cannot be used.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// As `var` says; an empty variable counts as none.
    ///
    /// # Errors
    /// As [`HubSettings::from_env`].
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let var = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let user_home =
            || var("HOME").map_or_else(|| std::env::home_dir().unwrap_or_default(), PathBuf::from);
        let folder = |value: String| match value.strip_prefix("~/") {
            Some(rest) => user_home().join(rest),
            None => PathBuf::from(value),
        };
        let home = match (var("HF_HOME"), var("XDG_CACHE_HOME")) {
            (Some(home), _) => folder(home),
            (None, Some(caches)) => folder(caches).join("huggingface"),
            (None, None) => user_home().join(".cache/huggingface"),
        };
        let cache = var("HF_HUB_CACHE").or_else(|| var("HUGGINGFACE_HUB_CACHE"));
        let token_file = var("HF_TOKEN_PATH").map_or_else(|| home.join("token"), folder);
        let named = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].iter().find_map(|name| Some((*name, var(name)?)));
        let token = match named {
            _ if var("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_true(&value)) => None,
            Some((name, value)) => Token::new(&value, name)?,
            None => Token::read(&token_file)?,
        };
        let timeout = var("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|value| value.trim().parse().ok());
        let offline = var("HF_HUB_OFFLINE").or_else(|| var("TRANSFORMERS_OFFLINE"));
        Ok(Self {
            endpoint: Endpoint::from_var(var("HF_ENDPOINT").as_deref())?,
            cache: cache.map_or_else(|| home.join("hub"), folder),
            token,
            offline: offline.is_some_and(|value| is_true(&value)),
            timeout: timeout.filter(|seconds| *seconds > 0).map_or(DEFAULT_TIMEOUT, Duration::from_secs),
        })
    }
}

/// What Hugging Face takes for yes.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.trim().to_ascii_lowercase().as_str())
}

/// A secret: it goes into one header of requests to the endpoint and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token as `origin` gave it, without the spaces and line ends around it; `None` if nothing is left.
    ///
    /// # Errors
    /// A character that no header can carry.
    pub fn new(text: &str, origin: &str) -> Result<Option<Self>, HubError> {
        let text = text.trim();
        match text.bytes().all(|b| b.is_ascii_graphic()) {
            true if text.is_empty() => Ok(None),
            true => Ok(Some(Self(text.to_owned()))),
            false => Err(HubError::BadToken { origin: origin.to_owned() }),
        }
    }

    fn read(file: &Path) -> Result<Option<Self>, HubError> {
        // A token that is not there or not readable is none, as for Hugging Face.
        let Ok(bytes) = crate::read_small(file, MAX_TOKEN_BYTES) else { return Ok(None) };
        Self::new(&String::from_utf8_lossy(&bytes), &file.display().to_string())
    }

    /// The value of the `Authorization` header.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(vars: &[(&str, &str)]) -> HubSettings {
        try_settings(vars).expect("good settings")
    }

    fn try_settings(vars: &[(&str, &str)]) -> Result<HubSettings, HubError> {
        HubSettings::from_vars(|name| {
            vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_lies_where_hugging_face_looks() {
        for (vars, cache) in [
            (&[("HOME", "/h")][..], "/h/.cache/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f")], "/f/hub"),
            (&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")], "/new"),
            (&[("HOME", "/h"), ("HF_HUB_CACHE", "~/c")], "/h/c"),
            (&[("HOME", "/h"), ("HF_HOME", " ")], "/h/.cache/huggingface/hub"),
        ] {
            assert_eq!(settings(vars).cache, Path::new(cache), "{vars:?}");
        }
    }

    #[test]
    fn switches_and_times() {
        for (value, offline) in
            [("1", true), ("ON", true), ("yes", true), ("True", true), ("0", false), ("", false)]
        {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
            assert_eq!(settings(&[("TRANSFORMERS_OFFLINE", value)]).offline, offline, "{value}");
        }
        for (value, seconds) in [("3", 3), ("0", 10), ("soon", 10), ("", 10)] {
            let found = settings(&[("HF_HUB_DOWNLOAD_TIMEOUT", value)]).timeout;
            assert_eq!(found, Duration::from_secs(seconds), "{value}");
        }
        assert_eq!(settings(&[]).endpoint, Endpoint::default());
    }

    #[test]
    fn the_token_is_found_cleaned_and_hidden() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = dir.path().to_str().expect("UTF-8");
        std::fs::write(dir.path().join("token"), "hf_filed\n").expect("written");
        std::fs::write(dir.path().join("other"), "hf_other\n").expect("written");
        let other = dir.path().join("other").display().to_string();
        for (vars, token) in [
            (&[("HF_TOKEN", " hf_env\n"), ("HF_HOME", home)][..], Some("hf_env")),
            (&[("HUGGING_FACE_HUB_TOKEN", "hf_old"), ("HF_HOME", home)], Some("hf_old")),
            (&[("HF_HOME", home)], Some("hf_filed")),
            (&[("HF_HOME", home), ("HF_TOKEN_PATH", other.as_str())], Some("hf_other")),
            (&[("HF_HOME", home), ("HF_TOKEN_PATH", "/absent")], None),
            (&[("HF_TOKEN", "hf_env"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], None),
        ] {
            let found = settings(vars);
            assert_eq!(found.token.as_ref().map(|token| token.0.as_str()), token, "{vars:?}");
            assert!(!format!("{found:?}").contains("hf_"), "{found:?}");
        }
        let error = try_settings(&[("HF_TOKEN", "hf_a\nhf_b")]).expect_err("two lines");
        assert!(
            error.to_string().contains("HF_TOKEN") && !format!("{error}{error:?}").contains("hf_"),
            "{error}"
        );
    }
}
