//! Why a link cannot be read or made.

use thiserror::Error;

use super::{MAX_LINK_BYTES, MAX_STATE_BYTES};
use crate::config::JsonError;

/// A link that is not read, or a state that no link may hold. Each message says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LinkError {
    /// Something else.
    #[error("this is no Preflight link: it has no `s=1.…`; copy the whole address")]
    NotALink,
    /// A form that this build does not know.
    #[error(
        "the link is of version {found}, this build reads version 1: open it with the Preflight that made it"
    )]
    Version {
        /// The version found, shortened.
        found: String,
    },
    /// A link that is longer than any.
    #[error("the link has {bytes} characters, at most {MAX_LINK_BYTES} are read: it is no link of ours")]
    TooLong {
        /// Characters found.
        bytes: usize,
    },
    /// A character that base64url does not have, or a part of one missing.
    #[error("the link is damaged ({what}): copy it again, all of it")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// Unpacks to more than is read.
    #[error("the link unpacks to more than {MAX_STATE_BYTES} bytes: it is no link of ours")]
    Bomb,
    /// What the link holds is not read as JSON.
    #[error("the page's state is not read: {0}")]
    Json(JsonError),
    /// A value of the wrong type.
    #[error("`{path}` is {found}, expected {expected}")]
    Invalid {
        /// JSON path within the state.
        path: String,
        /// The value found, shortened.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// A preset that this build does not have.
    #[error("there is no preset `{name}` in this build; there are: {known}")]
    UnknownPreset {
        /// The name found.
        name: String,
        /// Names of all presets.
        known: String,
    },
    /// The config was written as a difference to a preset that has changed since.
    #[error(
        "the link is a difference to preset `{name}`, which is another one in this build: open it with the Preflight that made it"
    )]
    PresetChanged {
        /// The preset.
        name: String,
    },
    /// Something that must not leave this machine.
    #[error("`{path}` holds {what}, which no link may carry: remove it")]
    Private {
        /// JSON path within the state.
        path: String,
        /// What it looks like; the text itself is not repeated.
        what: &'static str,
    },
    /// A state that does not go into a link.
    #[error("the state is too large for a link ({what}): share its config.json as a file")]
    StateTooLarge {
        /// What is too large, with both numbers.
        what: String,
    },
}

impl LinkError {
    /// A stable name for programs: the `code` of an error object.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownPreset { .. } => "unknown_preset",
            Self::Private { .. } => "link_private",
            Self::StateTooLarge { .. } => "link_too_large",
            Self::Version { .. } | Self::PresetChanged { .. } => "link_version",
            _ => "link_invalid",
        }
    }

    /// JSON path within the state that the error is about, if it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Invalid { path, .. }
            | Self::Private { path, .. }
            | Self::Json(JsonError::DuplicateKey { path }) => Some(path),
            _ => None,
        }
    }
}
