//! Server-sent events out of bytes: for answers to POST, which the browser's own reader cannot send.

/// Puts lines together that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
    data: String,
}

impl Lines {
    /// The data of every event that is whole with these bytes. Names, ids and comments are left out.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        self.rest.extend_from_slice(bytes);
        // A character may be cut between two pieces; a line end never is one of its bytes.
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if !self.data.is_empty() {
                    events.push(std::mem::take(&mut self.data));
                }
            } else if let Some(data) = line.strip_prefix("data:") {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    /// However the bytes are cut, the same events come out of them.
    #[wasm_bindgen_test(unsupported = test)]
    fn events_do_not_depend_on_the_cuts() {
        let stream = "data: {\"x\":\"é → 日本\"}\r\n\r\n: keep-alive\n\nevent: a\ndata: 1\ndata: 2\n\ndata: [DONE]\n\n";
        let whole = ["{\"x\":\"é → 日本\"}", "1\n2", "[DONE]"];
        for size in 1..stream.len() {
            let mut lines = Lines::default();
            let found: Vec<String> =
                stream.as_bytes().chunks(size).flat_map(|piece| lines.take(piece)).collect();
            assert_eq!(found, whole, "pieces of {size}");
        }
        // What is not ended yet is not told.
        assert!(Lines::default().take(b"data: 1\n").is_empty());
    }
}
