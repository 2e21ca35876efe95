//! The Phi family's configs, built in: `preset:NAME`.

/// A config that is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name: that of its file in `public/presets`.
    pub name: &'static str,
    /// Its `config.json`.
    pub config: &'static str,
}

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        &[$(Preset { name: $name, config: include_str!(concat!("../../../public/presets/", $name, ".json")) }),*]
    };
}

/// Every preset, by name.
pub const PRESETS: &[Preset] = presets![
    "phi-3-medium-4k-instruct",
    "phi-3-mini-128k-instruct",
    "phi-3-mini-4k-instruct",
    "phi-3.5-mini-instruct",
    "phi-4",
    "phi-4-mini-instruct",
];

impl Preset {
    /// The preset of a name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_preset() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../public/presets");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("the folder is in the repository")
            .filter_map(|entry| entry.expect("readable").file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
            .collect();
        files.sort();
        let names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        assert_eq!(names, files);
        for preset in PRESETS {
            assert!(phi3::config::ModelConfig::parse(preset.config.as_bytes()).is_ok(), "{}", preset.name);
        }
    }
}
