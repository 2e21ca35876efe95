//! The file system that a browser gives to a page: private to it, out of sight of the person's own files.

use js_sys::{Object, Promise, Reflect};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::File;

use super::{scope, set, words};

// As web-sys has them, but that a method which a browser lacks is an error here: there it would end the program.
#[wasm_bindgen]
extern "C" {
    type Storage;
    #[wasm_bindgen(method, catch, js_name = getDirectory)]
    fn root(this: &Storage) -> Result<Promise, JsValue>;

    type Directory;
    #[wasm_bindgen(method, catch, js_name = getDirectoryHandle)]
    fn directory(this: &Directory, name: &str, options: &JsValue) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = getFileHandle)]
    fn file(this: &Directory, name: &str, options: &JsValue) -> Result<Promise, JsValue>;

    type Handle;
    #[wasm_bindgen(method, catch, js_name = getFile)]
    fn read(this: &Handle) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createSyncAccessHandle)]
    fn open(this: &Handle) -> Result<Promise, JsValue>;

    type OpenFile;
    #[wasm_bindgen(method, catch)]
    fn write(this: &OpenFile, bytes: &[u8], options: &JsValue) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn flush(this: &OpenFile) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = getSize)]
    fn size(this: &OpenFile) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn close(this: &OpenFile) -> Result<(), JsValue>;
}

/// Why something of it could not be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DiskError {
    /// The browser grants no more bytes.
    Full,
    /// It is not there.
    Absent,
    /// Anything else, in the browser's words.
    Other(String),
}

/// A directory.
pub(crate) struct Folder(Directory);

impl Folder {
    /// The directory below the root that `path` leads to; with `create` it is made where there is none.
    pub(crate) async fn open(path: &[&str], create: bool) -> Result<Self, DiskError> {
        let storage = Reflect::get(&scope().navigator(), &JsValue::from_str("storage")).map_err(told)?;
        let root = storage.unchecked_into::<Storage>().root();
        let mut folder: Directory = promised(root).await?.unchecked_into();
        for name in path {
            let found = folder.directory(name, &options("create", create.into())?);
            folder = promised(found).await?.unchecked_into();
        }
        Ok(Self(folder))
    }

    /// A file of it, to be read by slices.
    pub(crate) async fn file(&self, name: &str) -> Result<File, DiskError> {
        let handle = self.handle(name, false).await?;
        Ok(promised(handle.read()).await?.unchecked_into())
    }

    /// A file to be written from its beginning.
    pub(crate) async fn create(&self, name: &str) -> Result<NewFile, DiskError> {
        let handle = self.handle(name, true).await?;
        Ok(NewFile { file: promised(handle.open()).await?.unchecked_into(), len: 0 })
    }

    async fn handle(&self, name: &str, create: bool) -> Result<Handle, DiskError> {
        let found = self.0.file(name, &options("create", create.into())?);
        Ok(promised(found).await?.unchecked_into())
    }
}

/// A file that is written; whoever drops it closes it.
pub(crate) struct NewFile {
    file: OpenFile,
    len: u64,
}

impl NewFile {
    /// Writes at its end.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> Result<(), DiskError> {
        while !bytes.is_empty() {
            let at = options("at", (self.len as f64).into())?;
            let written = self.file.write(bytes, &at).map_err(told)? as usize;
            // A browser may write less than it was given, and nothing where there is no room. In private windows Chromium
            // then answers with the number of an error (-8, unsigned) as if it were a count.
            bytes = match bytes.get(written..) {
                Some(rest) if written > 0 => rest,
                _ => return Err(DiskError::Full),
            };
            self.len += written as u64;
        }
        Ok(())
    }

    /// Has all of it brought to the disk.
    pub(crate) fn finish(self) -> Result<(), DiskError> {
        self.file.flush().map_err(told)?;
        let len = self.file.size().map_err(told)?;
        if len as u64 == self.len { Ok(()) } else { Err(DiskError::Full) }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // What is closed already.
        self.file.close().ok();
    }
}

/// What the browser promises.
async fn promised(promise: Result<Promise, JsValue>) -> Result<JsValue, DiskError> {
    JsFuture::from(promise.map_err(told)?).await.map_err(told)
}

fn options(name: &str, value: JsValue) -> Result<JsValue, DiskError> {
    let options = Object::new();
    set(&options, name, &value).map_err(DiskError::Other)?;
    Ok(options.into())
}

fn told(error: JsValue) -> DiskError {
    let name = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.name()));
    match name.as_deref() {
        Some("QuotaExceededError") => DiskError::Full,
        Some("NotFoundError") => DiskError::Absent,
        _ => DiskError::Other(words(&error)),
    }
}
