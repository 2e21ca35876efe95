//! A conversation with a loaded model.

pub mod conversation;
pub mod exchange;
pub mod none_loaded;
pub mod settings;

pub use conversation::Conversation;
pub use none_loaded::NoneLoaded;
pub use settings::Settings;
