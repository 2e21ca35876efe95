//! A file of weights, wherever it lies.

use std::io;

use phi3::weights::{ConcurrentRead, WeightSource};

use crate::FileSource;
use crate::hub::HubFile;

/// One file of a checkpoint.
#[derive(Debug)]
pub enum WeightFile {
    /// On this machine.
    Local(FileSource),
    /// On the Hub.
    Hub(HubFile),
}

impl WeightSource for WeightFile {
    fn len(&self) -> u64 {
        match self {
            Self::Local(file) => file.len(),
            Self::Hub(file) => file.len(),
        }
    }

    async fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Local(file) => file.read_into(offset, buffer).await,
            Self::Hub(file) => file.read_into(offset, buffer).await,
        }
    }

    fn concurrent(&self) -> Option<&dyn ConcurrentRead> {
        match self {
            Self::Local(file) => file.concurrent(),
            Self::Hub(_) => None,
        }
    }
}
