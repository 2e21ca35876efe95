//! Sequential reading of a header through positioned reads.

use crate::weights::{MAX_HEADER_BYTES, WeightSource, WeightsError, WeightsProblem};

/// Bytes read ahead.
const AHEAD: usize = 1 << 16;

/// Reads a file from the front; refuses what would pass its end or the limit for headers.
pub(super) struct Reader<'a, S> {
    file: &'a str,
    source: &'a S,
    buffer: Vec<u8>,
    /// Next byte in `buffer`.
    next: usize,
    /// Position in the file of the first byte after `buffer`.
    end: u64,
}

impl<'a, S: WeightSource> Reader<'a, S> {
    pub(super) fn new(file: &'a str, source: &'a S) -> Self {
        Self { file, source, buffer: Vec::new(), next: 0, end: 0 }
    }

    /// Position in the file of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.end - (self.buffer.len() - self.next) as u64
    }

    /// Bytes from here to the end of the file.
    pub(super) fn remaining(&self) -> u64 {
        self.source.len() - self.position()
    }

    /// An error about this file.
    pub(super) fn corrupt(&self, what: impl Into<String>) -> WeightsError {
        self.refuse(WeightsProblem::Corrupt(what.into()))
    }

    /// A problem of this file.
    pub(super) fn refuse(&self, problem: WeightsProblem) -> WeightsError {
        WeightsError::new(self.file, problem)
    }

    /// The next `len` bytes.
    pub(super) async fn bytes(&mut self, len: u64) -> Result<Vec<u8>, WeightsError> {
        self.expect(len)?;
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes).await?;
        Ok(bytes)
    }

    /// The next `N` bytes, for a number.
    pub(super) async fn array<const N: usize>(&mut self) -> Result<[u8; N], WeightsError> {
        self.expect(N as u64)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes).await?;
        Ok(bytes)
    }

    pub(super) async fn u32(&mut self) -> Result<u32, WeightsError> {
        Ok(u32::from_le_bytes(self.array().await?))
    }

    pub(super) async fn u64(&mut self) -> Result<u64, WeightsError> {
        Ok(u64::from_le_bytes(self.array().await?))
    }

    /// A string: its length, its bytes.
    pub(super) async fn string(&mut self) -> Result<String, WeightsError> {
        let len = self.u64().await?;
        let position = self.position();
        String::from_utf8(self.bytes(len).await?)
            .map_err(|error| self.corrupt(format!("the string at byte {position} is no text: {error}")))
    }

    /// Refuses to go on if fewer than `len` bytes follow, or more than a header may have.
    pub(super) fn expect(&self, len: u64) -> Result<(), WeightsError> {
        let (position, file_len) = (self.position(), self.source.len());
        if len > file_len - position {
            return Err(self.corrupt(format!(
                "its header claims {len} bytes at byte {position}, the file has {file_len}; is it complete?"
            )));
        }
        if len > MAX_HEADER_BYTES.saturating_sub(position) {
            return Err(self.corrupt(format!(
                "its header claims {len} bytes at byte {position}, at most {MAX_HEADER_BYTES} are read"
            )));
        }
        Ok(())
    }

    /// Fills `bytes`; `expect` has been asked.
    async fn fill(&mut self, bytes: &mut [u8]) -> Result<(), WeightsError> {
        let failed = |error| WeightsError::new(self.file, error);
        let ready = bytes.len().min(self.buffer.len() - self.next);
        let (front, rest) = bytes.split_at_mut(ready);
        front.copy_from_slice(&self.buffer[self.next..self.next + ready]);
        self.next += ready;
        if rest.is_empty() {
            return Ok(());
        }
        if rest.len() >= AHEAD {
            self.source.read_into(self.end, rest).await.map_err(failed)?;
            self.end += rest.len() as u64;
            self.buffer.clear();
            self.next = 0;
            return Ok(());
        }
        let ahead = (self.source.len() - self.end).min(AHEAD as u64) as usize;
        self.buffer.resize(ahead, 0);
        self.source.read_into(self.end, &mut self.buffer).await.map_err(failed)?;
        self.end += ahead as u64;
        rest.copy_from_slice(&self.buffer[..rest.len()]);
        self.next = rest.len();
        Ok(())
    }
}
