//! Names of modules by pattern: what lists of modules that are left as they were hold beside names.

/// A pattern of names: texts, gaps of any length, and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pieces: Vec<Piece>,
    end: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Gap,
    Digits,
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

/// Pieces of a pattern that is followed.
const MOST_PIECES: usize = 32;

impl Pattern {
    /// A module's name with gaps, `model.layers.*.self_attn`; `None` where it is more than that.
    #[must_use]
    pub fn of_name(entry: &str) -> Option<Self> {
        Some(Self { pieces: pieces(entry)?, end: End::OfModule })
    }

    /// A regular expression that has to match the start of a name, as Python's `re.match` does it; `None` where it is more
    /// than texts, `.*`, `.+` and numbers.
    #[must_use]
    pub fn of_expression(expression: &str) -> Option<Self> {
        let expression = expression.strip_prefix('^').unwrap_or(expression);
        let (expression, end) = match expression.strip_suffix('$') {
            Some(whole) => (whole, End::Here),
            None => (expression, End::Anywhere),
        };
        Some(Self { pieces: pieces(expression)?, end })
    }

    /// Whether a name is one of those.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        // Where in the name one may stand after the pieces so far.
        let mut at = vec![false; name.len() + 1];
        at[0] = true;
        for piece in &self.pieces {
            let mut next = vec![false; name.len() + 1];
            for start in (0..=name.len()).filter(|start| at[*start]) {
                match piece {
                    Piece::Text(text) => {
                        if name.as_bytes()[start..].starts_with(text.as_bytes()) {
                            next[start + text.len()] = true;
                        }
                    }
                    Piece::Gap => {
                        next[start..].fill(true);
                        break;
                    }
                    Piece::Digits => {
                        let digits = name.as_bytes()[start..].iter().take_while(|byte| byte.is_ascii_digit());
                        next[start + 1..][..digits.count()].fill(true);
                    }
                }
            }
            at = next;
        }
        match self.end {
            End::Here => at[name.len()],
            End::OfModule => {
                at[name.len()] || name.bytes().zip(&at).any(|(byte, here)| byte == b'.' && *here)
            }
            End::Anywhere => at.contains(&true),
        }
    }
}

fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let special = [(".*", Piece::Gap), (r"\d+", Piece::Digits), ("[0-9]+", Piece::Digits)];
        if let Some((found, piece)) = special.into_iter().find(|(special, _)| rest.starts_with(special)) {
            rest = &rest[found.len()..];
            pieces.push(piece);
        } else {
            // A dot stands for any character; in names it is a dot.
            rest = rest.strip_prefix('\\').filter(|rest| rest.starts_with('.')).unwrap_or(rest);
            let first = rest.chars().next()?;
            if "*+?[](){}|^$\\:".contains(first) {
                return None;
            }
            match pieces.last_mut() {
                Some(Piece::Text(text)) => text.push(first),
                _ => pieces.push(Piece::Text(first.to_string())),
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    (pieces.len() <= MOST_PIECES).then_some(pieces)
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
            ("", "anything", true),
        ] {
            let pattern = Pattern::of_expression(expression).expect(expression);
            assert_eq!(pattern.matches(name), expected, "{expression} on {name}");
        }
        for more in ["(a|b)", "a?", "[ab]", r"\w", "a{2}", "a+", "a*"] {
            assert_eq!(Pattern::of_expression(more), None, "{more}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_little() {
        let pattern = Pattern::of_expression(&".*a".repeat(16)).expect("gaps");
        assert!(!pattern.matches(&"a".repeat(15)));
        assert_eq!(Pattern::of_expression(&".*a".repeat(17)), None);
    }
}
