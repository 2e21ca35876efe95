//! A JSON object as the difference to another one.

use serde_json::{Map, Value};

/// What turns one object into another: keys by their JSON pointers (RFC 6901; lists are taken whole).
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Difference {
    /// Values that are new or other.
    pub(super) set: Map<String, Value>,
    /// Keys that are gone.
    pub(super) drop: Vec<String>,
}

impl Difference {
    /// What is to be done to `base` to get `target`.
    pub(super) fn between(base: &Map<String, Value>, target: &Map<String, Value>) -> Self {
        let mut difference = Self::default();
        difference.collect("", base, target);
        difference
    }

    /// In the order of `base`, so that the order of `target` does not matter.
    fn collect(&mut self, path: &str, base: &Map<String, Value>, target: &Map<String, Value>) {
        for (key, known) in base {
            match (known, target.get(key)) {
                (_, None) => self.drop.push(join(path, key)),
                (known, Some(value)) if known == value => {}
                (Value::Object(base), Some(Value::Object(target))) => {
                    self.collect(&join(path, key), base, target);
                }
                (_, Some(value)) => {
                    self.set.insert(join(path, key), value.clone());
                }
            }
        }
        for (key, value) in target.iter().filter(|(key, _)| !base.contains_key(*key)) {
            self.set.insert(join(path, key), value.clone());
        }
    }

    /// Does it to `base`; the pointer that leads nowhere where one does.
    pub(super) fn apply(self, base: &mut Map<String, Value>) -> Result<(), String> {
        for path in self.drop {
            let gone = split(&path).and_then(|(parents, key)| parent(base, &parents)?.shift_remove(&key));
            gone.ok_or(path)?;
        }
        for (path, value) in self.set {
            let Some((object, key)) =
                split(&path).and_then(|(parents, key)| Some((parent(base, &parents)?, key)))
            else {
                return Err(path);
            };
            object.insert(key, value);
        }
        Ok(())
    }
}

fn join(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Keys of a pointer's parents, and its own.
fn split(path: &str) -> Option<(Vec<String>, String)> {
    let mut keys: Vec<String> =
        path.strip_prefix('/')?.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect();
    let own = keys.pop()?;
    Some((keys, own))
}

fn parent<'a>(base: &'a mut Map<String, Value>, keys: &[String]) -> Option<&'a mut Map<String, Value>> {
    keys.iter().try_fold(base, |object, key| object.get_mut(key)?.as_object_mut())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn a_difference_turns_one_into_the_other() {
        let base = object(json!({"a": 1, "b": {"c": [1, 2], "d/~": null}, "e": {"f": 1}, "g": {}}));
        for target in [
            json!({}),
            json!({"a": 1, "b": {"c": [1], "d/~": 0, "x": {"y": {}}}, "e": [], "g": {"": 1}}),
            json!({"a": null, "b": null, "e": {"f": 1}, "g": {}}),
            json!({"a": {"b": 1}, "b": {}, "e": {"f": 1}, "g": {}}),
        ] {
            let target = object(target);
            let difference = Difference::between(&base, &target);
            let mut made = base.clone();
            assert_eq!(difference.clone().apply(&mut made), Ok(()));
            assert_eq!(made, target, "{difference:?}");
        }
        assert_eq!(Difference::between(&base, &base), Difference::default());
        let nested =
            Difference::between(&base, &object(json!({"a": 1, "b": {"c": [1, 2]}, "e": {"f": 2}, "g": {}})));
        assert_eq!(
            (nested.set.keys().next().map(String::as_str), &nested.drop[..]),
            (Some("/e/f"), &["/b/d~1~0".to_owned()][..])
        );
    }

    #[test]
    fn pointers_that_lead_nowhere_are_refused() {
        for path in ["", "a", "/x/y", "/a/b"] {
            let mut base = object(json!({"a": 1}));
            let set = Difference { set: Map::from_iter([(path.to_owned(), Value::Null)]), drop: Vec::new() };
            assert_eq!(set.apply(&mut base), Err(path.to_owned()));
            let drop = Difference { set: Map::new(), drop: vec![path.to_owned()] };
            assert_eq!(drop.apply(&mut base), Err(path.to_owned()));
        }
    }
}
