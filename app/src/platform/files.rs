//! Files that people choose or drop, whole folders too.

use std::io;

use js_sys::{Array, Function, Promise};
use leptos::prelude::window;
use phi3::weights::WeightSource;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    DataTransfer, File, FileSystemDirectoryEntry, FileSystemEntry, FileSystemFileEntry, HtmlInputElement,
};

/// Files of a folder that are looked at, by the end of their names.
const KINDS: [&str; 3] = [".json", ".safetensors", ".gguf"];
/// Folders are read this deep: a model folder in a folder.
const MAX_DEPTH: usize = 3;
/// Entries read of one drop.
const MAX_ENTRIES: usize = 2000;

/// A file with its path inside what was chosen.
#[derive(Debug, Clone)]
pub struct Picked {
    /// `folder/config.json`, or the bare name.
    pub path: String,
    file: File,
}

impl Picked {
    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.file.size() as u64
    }

    /// What tells it from another file of its name.
    pub fn print(&self) -> String {
        format!("{} {} {}", self.path, self.size(), self.file.last_modified())
    }

    /// Its plain name.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The same file, as if it had been chosen in another folder; of none where that is empty.
    pub fn within(&self, folder: &str) -> Self {
        let name = self.name();
        let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        Self { path, file: self.file.clone() }
    }

    /// The same file as the config of a folder, whatever it is called.
    pub fn as_config(&self, folder: &str) -> Self {
        Self { path: "config.json".to_owned(), file: self.file.clone() }.within(folder)
    }

    /// Its first bytes; none of them where it cannot be read.
    pub async fn head(&self) -> [u8; 4] {
        let mut head = [0; 4];
        let _ = self.read_into(0, &mut head).await;
        head
    }

    /// The browser's own handle to it.
    pub(super) fn handle(&self) -> &File {
        &self.file
    }

    /// The whole file.
    ///
    /// # Errors
    /// The browser's own words, for example where the file is gone.
    pub async fn read(&self) -> Result<Vec<u8>, String> {
        let buffer = JsFuture::from(self.file.array_buffer()).await.map_err(|e| words(&e))?;
        Ok(js_sys::Uint8Array::new(&buffer).to_vec())
    }
}

/// A slice at a time: a model's weights never come into memory as a whole.
impl WeightSource for Picked {
    fn len(&self) -> u64 {
        self.size()
    }

    async fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let failed = |error: JsValue| io::Error::other(words(&error));
        let end = offset + buffer.len() as u64;
        if end > self.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let slice = self.file.slice_with_f64_and_f64(offset as f64, end as f64).map_err(failed)?;
        let found = JsFuture::from(slice.array_buffer()).await.map_err(failed)?;
        let found = js_sys::Uint8Array::new(&found);
        // A file that was written to since it was chosen.
        if found.length() as usize != buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        found.copy_to(buffer);
        Ok(())
    }
}

pub(super) fn words(error: &JsValue) -> String {
    error.dyn_ref::<js_sys::Error>().map_or_else(|| format!("{error:?}"), |e| String::from(e.message()))
}

/// Where files lie between the program that was given them and the one that reads them.
const HANDED: &str = "preflightFiles";

/// What was given and is still to be read by the other program of the tab, which may be on its way: what comes later waits
/// behind it.
#[derive(Debug, Clone)]
pub struct HandOver(Array);

impl HandOver {
    /// Nothing yet, where the other program finds it.
    #[must_use]
    pub fn new() -> Self {
        let queue = Array::new();
        // Refused only by a frozen window, and then nothing works.
        let _ = js_sys::Reflect::set(&window(), &JsValue::from_str(HANDED), &queue);
        Self(queue)
    }

    /// The one that the first program has made.
    #[must_use]
    pub fn of_tab() -> Self {
        let queue = js_sys::Reflect::get(&window(), &JsValue::from_str(HANDED)).ok();
        queue.and_then(|queue| queue.dyn_into().ok()).map_or_else(Self::new, Self)
    }

    /// Files that were given together.
    pub fn files(&self, picked: &[Picked]) {
        let given = picked.iter().map(|p| Array::of2(&JsValue::from_str(&p.path), &p.file));
        self.0.push(&given.collect::<Array>());
    }

    /// A config that was pasted: a file of no folder, which so has no name.
    pub fn config(&self, text: &str) {
        self.0.push(&Array::of1(&Array::of2(&JsValue::from_str(PASTED), &JsValue::from_str(text))));
    }

