//! A file that appears only when it is complete.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use phi3::api::ErrorObject;
use serde::Serialize;

use crate::error::CliError;

/// A place for JSON that could be written before there was any.
#[derive(Debug)]
pub(super) struct OutFile {
    target: PathBuf,
    part: PathBuf,
}

impl OutFile {
    /// Tries whether a file can be made beside `target`, which must be absent or a file.
    ///
    /// # Errors
    /// `output_not_writable`
    pub(super) fn at(target: &Path) -> Result<Self, CliError> {
        if target.metadata().is_ok_and(|found| !found.is_file()) {
            return Err(refuse(target, "is no regular file, and would be replaced; name another"));
        }
        let name = target.file_name().ok_or_else(|| refuse(target, "is no file's name"))?;
        let mut part = name.to_owned();
        part.push(format!(".part-{}", std::process::id()));
        let part = target.with_file_name(part);
        // Nothing stays there until there is something to write: who is killed meanwhile leaves nothing.
        let tried = File::create_new(&part).and_then(|_empty| std::fs::remove_file(&part));
        tried.map_err(|error| {
            // The system's words would name a file that nobody asked for.
            match error.kind() {
                io::ErrorKind::NotFound => refuse(target, "its folder is not there; make it"),
                io::ErrorKind::PermissionDenied => refuse(target, "its folder cannot be written"),
                io::ErrorKind::NotADirectory => refuse(target, "lies below a file, not below a folder"),
                _ => refuse(target, &error.to_string()),
            }
        })?;
        Ok(Self { target: target.to_owned(), part })
    }

    /// Writes the value and puts the file in its place; tells its name.
    ///
    /// # Errors
    /// `output_not_writable`
    pub(super) fn write(self, value: &impl Serialize) -> Result<String, CliError> {
        let Self { target, part } = self;
        let json = serde_json::to_string_pretty(value).map_err(io::Error::other);
        let written = json.and_then(|json| std::fs::write(&part, json + "\n"));
        written.and_then(|()| std::fs::rename(&part, &target)).map_err(|error| {
            std::fs::remove_file(&part).ok();
            refuse(&target, &error.to_string())
        })?;
        Ok(target.display().to_string())
    }
}

fn refuse(target: &Path, what: &str) -> CliError {
    let path = target.display().to_string();
    ErrorObject::new("output_not_writable", format!("--out {path}: {what}")).at(path).into()
}
