//! Texts that end a stream. What may be the beginning of one is held back until it is known.

/// Stop texts, and the text that is held back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stops {
    texts: Vec<String>,
    held: String,
}

impl Stops {
    /// Empty texts stop nothing.
    pub(crate) fn new(texts: Vec<String>) -> Self {
        Self { texts: texts.into_iter().filter(|text| !text.is_empty()).collect(), held: String::new() }
    }

    /// Takes text and gives what is certain to stand before any stop; whether one came.
    pub(crate) fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let first = self.texts.iter().filter_map(|stop| self.held.find(stop)).min();
        if let Some(at) = first {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let keep = self.texts.iter().map(|stop| begun(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back: no stop came of it.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` with which `stop` begins.
fn begun(text: &str, stop: &str) -> usize {
    let lengths = stop.char_indices().map(|(at, _)| at).skip(1);
    lengths.filter(|length| text.ends_with(&stop[..*length])).last().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut stops = Stops::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut whole = String::new();
        for piece in pieces {
            let (text, stopped) = stops.push(piece);
            whole += &text;
            if stopped {
                return (whole, true);
            }
        }
        (whole + &stops.finish(), false)
    }

    #[test]
    fn a_stop_is_found_however_it_is_cut() {
        for pieces in
            [&["one two three"][..], &["one t", "wo th", "ree"], &["o", "n", "e", " ", "t", "w", "o"]]
        {
            assert_eq!(all(&["two"], pieces), ("one ".to_owned(), true), "{pieces:?}");
        }
        assert_eq!(all(&["ßx", "wo"], &["gro", "ß", "y two"]), ("großy t".to_owned(), true));
        // The first in the text, not in the list.
        assert_eq!(all(&["three", "two"], &["one two three"]), ("one ".to_owned(), true));
    }

    #[test]
    fn nothing_is_lost_that_only_began_like_a_stop() {
        assert_eq!(all(&["two"], &["one t", "w", "ice"]), ("one twice".to_owned(), false));
        assert_eq!(all(&["two"], &["one tw"]), ("one tw".to_owned(), false));
        assert_eq!(all(&["aab"], &["aa", "aab"]), ("aa".to_owned(), true));
        assert_eq!(all(&[""], &["x"]), ("x".to_owned(), false));
    }
}
