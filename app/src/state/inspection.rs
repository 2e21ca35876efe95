//! Every key of what is shown, explained: what only the second program asks for.

use leptos::prelude::*;
use phi3::config::Preset;
use phi3::inspect::{self, InspectReport};

use super::Store;
use super::model::{OwnFiles, Parsed};

/// The report of what is shown; `None` where it is refused, and then something else is shown.
#[must_use]
pub fn inspection(store: Store) -> Memo<Option<InspectReport>> {
    let files = Memo::new(move |_| match store.preset_shown().and_then(Preset::find) {
        Some(preset) => Some(OwnFiles::config_only(preset.config.to_owned())),
        None => store.own_files(),
    });
    Memo::new(move |_| {
        files.with(|files| {
            let files = files.as_ref()?;
            if let Some(weights) = files.weights_alone() {
                return Some(inspect::weights_alone(&weights.stored()));
            }
            inspect::inspect(Parsed::new(files).ok()?.subject()).ok()
        })
    })
}
