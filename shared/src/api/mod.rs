//! Words that travel between processes: errors, attempts, ladders, events, the worker's messages.

mod attempt;
mod browser;
mod comparison;
mod device;
mod evidence;
mod model;
mod error;
mod event;
mod generation;
mod kept;
mod ladder;
mod settings;
pub mod worker;

pub use attempt::{Attempt, AttemptKind, AttemptState, Started};
pub use browser::{BrowserEvent, BrowserRun, BrowserSource};
pub use comparison::{Comparison, Difference, Topic};
pub use device::{DeviceNow, Devices, Holder};
pub use error::{ErrorBody, ErrorObject};
pub use event::{Event, EventKind};
pub use evidence::{AttemptRecord, Environment, Evidence, FileFact, Timings, Unload};
pub use generation::{FinishReason, Generate, PromptInput, StreamEvent, TokenLogprob, TokenLogprobs, Turn};
pub use kept::{KEPT_FOLDER, KEPT_MANIFEST, Kept, KeptFile, KeptTask};
pub use ladder::{Ladder, LadderRung, LadderStarted, LadderState, ProfileEntry, RungState};
pub use model::{Certificate, ModelDetail, ModelEntry, ModelSource, Registered};
pub use settings::{Setting, SettingOrigin, Settings};
