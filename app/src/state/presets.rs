//! The Phi family, embedded: the page is never empty and needs no server to fill it.

/// A stock config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Name in addresses and on the command line (`preset:NAME`).
    pub name: &'static str,
    /// Name for people, as on the model's card.
    pub title: &'static str,
    /// Its `config.json`.
    pub config: &'static str,
}

macro_rules! preset {
    ($title:literal, $name:literal) => {
        Preset {
            name: $name,
            title: $title,
            config: include_str!(concat!("../../../public/presets/", $name, ".json")),
        }
    };
}

/// Every preset; the first is shown when the page opens.
pub const PRESETS: [Preset; 6] = [
    preset!("Phi-3-mini-4k-instruct", "phi-3-mini-4k-instruct"),
    preset!("Phi-3-mini-128k-instruct", "phi-3-mini-128k-instruct"),
    preset!("Phi-3.5-mini-instruct", "phi-3.5-mini-instruct"),
    preset!("Phi-3-medium-4k-instruct", "phi-3-medium-4k-instruct"),
    preset!("Phi-4", "phi-4"),
    preset!("Phi-4-mini-instruct", "phi-4-mini-instruct"),
];

/// The preset of this name.
#[must_use]
pub fn find(name: &str) -> Option<Preset> {
    PRESETS.into_iter().find(|preset| preset.name == name)
}
