//! The Phi family's configs, built in: `preset:NAME` on the command line, the first page of the dashboard, and what
//! a share link is a difference to.

/// A config that is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name: that of its file in `public/presets`.
    pub name: &'static str,
    /// Its name for people, as on the model's card.
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

/// Every preset; the dashboard opens on the first.
pub const PRESETS: &[Preset] = &[
    preset!("Phi-3-mini-4k-instruct", "phi-3-mini-4k-instruct"),
    preset!("Phi-3-mini-128k-instruct", "phi-3-mini-128k-instruct"),
    preset!("Phi-3.5-mini-instruct", "phi-3.5-mini-instruct"),
    preset!("Phi-3-medium-4k-instruct", "phi-3-medium-4k-instruct"),
    preset!("Phi-4", "phi-4"),
    preset!("Phi-4-mini-instruct", "phi-4-mini-instruct"),
];

impl Preset {
    /// The preset of a name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The preset that a name most likely means.
    #[must_use]
    pub fn nearest(name: &str) -> &'static str {
        // No preset's name is longer, and the distance costs its square.
        let name: String = name.chars().take(80).flat_map(char::to_lowercase).collect();
        // The start of a name is the name, left unfinished: nearer than a short one that differs less.
        let distance = |preset: &&Preset| {
            let is_start = preset.name.starts_with(name.as_str()) && !name.is_empty();
            (!is_start, strsim::damerau_levenshtein(&name, preset.name))
        };
        let nearest = PRESETS.iter().min_by_key(distance);
        nearest.map_or("", |preset| preset.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;

    #[test]
    fn every_file_is_a_preset_and_every_preset_is_understood() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../public/presets");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("the folder is in the repository")
            .filter_map(|entry| entry.expect("readable").file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
            .collect();
        files.sort();
        let mut names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        names.sort_unstable();
        assert_eq!(names, files);
        for preset in PRESETS {
            assert!(ModelConfig::parse(preset.config.as_bytes()).is_ok(), "{}", preset.name);
            assert_eq!(Preset::find(preset.name), Some(preset));
            assert_eq!(Preset::nearest("phi-3-mini-4k"), "phi-3-mini-4k-instruct");
            assert_eq!(Preset::nearest(&preset.title.replace(' ', "-").to_uppercase()), preset.name);
        }
    }
}
