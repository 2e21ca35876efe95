//! JSON read from a slice piece by piece, holding nothing but what is asked for. serde_json keeps a string that has
//! escapes in a buffer that grows by doubling, and quotes what it refuses: beside a header of one long string that is
//! several times the header.

use std::borrow::Cow;

use crate::weights::WeightsProblem;
use crate::weights::text::one_line;

/// Objects and lists within each other.
const MAX_DEPTH: usize = 64;

/// A text and how far it was read.
pub(super) struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What an error says before its reason.
    refusal: &'static str,
}

impl<'a> Json<'a> {
    pub(super) fn new(bytes: &'a [u8], refusal: &'static str) -> Self {
        Self { bytes, at: 0, refusal }
    }

    /// An error about what stands here.
    pub(super) fn error(&self, why: &str) -> WeightsProblem {
        WeightsProblem::Corrupt(format!("{}: {why} at byte {}", self.refusal, self.at))
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.bytes.get(self.at).copied()
    }

    /// Takes a byte if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), WeightsProblem> {
        match self.takes(byte) {
            true => Ok(()),
            false if self.at >= self.bytes.len() => Err(self.error("EOF")),
            false => Err(self.error(&format!("expected `{}`", byte as char))),
        }
    }

    /// Refuses what follows the one value of the text.
    pub(super) fn end(&mut self) -> Result<(), WeightsProblem> {
        self.peek().map_or(Ok(()), |_| Err(self.error("trailing characters")))
    }

    /// Each key of an object; `read` takes its value.
    pub(super) fn object(
        &mut self,
        what: &str,
        mut read: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), WeightsProblem>,
    ) -> Result<(), WeightsProblem> {
        if !self.takes(b'{') {
            let why = if self.at < self.bytes.len() { format!("expected {what}") } else { "EOF".to_owned() };
            return Err(self.error(&why));
        }
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string("a key")?;
            self.expect(b':')?;
            read(self, key)?;
            if !self.takes(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// Each item of a list; `read` takes it.
    pub(super) fn list(
        &mut self,
        what: &str,
        mut read: impl FnMut(&mut Self) -> Result<(), WeightsProblem>,
    ) -> Result<(), WeightsProblem> {
        if !self.takes(b'[') {
            return Err(self.error(&format!("expected {what}")));
        }
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            read(self)?;
            if !self.takes(b',') {
                return self.expect(b']');
            }
        }
    }

    /// A string. Only one with escapes is copied, into as much as it can need.
    pub(super) fn string(&mut self, what: &str) -> Result<Cow<'a, str>, WeightsProblem> {
        let raw = self.raw_string(what)?;
        if !raw.contains('\\') {
            return Ok(Cow::Borrowed(raw));
        }
        // Unescaped it is shorter than escaped.
        let mut text = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(at) = rest.find('\\') {
            text.push_str(&rest[..at]);
            let (c, len) = unescape(&rest[at..]).ok_or_else(|| self.error("an escape that means nothing"))?;
            text.push(c);
            rest = &rest[at + len..];
        }
        text.push_str(rest);
        Ok(Cow::Owned(text))
    }

    /// What stands between two quotes, its escapes checked.
    fn raw_string(&mut self, what: &str) -> Result<&'a str, WeightsProblem> {
        if !self.takes(b'"') {
            return Err(self.error(&format!("expected {what}, a string")));
        }
        let start = self.at;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(self.error("EOF in a string")),
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(byte) if *byte < b' ' => return Err(self.error("a control character in a string")),
                Some(_) => self.at += 1,
            }
        }
        let raw = std::str::from_utf8(&self.bytes[start..self.at]);
        self.at += 1;
        let raw = raw.map_err(|_not_utf8| self.error("a string that is no UTF-8"))?;
        let mut rest = raw;
        while let Some(at) = rest.find('\\') {
            let (_, len) = unescape(&rest[at..]).ok_or_else(|| self.error("an escape that means nothing"))?;
            rest = &rest[at + len..];
        }
        Ok(raw)
    }

    /// A string that is not wanted.
    pub(super) fn skip_string(&mut self) -> Result<(), WeightsProblem> {
        self.raw_string("a value").map(drop)
    }

    /// The characters of a number, checked.
    fn number(&mut self) -> Result<&'a str, WeightsProblem> {
        self.peek();
        let start = self.at;
        let digits = |json: &mut Self| {
            let rest = json.bytes.get(json.at..).unwrap_or_default();
            let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            json.at += count;
            count
        };
        let next = |json: &mut Self, bytes: &[u8]| {
            let is_next = json.bytes.get(json.at).is_some_and(|byte| bytes.contains(byte));
            json.at += usize::from(is_next);
            is_next
        };
        next(self, b"-");
        let leads = self.at;
        let whole = digits(self);
        let mut is_number = whole == 1 || whole > 1 && self.bytes[leads] != b'0';
        if is_number && next(self, b".") {
            is_number = digits(self) > 0;
        }
        if is_number && next(self, b"eE") {
            next(self, b"+-");
            is_number = digits(self) > 0;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        if is_number { Ok(text) } else { Err(self.error("expected a value")) }
    }

    /// A whole number that is not negative.
    pub(super) fn whole_number(&mut self) -> Result<u64, WeightsProblem> {
        let text = self.number()?;
        text.parse().map_err(|_other| {
            self.error(&format!("expected a whole number from 0 to 2^64, found {}", one_line(text)))
        })
    }

    /// Any value: a whole number as such, anything else as nothing.
    pub(super) fn claim(&mut self) -> Result<Option<u64>, WeightsProblem> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => Ok(self.number()?.parse().ok()),
            _ => self.skip(0).map(|()| None),
        }
    }

    /// A value that is not wanted.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), WeightsProblem> {
        if depth > MAX_DEPTH {
            return Err(self.error("too deep"));
        }
        match self.peek() {
            Some(b'{') => self.object("an object", |json, _| json.skip(depth + 1)),
            Some(b'[') => self.list("a list", |json| json.skip(depth + 1)),
            Some(b'"') => self.skip_string(),
            Some(b't' | b'f' | b'n') => {
                let rest = &self.bytes[self.at..];
                let word =
                    ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word.as_bytes()));
                self.at += word.ok_or_else(|| self.error("expected a value"))?.len();
                Ok(())
            }
            _ => self.number().map(drop),
        }
    }
}

