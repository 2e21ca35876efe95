//! The last lines of a worker's log: few, short and clean, whatever it writes.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const LINES: usize = 200;
const LINE_BYTES: usize = 1024;

/// Keeps the last lines of a stream.
#[derive(Debug, Default)]
pub struct LogRing {
    lines: Mutex<VecDeque<String>>,
}

impl LogRing {
    /// Reads `stream` to its end.
    pub async fn fill(self: std::sync::Arc<Self>, mut stream: impl AsyncRead + Unpin) {
        let mut chunk = [0; 8192];
        let mut line = Vec::new();
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            for byte in &chunk[..read] {
                match byte {
                    b'\n' => self.push(&std::mem::take(&mut line)),
                    // The rest of an overlong line is dropped.
                    _ if line.len() < LINE_BYTES => line.push(*byte),
                    _ => {}
                }
            }
        }
        self.push(&line);
    }

    /// The lines kept, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    /// The newest line.
    #[must_use]
    pub fn last(&self) -> Option<String> {
        self.lock().back().cloned()
    }

    /// Adds a line of another source.
    pub(crate) fn add(&self, line: &str) {
        self.push(&line.as_bytes()[..line.len().min(LINE_BYTES)]);
    }

    fn push(&self, line: &[u8]) {
        let line = clean(line);
        if line.is_empty() {
            return;
        }
        let mut lines = self.lock();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of a line without terminal sequences, control and direction characters.
fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                // A control sequence ends with a character from `@` to `~`.
                chars.by_ref().find(|c| ('@'..='~').contains(c));
            }
            '\t' => out.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn the_ring_stays_small_and_clean() {
        let mut stream = b"\x1b[31mred\x1b[0m and \xff\x00 bytes\r\n\n".to_vec();
        stream.extend("x".repeat(1 << 20).bytes());
        stream.push(b'\n');
        for i in 0..LINES {
            stream.extend(format!("line {i}\n").bytes());
        }
        let ring = Arc::new(LogRing::default());
        Arc::clone(&ring).fill(&stream[..28]).await;
        assert_eq!(ring.lines(), ["red and \u{fffd} bytes"]);
        Arc::clone(&ring).fill(stream.as_slice()).await;
        assert_eq!(ring.lines().len(), LINES);
        assert_eq!(ring.last().as_deref(), Some("line 199"));
        assert!(ring.lines().iter().all(|line| line.len() <= LINE_BYTES));
    }
}