    /// Whether nothing is being read, and nothing waits for it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.length() == 0
    }

    /// What came first; it stays until it is [`Self::done`].
    #[must_use]
    pub fn first(&self) -> Option<Vec<Picked>> {
        let given: Array = self.0.get(0).dyn_into().ok()?;
        let picked = |pair: JsValue| {
            let pair: Array = pair.dyn_into().ok()?;
            let (path, file) = (pair.get(0).as_string()?, pair.get(1));
            let file = match file.dyn_into::<File>() {
                Ok(file) => file,
                Err(text) => File::new_with_str_sequence(&Array::of1(&text), &path).ok()?,
            };
            Some(Picked { path, file })
        };
        Some(given.iter().filter_map(picked).collect())
    }

    /// What came first was read.
    pub fn done(&self) {
        self.0.shift();
    }
}

impl Default for HandOver {
    fn default() -> Self {
        Self::new()
    }
}

/// Path of a config that was pasted.
const PASTED: &str = "/config.json";

/// The files of an input; empties it, so that the same file can be chosen again.
pub fn from_input(input: &HtmlInputElement) -> Vec<Picked> {
    let files = listed(input.files());
    input.set_value("");
    files
}

fn listed(list: Option<web_sys::FileList>) -> Vec<Picked> {
    let Some(list) = list else { return Vec::new() };
    let picked = |file: File| {
        let relative = js_sys::Reflect::get(&file, &JsValue::from_str("webkitRelativePath")).ok();
        let path = relative.and_then(|p| p.as_string()).filter(|p| !p.is_empty());
        Picked { path: path.unwrap_or_else(|| file.name()), file }
    };
    (0..list.length()).filter_map(|i| list.get(i)).map(picked).collect()
}

/// The files of a drop. What was dropped is read at once; walking folders goes on in the future.
pub fn from_drop(transfer: &DataTransfer) -> impl Future<Output = Vec<Picked>> + use<> {
    let plain = listed(transfer.files());
    let items = transfer.items();
    let entries: Vec<FileSystemEntry> = (0..items.length())
        .filter_map(|i| items.get(i))
        .filter_map(|item| item.webkit_get_as_entry().ok().flatten())
        .collect();
    async move {
        if !entries.iter().any(FileSystemEntry::is_directory) {
            return plain;
        }
        let mut found = Vec::new();
        let mut queue: Vec<(FileSystemEntry, usize)> = entries.into_iter().map(|e| (e, 0)).collect();
        let mut seen = 0;
        while let Some((entry, depth)) = queue.pop() {
            seen += 1;
            if seen > MAX_ENTRIES {
                break;
            }
            let path = entry.full_path().trim_start_matches('/').to_owned();
            if let Some(folder) = entry.dyn_ref::<FileSystemDirectoryEntry>().filter(|_| depth < MAX_DEPTH) {
                queue.extend(children(folder).await.into_iter().map(|e| (e, depth + 1)));
            } else if let Some(file) = entry.dyn_ref::<FileSystemFileEntry>()
                && KINDS.iter().any(|end| path.ends_with(end))
                && let Ok(file) =
                    JsFuture::from(called(|ok, err| file.file_with_callback_and_callback(ok, err))).await
            {
                found.push(Picked { path, file: file.unchecked_into() });
            }
        }
        found
    }
}

/// Everything in a folder; browsers hand it out in batches that end with an empty one.
async fn children(folder: &FileSystemDirectoryEntry) -> Vec<FileSystemEntry> {
    let reader = folder.create_reader();
    let mut all = Vec::new();
    loop {
        let batch = called(|ok, err| reader.read_entries_with_callback_and_callback(ok, err).is_ok());
        let Ok(batch) = JsFuture::from(batch).await else { return all };
        let batch: Array = batch.unchecked_into();
        if batch.length() == 0 || all.len() > MAX_ENTRIES {
            return all;
        }
        all.extend(batch.iter().map(JsCast::unchecked_into::<FileSystemEntry>));
    }
}

/// A call with success and error functions, as a promise.
fn called<T>(call: impl FnOnce(&Function, &Function) -> T) -> Promise {
    let mut call = Some(call);
    Promise::new(&mut |resolve, reject| {
        if let Some(call) = call.take() {
            call(&resolve, &reject);
        }
    })
}