/// What an escape at the start of a text means, and its length.
fn unescape(text: &str) -> Option<(char, usize)> {
    let hex = |at: usize| -> Option<u32> {
        let digits = text.get(at..at + 4)?;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let c = match text.as_bytes().get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = hex(2)?;
            if !(0xd800..0xdc00).contains(&first) {
                return Some((char::from_u32(first)?, 6));
            }
            // Two halves of one character.
            let second =
                hex(8).filter(|second| text.get(6..8) == Some("\\u") && (0xdc00..0xe000).contains(second))?;
            return Some((char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?, 12));
        }
        _ => return None,
    };
    Some((c, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skips(text: &[u8]) -> bool {
        let mut json = Json::new(text, "no");
        json.skip(0).and_then(|()| json.end()).is_ok()
    }

    #[test]
    fn what_is_json_is_what_serde_json_says() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        for text in [
            r#"{"a":[1,-2,0.5,1e3,-1.5E-7],"b":{"c":null,"d":true,"e":false}}"#,
            r#" [ ] "#,
            r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00 é""#,
            "0",
            &deep(60),
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
            assert!(skips(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "{",
            "[1,]",
            r#"{"a":1,}"#,
            r#"{"a" 1}"#,
            r#"{a:1}"#,
            "01",
            "-",
            "1.",
            "1e",
            "+1",
            ".5",
            "nul",
            "NaN",
            r#""\x""#,
            r#""\u12g4""#,
            r#""\ud800""#,
            r#""\ud800\u0041""#,
            r#""\udc00""#,
            "\"\u{1}\"",
            "\"a",
            "\"\\",
            "1 2",
            "tru",
            r#"["a"1]"#,
            "[1 2]",
            "\u{feff}1",
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
            assert!(!skips(text.as_bytes()), "{text}");
        }
        assert!(!skips(b"\"\xff\"") && !skips(deep(70).as_bytes()) && !skips("[".repeat(100_000).as_bytes()));
    }

    #[test]
    fn strings_and_numbers_are_read() {
        for text in [r#""plain é""#, r#""\u0041\ud83d\ude00\"\\n""#, r#""""#] {
            let expected: String = serde_json::from_str(text).expect("JSON");
            assert_eq!(Json::new(text.as_bytes(), "no").string("x").expect(text), expected);
        }
        for (text, number) in [("0", 0), ("18446744073709551615", u64::MAX), (" 12 ", 12)] {
            assert_eq!(Json::new(text.as_bytes(), "no").whole_number().ok(), Some(number), "{text}");
        }
        for text in ["18446744073709551616", "-1", "1.5", "1e3", "\"1\"", "null", ""] {
            assert!(Json::new(text.as_bytes(), "no").whole_number().is_err(), "{text}");
        }
    }
}
