//! What the models of a server are called: one name on every page.

use std::collections::BTreeMap;

use phi3::api::ModelEntry;

/// Names by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// Of the models that a server told. Two of one name are told apart by the id of the one that is called otherwise.
    #[must_use]
    pub fn new(entries: &[ModelEntry]) -> Self {
        let name = |entry: &ModelEntry| {
            let is_alone = entries.iter().filter(|other| other.name == entry.name).count() == 1;
            let name = if is_alone || entry.name == entry.id {
                entry.name.clone()
            } else {
                format!("{} · {}", entry.name, entry.id)
            };
            (entry.id.clone(), name)
        };
        Self(entries.iter().map(name).collect())
    }

    /// The name of a model; its id where the server has not told of it, or knows it no more.
    #[must_use]
    pub fn of<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.get(id).map_or(id, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn models_have_their_names_and_two_of_one_name_are_told_apart() {
        let entry = |id: &str, name: &str| {
            let entry = serde_json::json!({"id": id, "name": name, "path": name});
            serde_json::from_value::<ModelEntry>(entry).expect("the server's words")
        };
        let names = Names::new(&[entry("default", "smollm2"), entry("tiny", "tiny")]);
        assert_eq!([names.of("default"), names.of("tiny"), names.of("gone")], ["smollm2", "tiny", "gone"]);
        let names = Names::new(&[entry("default", "smollm2"), entry("smollm2", "smollm2")]);
        assert_eq!([names.of("default"), names.of("smollm2")], ["smollm2 · default", "smollm2"]);
    }
}
