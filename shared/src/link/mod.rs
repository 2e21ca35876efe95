//! The share link: the whole state of a page in its address, `#s=1.…`.
//!
//! Version 1 is base64url, without padding, of raw deflate (RFC 1951) of JSON with sorted keys, so that one state has
//! one link. A config is written as the difference to the preset that is nearest, or whole where none is near.
//! A link never holds a secret or a local path: neither is one made from them, nor is one with them read.
//!
//! ```
//! use phi3::{config::PRESETS, link::{self, LinkedModel, State}};
//!
//! let state = State { model: Some(LinkedModel::Preset("phi-4".to_owned())), ..State::default() };
//! let link = link::encode(&state, PRESETS).unwrap();
//! assert_eq!(link::decode(&link, PRESETS).unwrap().state, state);
//! ```

mod difference;
mod envelope;
mod error;
mod model;
mod private;
mod secrets;
mod state;

pub use error::LinkError;
pub use secrets::redact;
pub use state::{Decoded, Device, LinkedModel, State};

use serde_json::Value;

use crate::config::{JsonError, JsonLimits, Preset, parse_json};

/// Longest link: `s=`, version and payload.
pub const MAX_LINK_BYTES: usize = 8 << 10;
/// Most that a link unpacks to.
pub const MAX_STATE_BYTES: usize = 64 << 10;

/// Limits of a state with its config whole. A pasted `config.json` has some hundred values, three levels deep.
const LIMITS: JsonLimits = JsonLimits { depth: 16, values: 4096, string_bytes: 16 << 10 };
/// Limits of what stands in the link: room for the form of a difference, and for its pointers.
const LINK_LIMITS: JsonLimits = JsonLimits { depth: 24, values: 8192, string_bytes: MAX_STATE_BYTES };

/// The part of an address after `#` that holds this state.
///
/// # Errors
/// A secret or a local path in it, a preset that is not there, or more than a link holds.
pub fn encode(state: &State, presets: &[Preset]) -> Result<String, LinkError> {
    judge(state, presets)?;
    let mut json = state.to_json_near(presets);
    json.sort_all_objects();
    envelope::pack(json.to_string().as_bytes())
}

/// The state in a link: a whole address, what stands after its `#`, or from the version on.
///
/// # Errors
/// [`LinkError`]: whatever is not a link that [`encode`] could have made.
pub fn decode(link: &str, presets: &[Preset]) -> Result<Decoded, LinkError> {
    let bytes = envelope::unpack(link)?;
    let json = parse_json(&bytes, LINK_LIMITS).map_err(|error| match error {
        JsonError::Syntax(what) => LinkError::Damaged { what },
        other => LinkError::Json(other),
    })?;
    drop(bytes);
    judged(json, presets)
}

/// Whether a text claims to be a link of any version, and not an address of another form.
#[must_use]
pub fn is_link(fragment: &str) -> bool {
    fragment.trim_start_matches('#').starts_with("s=")
}

impl State {
    /// Reads the JSON that [`State::to_json`] writes.
    ///
    /// # Errors
    /// Not JSON, past the limits, a value of a wrong type, or what no link may hold.
    pub fn parse(json: &[u8], presets: &[Preset]) -> Result<Decoded, LinkError> {
        if json.len() > MAX_STATE_BYTES {
            let what = format!("{} bytes of JSON, at most {MAX_STATE_BYTES}", json.len());
            return Err(LinkError::StateTooLarge { what });
        }
        let json = parse_json(json, LINK_LIMITS).map_err(LinkError::Json)?;
        judged(json, presets)
    }

    /// This state without what no link may hold, and the JSON paths of what was taken out.
    #[must_use]
    pub fn without_private(&self, presets: &[Preset]) -> (Self, Vec<String>) {
        let mut json = self.to_json();
        let gone = private::strip(&mut json);
        if gone.is_empty() {
            return (self.clone(), gone);
        }
        let read = Self::read(json, presets);
        (read.map(|decoded| decoded.state).unwrap_or_default(), gone)
    }
}

/// Reads a state that may stand in a link.
fn judged(mut json: Value, presets: &[Preset]) -> Result<Decoded, LinkError> {
    private::drop_origin(&mut json);
    let decoded = State::read(json, presets)?;
    judge(&decoded.state, presets)?;
    Ok(decoded)
}

/// Whether a state may stand in a link: asked alike when one is made and when one is read.
fn judge(state: &State, presets: &[Preset]) -> Result<(), LinkError> {
    if let Some(LinkedModel::Preset(name)) = &state.model {
        model::find(name, presets)?;
    }
    let json = state.to_json();
    let too_large = |error: JsonError| LinkError::StateTooLarge { what: error.to_string() };
    parse_json(json.to_string().as_bytes(), LIMITS).map_err(too_large)?;
    match private::find(&json) {
        Some(found) => Err(LinkError::Private { path: found.json_path(), what: found.what }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
