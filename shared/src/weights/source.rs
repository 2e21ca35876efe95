//! The seam between bytes and whoever reads them.

use std::io;

/// A file of weights that can be read at any position.
///
/// Implementations fail on a short read: a file that shrinks while it is read is an error, not a signal.
#[expect(async_fn_in_trait, reason = "one thread reads; a Send bound would shut out the browser")]
pub trait WeightSource {
    /// Length in bytes when it was opened.
    fn len(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset` on.
    async fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same bytes for several threads at once, where the medium allows it.
    fn concurrent(&self) -> Option<&dyn ConcurrentRead> {
        None
    }
}

/// Positioned reads by several threads at once.
pub trait ConcurrentRead: Sync {
    /// Fills `buffer` with the bytes from `offset` on; a short read is an error.
    ///
    /// # Errors
    /// Whatever the medium reports, unchanged.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// A file held in memory.
#[derive(Debug, Clone)]
pub struct BytesSource<B: AsRef<[u8]>>(pub B);

impl<B: AsRef<[u8]> + Sync> ConcurrentRead for BytesSource<B> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.as_ref();
        let found = usize::try_from(offset)
            .ok()
            .and_then(|start| bytes.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

impl<B: AsRef<[u8]> + Sync> WeightSource for BytesSource<B> {
    fn len(&self) -> u64 {
        self.0.as_ref().len() as u64
    }

    async fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buffer)
    }

    fn concurrent(&self) -> Option<&dyn ConcurrentRead> {
        Some(self)
    }
}
