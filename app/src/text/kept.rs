//! Models that this browser keeps.

use phi3::api::Kept;
use phi3::units::{format_bytes, format_bytes_up};

use super::plural;
use crate::platform::storage::{Closed, Space};
use crate::state::browser_run::End;
use crate::state::kept::Job;

pub const HEADING: &str = "Kept in this browser";
pub const KEEP: &str = "Keep in this browser";
pub const IS_KEPT: &str = "These files are kept in this browser.";
pub const WHY: &str = "Copies in storage that belongs to this page alone, there after a reload and without a network. \
    Each file’s SHA-256 was taken while it was copied.";
pub const CANCEL: &str = "Cancel";
pub const CANCELLING: &str = "Cancelling…";
pub const STARTING: &str = "Asking for room and fetching the engine";
pub const STARTING_CHECK: &str = "Fetching the engine";
pub const OTHER_TAB: &str =
    "another tab of this page is copying a model: wait until it is done, or cancel it there";
pub const GGUF: &str =
    "GGUF does not run in a tab: `preflight convert FILE.gguf FOLDER` makes a folder that does.";
pub const VERIFY: &str = "Verify";
pub const REMOVE: &str = "Remove";
pub const FILE: &str = "File";
pub const SIZE: &str = "Size";
pub const SHA256: &str = "SHA-256";
pub const PERSIST: &str = "Ask the browser never to delete it by itself";
pub const MAY_DELETE: &str = "The browser may delete it where the disk gets full.";
pub const PERSISTENT: &str = "The browser deletes nothing of it by itself.";
pub const NOT_PERSISTENT: &str = "The browser did not agree: it may delete what is kept where the disk gets full. Most agree once a page is bookmarked or installed.";

/// A model that is kept, as a choice.
pub fn choice(kept: &Kept) -> String {
    format!("{}, {}, kept", kept.name, format_bytes(kept.bytes()))
}

/// What is in it.
pub fn about(kept: &Kept) -> String {
    format!("{} in {}", format_bytes(kept.bytes()), plural(kept.files.len() as u64, "file"))
}

pub fn files(name: &str) -> String {
    format!("Files of {name}")
}

/// Names of the buttons beside a model, which stand there once for each.
pub fn of_model(verb: &str, name: &str) -> String {
    format!("{verb} {name}")
}

pub fn space(space: Space) -> String {
    let (used, granted) = (format_bytes(space.used_bytes), format_bytes(space.granted_bytes));
    format!("{used} used of {granted} that the browser grants this page.")
}

/// Why a browser keeps nothing.
pub fn closed(closed: &Closed) -> String {
    match closed {
        Closed::Insecure => {
            "Nothing can be kept: browsers give storage for files only to pages that come over https or from this computer."
                .to_owned()
        }
        Closed::Absent => "Nothing can be kept: this browser has no storage for files.".to_owned(),
        Closed::Refused(why) => {
            format!("Nothing can be kept: this browser refuses storage for files, as some do in private windows ({why}).")
        }
    }
}

pub fn no_room(name: &str, needed: u64, available: u64) -> String {
    let (needed, available) = (format_bytes_up(needed), format_bytes(available));
    format!("keeping {name} needs {needed}, and the browser grants this page {available} more")
}

pub fn removed(name: &str, bytes: u64) -> String {
    format!("{name} was removed: {} are free again.", format_bytes(bytes))
}

pub fn not_removed(name: &str, why: &str) -> String {
    format!("{name} could not be removed: {why}")
}

/// Where a copy or a check stands.
pub fn job(job: &Job, is_busy: bool) -> String {
    let name = &job.name;
    match (job.end, job.is_check) {
        (None, false) if job.loading.is_none() => STARTING.to_owned(),
        (None, true) if job.loading.is_none() => STARTING_CHECK.to_owned(),
        (None, false) => format!("Copying {name}"),
        (None, true) => format!("Verifying {name}"),
        (Some(End::Finished), false) => format!("{name} is kept: choose it above, now or after a reload"),
        (Some(End::Finished), true) => format!("{name} is what was kept: every SHA-256 is the same"),
        (Some(End::Failed), false) => format!("{name} is not kept, and nothing of it stays"),
        (Some(End::Failed), true) => format!("{name} did not pass"),
        (Some(End::Cancelled), _) if is_busy => CANCELLING.to_owned(),
        (Some(End::Cancelled), false) => format!("Cancelled: nothing of {name} stays"),
        (Some(End::Cancelled), true) => format!("Cancelled: {name} was not verified"),
    }
}
