//! The file system that the browser gives to this page: what is kept there, and how much it grants.
//! The engines' worker writes there; a page can only look and remove.

use std::cmp::Ordering;

use js_sys::{AsyncIterator, Function, Promise, Reflect};
use leptos::prelude::window;
use phi3::api::{KEPT_FOLDER, KEPT_MANIFEST, Kept};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::File;

// As web-sys has them, but that a method which a browser lacks is an error here: there it would end the program.
#[wasm_bindgen]
extern "C" {
    type Storage;
    #[wasm_bindgen(method, catch, js_name = getDirectory)]
    fn root(this: &Storage) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn estimate(this: &Storage) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn persisted(this: &Storage) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn persist(this: &Storage) -> Result<Promise, JsValue>;

    type Directory;
    #[wasm_bindgen(method, catch, js_name = getDirectoryHandle)]
    fn directory(this: &Directory, name: &str) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = getFileHandle)]
    fn file(this: &Directory, name: &str) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn keys(this: &Directory) -> Result<AsyncIterator, JsValue>;
    #[wasm_bindgen(method, catch, js_name = removeEntry)]
    fn remove(this: &Directory, name: &str, options: &JsValue) -> Result<Promise, JsValue>;

    type Handle;
    #[wasm_bindgen(method, catch, js_name = getFile)]
    fn read(this: &Handle) -> Result<Promise, JsValue>;
}

/// Held by the tab that may have half a copy there.
const LOCK: &str = "preflight-kept";
/// A worker that was ended gives its files free a moment later.
const TRIES: u32 = 50;
const BETWEEN_TRIES_MS: i32 = 100;

/// Why the browser gives no file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// It gives one to pages alone that came over a connection that nobody can change.
    Insecure,
    /// It has none.
    Absent,
    /// It refuses, in its own words: private windows of some browsers do.
    Refused(String),
}

/// Bytes of this page's storage, of every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// In use.
    pub used_bytes: u64,
    /// Granted, those in use among them.
    pub granted_bytes: u64,
    /// Whether the browser deletes nothing of it by itself.
    pub is_persistent: bool,
}

/// Word that no other tab copies anything, until it is dropped or the tab is closed.
#[derive(Debug)]
pub struct Lock {
    release: Function,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // It only settles a promise.
        let _ = self.release.call0(&JsValue::UNDEFINED);
    }
}

/// Every model that is kept, with the name of its directory; the oldest first.
///
/// # Errors
/// Why there is no such file system.
pub async fn kept() -> Result<Vec<(String, Kept)>, Closed> {
    let root = root().await?;
    let Some(folder) = folder(&root, KEPT_FOLDER).await else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for id in names(&folder).await {
        if let Some(kept) = manifest(&folder, &id).await {
            found.push((id, kept));
        }
    }
    found.sort_by(|(a, _), (b, _)| by_age(a, b));
    Ok(found)
}

/// Removes half copies, which a tab leaves that was closed and a worker that was ended; `lock` says that none is
/// somebody's work. False where one could not be removed.
pub async fn sweep(_lock: &Lock) -> bool {
    let Ok(root) = root().await else { return true };
    let Some(folder) = folder(&root, KEPT_FOLDER).await else { return true };
    let mut all_gone = true;
    for id in names(&folder).await {
        if manifest(&folder, &id).await.is_none() {
            all_gone &= removed(&folder, &id).await.is_ok();
        }
    }
    all_gone
}

/// Removes a model that is kept.
///
/// # Errors
/// The browser's own words.
pub async fn remove(id: &str) -> Result<(), String> {
    let Ok(root) = root().await else { return Ok(()) };
    match folder(&root, KEPT_FOLDER).await {
        Some(folder) => removed(&folder, id).await,
        None => Ok(()),
    }
}

/// The lock; `None` where another tab has it and does not give it free within so many tries.
pub async fn lock(tries: u32) -> Option<Lock> {
    for _ in 1..tries {
        match locked().await {
            None => wait(BETWEEN_TRIES_MS).await,
            lock => return lock,
        }
    }
    locked().await
}

async fn locked() -> Option<Lock> {
    let locks = get(&window().navigator(), "locks")?;
    let request: Function = get(&locks, "request")?.dyn_into().ok()?;
    let options = options("ifAvailable")?;
    let mut release = None;
    let held = Promise::new(&mut |resolve, _| release = Some(resolve));
    let release = release?;
    let granted = Promise::new(&mut |resolve, reject| {
        let held = held.clone();
        let on_answer = Closure::once_into_js(move |lock: JsValue| -> JsValue {
            let is_ours = lock.is_object();
            let _ = resolve.call1(&JsValue::UNDEFINED, &JsValue::from_bool(is_ours));
            // It is held until this settles.
            if is_ours { held.into() } else { JsValue::UNDEFINED }
        });
        if let Err(error) = request.call3(&locks, &JsValue::from_str(LOCK), &options, &on_answer) {
            let _ = reject.call1(&JsValue::UNDEFINED, &error);
        }
    });
    JsFuture::from(granted).await.ok().filter(JsValue::is_truthy).map(|_| Lock { release })
}

