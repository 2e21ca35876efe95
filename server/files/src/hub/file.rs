//! A file of the Hub read at positions, by ranges.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use phi3::weights::{MAX_HEADER_BYTES, WeightSource};

use super::HubError;
use super::client::{Client, Target};

/// First bytes that are fetched: the header of most shards lies in them.
const FIRST_BYTES: u64 = 16 << 10;

/// Most bytes that are read ahead; longer reads go past the window, straight into the reader's buffer.
const MAX_AHEAD_BYTES: u64 = 4 << 20;

/// A file of a known length, a window of which is kept. A header read from the front takes one or two requests
/// of a safetensors file; the window doubles while reading goes on, as it does in a GGUF file.
#[derive(Debug)]
pub struct HubFile {
    client: Arc<Client>,
    target: Target,
    len: u64,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Copies what it holds of the bytes from `offset` on, and tells how many.
    fn copy(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let Some(from) = offset.checked_sub(self.start).filter(|from| *from < self.bytes.len() as u64) else {
            return 0;
        };
        let held = &self.bytes[from as usize..];
        let count = held.len().min(buffer.len());
        buffer[..count].copy_from_slice(&held[..count]);
        count
    }
}

impl HubFile {
    pub(super) fn new(client: Arc<Client>, target: Target, len: u64) -> Self {
        Self { client, target, len, window: Mutex::default() }
    }

    /// Fetches the header of a safetensors file, so that reading it waits for nothing. What the file claims about
    /// itself is judged by whoever reads it.
    ///
    /// # Errors
    /// A failed request.
    pub(crate) fn fetch_header(&self) -> Result<(), HubError> {
        let mut window = self.lock();
        self.advance(&mut window, 0, self.len.min(FIRST_BYTES))?;
        let Some((length, _)) = window.bytes.split_first_chunk::<8>() else { return Ok(()) };
        let claimed = u64::from_le_bytes(*length);
        let end = claimed.saturating_add(8);
        if claimed > MAX_HEADER_BYTES || end > self.len || end <= window.end() {
            return Ok(());
        }
        let held = window.bytes.len();
        let mut bytes = std::mem::take(&mut window.bytes);
        bytes.resize(end as usize, 0);
        self.client.range(&self.target, self.len, held as u64, &mut bytes[held..])?;
        window.bytes = bytes;
        Ok(())
    }

    fn read(&self, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), HubError> {
        let mut window = self.lock();
        let held = window.copy(offset, buffer);
        offset += held as u64;
        buffer = &mut buffer[held..];
        let wanted = buffer.len() as u64;
        if wanted == 0 {
            return Ok(());
        }
        if wanted > MAX_AHEAD_BYTES {
            return self.client.range(&self.target, self.len, offset, buffer);
        }
        let goes_on = offset == window.end() && !window.bytes.is_empty();
        let ahead = if goes_on { 2 * window.bytes.len() as u64 } else { FIRST_BYTES };
        let ahead = ahead.clamp(wanted, MAX_AHEAD_BYTES).min(self.len - offset);
        self.advance(&mut window, offset, ahead)?;
        window.copy(offset, buffer);
        Ok(())
    }

    fn advance(&self, window: &mut Window, start: u64, len: u64) -> Result<(), HubError> {
        let mut bytes = vec![0; len as usize];
        self.client.range(&self.target, self.len, start, &mut bytes)?;
        *window = Window { start, bytes };
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WeightSource for HubFile {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read(offset, buffer).map_err(io::Error::other)
    }
}
