//! Where a written checkpoint goes.

use std::io;

use super::{WeightsError, WeightsProblem};

/// A file that is written from front to back; the caller makes it appear only when complete.
pub trait WeightSink {
    /// Appends bytes.
    ///
    /// # Errors
    /// Whatever the medium reports, unchanged.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Nothing more will be appended; what is buffered goes out.
    ///
    /// # Errors
    /// Whatever the medium reports, unchanged.
    fn finish(&mut self) -> io::Result<()>;
}

impl<W: io::Write> WeightSink for W {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(self, bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        io::Write::flush(self)
    }
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFile {
    /// Its plain name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A checkpoint that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Every file, in the order of writing.
    pub files: Vec<WrittenFile>,
    /// Number of parameters.
    pub params_total: u64,
}

/// One file on its way, with errors that name it.
pub(super) struct Output<W> {
    file: WrittenFile,
    sink: W,
}

impl<W: WeightSink> Output<W> {
    pub(super) fn create(
        name: &str,
        create: &mut impl FnMut(&str) -> io::Result<W>,
    ) -> Result<Self, WeightsError> {
        let sink = create(name).map_err(|error| WeightsError::new(name, WeightsProblem::Write(error)))?;
        Ok(Self { file: WrittenFile { name: name.to_owned(), bytes: 0 }, sink })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), WeightsError> {
        self.file.bytes += bytes.len() as u64;
        let failed = |error| WeightsError::new(&self.file.name, WeightsProblem::Write(error));
        self.sink.write_all(bytes).map_err(failed)
    }

    pub(super) fn finish(mut self) -> Result<WrittenFile, WeightsError> {
        let failed = |error| WeightsError::new(&self.file.name, WeightsProblem::Write(error));
        self.sink.finish().map_err(failed)?;
        Ok(self.file)
    }
}

/// Writes a whole file.
pub(super) fn write_file<W: WeightSink>(
    name: &str,
    bytes: &[u8],
    create: &mut impl FnMut(&str) -> io::Result<W>,
) -> Result<WrittenFile, WeightsError> {
    let mut output = Output::create(name, create)?;
    output.write(bytes)?;
    output.finish()
}