/// How much of what this browser grants is in use; `None` where it does not tell.
pub async fn space() -> Option<Space> {
    let storage = storage()?;
    let estimate = awaited(storage.estimate()).await.ok()?;
    let bytes = |name| get(&estimate, name)?.as_f64().map(|bytes| bytes as u64);
    Some(Space {
        used_bytes: bytes("usage")?,
        granted_bytes: bytes("quota")?,
        is_persistent: awaited(storage.persisted()).await.is_ok_and(|yes| yes.is_truthy()),
    })
}

/// Asks the browser to delete nothing of this page's by itself; whether it agrees.
pub async fn persist() -> bool {
    let Some(storage) = storage() else { return false };
    awaited(storage.persist()).await.is_ok_and(|yes| yes.is_truthy())
}

/// A name for a directory that is not there yet: while a tab holds the lock, time alone tells two apart.
pub fn new_id(_lock: &Lock) -> String {
    format!("{:.0}", js_sys::Date::now())
}

fn by_age(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn get(of: &JsValue, name: &str) -> Option<JsValue> {
    Reflect::get(of, &JsValue::from_str(name)).ok().filter(|value| !value.is_undefined())
}

fn storage() -> Option<Storage> {
    // Pages that are not secure have none.
    get(&window().navigator(), "storage").map(|storage| storage.unchecked_into())
}

/// Options with one of them set.
fn options(name: &str) -> Option<JsValue> {
    let options = js_sys::Object::new();
    Reflect::set(&options, &JsValue::from_str(name), &JsValue::TRUE).ok()?;
    Some(options.into())
}

async fn awaited(promise: Result<Promise, JsValue>) -> Result<JsValue, JsValue> {
    JsFuture::from(promise?).await
}

async fn root() -> Result<Directory, Closed> {
    let Some(storage) = storage() else {
        return Err(if window().is_secure_context() { Closed::Absent } else { Closed::Insecure });
    };
    if get(&storage, "getDirectory").is_none() || get(&window().navigator(), "locks").is_none() {
        return Err(Closed::Absent);
    }
    match awaited(storage.root()).await {
        Ok(root) => Ok(root.unchecked_into()),
        Err(error) => Err(Closed::Refused(super::files::words(&error))),
    }
}

async fn folder(within: &Directory, name: &str) -> Option<Directory> {
    awaited(within.directory(name)).await.ok().map(|folder| folder.unchecked_into())
}

async fn names(folder: &Directory) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = folder.keys() else { return found };
    while let Ok(next) = awaited(entries.next()).await {
        let Some(name) = get(&next, "value").and_then(|name| name.as_string()) else { break };
        found.push(name);
    }
    found
}

/// What is known of a model; `None` of half a copy, which lacks just that.
async fn manifest(models: &Directory, id: &str) -> Option<Kept> {
    let folder = folder(models, id).await?;
    let handle: Handle = awaited(folder.file(KEPT_MANIFEST)).await.ok()?.unchecked_into();
    let file: File = awaited(handle.read()).await.ok()?.unchecked_into();
    let text = JsFuture::from(file.text()).await.ok()?.as_string()?;
    serde_json::from_str(&text).ok()
}

async fn removed(folder: &Directory, name: &str) -> Result<(), String> {
    let recursive = options("recursive").unwrap_or_default();
    let mut tries = 0;
    loop {
        let Err(error) = awaited(folder.remove(name, &recursive)).await else { return Ok(()) };
        let kind = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.name()));
        match kind.as_deref() {
            Some("NotFoundError") => return Ok(()),
            Some("NoModificationAllowedError") if tries < TRIES => tries += 1,
            _ => return Err(super::files::words(&error)),
        }
        wait(BETWEEN_TRIES_MS).await;
    }
}

async fn wait(ms: i32) {
    let waited = Promise::new(&mut |resolve, _| {
        // Where a page has no timers there is nothing to wait for.
        let _ = window().set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, ms);
    });
    let _ = JsFuture::from(waited).await;
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test]
    async fn one_at_a_time_holds_the_lock() {
        let first = lock(1).await.expect("nobody has it");
        assert!(lock(2).await.is_none());
        drop(first);
        assert!(lock(20).await.is_some());
    }

    #[wasm_bindgen_test]
    fn later_names_are_younger() {
        let mut ids = ["1764180000001", "999", "1764180000000"];
        ids.sort_by(|a, b| by_age(a, b));
        assert_eq!(ids, ["999", "1764180000000", "1764180000001"]);
    }
}
