//! Where a written checkpoint goes.

use std::io;

/// A file that is written from front to back; the caller makes it appear only when complete.
pub trait WeightSink {
    /// Appends bytes.
    ///
    /// # Errors
    /// Whatever the medium reports, unchanged.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl<W: io::Write> WeightSink for W {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(self, bytes)
    }
}
