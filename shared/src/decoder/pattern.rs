//! Names of modules by pattern: what lists of modules that are left as they were hold beside names.

/// A pattern of names: texts in order, with gaps of any length between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The first stands at the start of a name; there is one at least.
    texts: Vec<String>,
    end: End,
}

/// What may follow in a name that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing.
    Here,
    /// What lies in the module.
    OfModule,
    /// Anything.
    Anywhere,
}

impl Pattern {
    /// A module's name with gaps, `model.layers.*.self_attn`; `None` where it is more than that.
    #[must_use]
    pub fn of_name(entry: &str) -> Option<Self> {
        Self::new(entry, End::OfModule)
    }

    /// A regular expression that has to match the start of a name, as Python's `re.match` does it; `None` where it is more
    /// than texts, `.*` and numbers, which stand between dots in names and are gaps as good as any.
    #[must_use]
    pub fn of_expression(expression: &str) -> Option<Self> {
        let expression = expression.strip_prefix('^').unwrap_or(expression);
        let (expression, end) = match expression.strip_suffix('$') {
            Some(whole) => (whole, End::Here),
            None => (expression, End::Anywhere),
        };
        // A dot stands for any character; in names it is a dot.
        let plain = expression.replace(r"\d+", ".*").replace("[0-9]+", ".*").replace(r"\.", ".");
        Self::new(&plain, end)
    }

    fn new(text: &str, end: End) -> Option<Self> {
        let texts: Vec<String> = text.split(".*").map(str::to_owned).collect();
        let is_more = texts.iter().any(|text| text.contains(|c| "*+?[](){}|^$\\:".contains(c)));
        (!is_more).then_some(Self { texts, end })
    }

    /// Whether a name is one of those.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let Some((last, before)) = self.texts.split_last() else { return false };
        let mut rest = name;
        for (at, text) in before.iter().enumerate() {
            match rest.find(text.as_str()) {
                Some(found) if at > 0 || found == 0 => rest = &rest[found + text.len()..],
                _ => return false,
            }
        }
        let is_start = before.is_empty();
        let ends = |text: &str| text.is_empty() || (self.end == End::OfModule && text.starts_with('.'));
        match self.end {
            End::Anywhere if is_start => rest.starts_with(last.as_str()),
            End::Anywhere => rest.contains(last.as_str()),
            _ if is_start => rest.strip_prefix(last.as_str()).is_some_and(ends),
            _ => rest.match_indices(last.as_str()).any(|(at, _)| ends(&rest[at + last.len()..])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_as_pythons_do() {
        for (expression, name, expected) in [
            (".*down_proj", "model.layers.0.mlp.down_proj", true),
            (".*down_proj", "model.layers.0.mlp.up_proj", false),
            ("model.layers.0.self_attn.*", "model.layers.0.self_attn.q_proj", true),
            ("model.layers.1", "model.layers.12.mlp.up_proj", true),
            ("layers.0", "model.layers.0", false),
            (r"^model\.layers\.\d+\.mlp\.gate$", "model.layers.31.mlp.gate", true),
            (r"^model\.layers\.\d+\.mlp\.gate$", "model.layers.31.mlp.gate_proj", false),
            ("a.*a$", "aXaXa", true),
            ("a.*b.*c$", "abcb", false),
            ("a.*b.*c$", "abcbc", true),
            ("", "anything", true),
            ("x.*", "anything", false),
        ] {
            let pattern = Pattern::of_expression(expression).expect(expression);
            assert_eq!(pattern.matches(name), expected, "{expression} on {name}");
        }
        for more in ["(a|b)", "a?", "[ab]", r"\w", "a{2}", "a+", "a*"] {
            assert_eq!(Pattern::of_expression(more), None, "{more}");
        }
    }

    #[test]
    fn names_match_whole_modules() {
        let pattern = Pattern::of_name("model.layers.*.mlp").expect("a name");
        for (name, expected) in [
            ("model.layers.3.mlp", true),
            ("model.layers.3.mlp.up_proj", true),
            ("model.layers.3.mlp_norm", false),
            ("model.layers.3.mlp_norm.mlp", true),
        ] {
            assert_eq!(pattern.matches(name), expected, "{name}");
        }
    }
}
