//! What of the page stands in its address, so that reload and Back return to it and a link shares it.
//!
//! The format is [`phi3::link`]'s, and with it what a link may hold; here is what of a state this page shows.
//! Addresses of the first builds (`model=…&context=…`) are still read.

use phi3::config::PRESETS;
use phi3::dtype::DType;
use phi3::engine::Attention;
use phi3::estimate::{Format, KvPolicy, Options};
use phi3::link::{self, Device, LinkError, LinkedModel, State};
use phi3::units::{exact_size, parse_size};
use serde_json::{Map, Value};

use super::devices;
use super::model::OwnFiles;
use super::page::Page;

/// The part of the page that an address holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The page.
    pub page: Page,
    /// What a page points at: ids of the server, where a validation runs, the parent of a plan. Stands behind the link;
    /// what is shared of it, [`View::to_share`] says.
    pub at: String,
    /// What a page sifts a list by, which of its tabs is open, what is asked of a run: stands behind the link too.
    pub sift: String,
    /// Name of a preset, or [`OWN`] for any other config; empty for the first preset.
    pub model: String,
    /// A config of one's own, where the address holds it.
    pub own: Option<OwnFiles>,
    /// The choices; `device_memory` stands in `memory`, as typed.
    pub options: Options,
    /// A row of the table of devices, or this browser.
    pub device: Option<String>,
    /// Device memory as typed; empty for none. Counts where no device is named.
    pub memory: String,
    /// What a link holds besides: the load config, notes.
    pub rest: State,
}

/// Stands for a config that is no preset.
pub const OWN: &str = "own";
/// Longest text behind a link that is read, in characters.
const MAX_AT: usize = 2000;

/// A link to share, and what it could not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The part of an address after `#`.
    pub hash: String,
    /// JSON paths of what is private and was left out.
    pub left_out: Vec<String>,
}

impl View {
    /// The address of this view. Local paths and secrets of a config are left out, and so is a config that is too
    /// large: it stays in this tab.
    #[must_use]
    pub fn to_hash(&self) -> String {
        let (state, _private) = self.to_state().without_private(PRESETS);
        let only_here = || link::encode(&State { model: Some(LinkedModel::Own), ..state.clone() }, PRESETS);
        let link = link::encode(&state, PRESETS).or_else(|_too_large| only_here()).unwrap_or_default();
        self.pointing(link, &self.at)
    }

    /// The link that shows this view to somebody else. Ids of a server and what lists are sifted by go along: who has
    /// that server finds them. The parent of a plan does not: it is JSON that may name local paths.
    ///
    /// # Errors
    /// More than a link holds.
    pub fn to_share(&self) -> Result<Shared, LinkError> {
        let (state, left_out) = self.to_state().without_private(PRESETS);
        let link = link::encode(&state, PRESETS)?;
        let at = if self.page == Page::Plan { "" } else { &self.at };
        Ok(Shared { hash: self.pointing(link, at), left_out })
    }

    /// A link with what the page points at and sifts by behind it.
    fn pointing(&self, link: String, at: &str) -> String {
        let mut hash = form_urlencoded::Serializer::new(link);
        for (key, value) in [("at", at), ("sift", &self.sift)] {
            if !value.is_empty() {
                hash.append_pair(key, value);
            }
        }
        hash.finish()
    }

    /// The view of an address.
    ///
    /// # Errors
    /// A link that is refused, or what is no address of ours at all.
    pub fn from_hash(hash: &str) -> Result<Self, LinkError> {
        Self::read(hash).map(|(view, _left_out)| view)
    }

    /// The same with what of the address was not understood; the rest says what it says.
    ///
    /// # Errors
    /// As above.
    pub fn read(hash: &str) -> Result<(Self, Vec<String>), LinkError> {
        let mut view = Self::default();
        let mut odd;
        if link::is_link(hash) {
            let (link, pairs) = hash.split_once('&').unwrap_or((hash, ""));
            let decoded = link::decode(link, PRESETS)?;
            odd = decoded.unknown;
            view = Self::from_state(decoded.state, &mut odd);
            for (key, value) in form_urlencoded::parse(pairs.as_bytes()) {
                let text = match key.as_ref() {
                    "at" => &mut view.at,
                    "sift" => &mut view.sift,
                    _ => continue,
                };
                *text = value.chars().take(MAX_AT).collect();
            }
            return Ok((view, odd));
        }
        odd = Vec::new();
        let mut is_ours = hash.is_empty();
        for (key, value) in form_urlencoded::parse(hash.as_bytes()) {
            let taken = view.set_pair(&key, &value);
            is_ours |= taken.is_some();
            if taken != Some(true) {
                odd.push(format!("{key}={value}"));
            }
        }
        if is_ours { Ok((view, odd)) } else { Err(LinkError::NotALink) }
    }

    fn to_state(&self) -> State {
        let model = match (self.model.as_str(), &self.own) {
            ("", _) => None,
            (OWN, Some(files)) => Some(linked(files)),
            (OWN, None) => Some(LinkedModel::Own),
            (name, _) => Some(LinkedModel::Preset(name.to_owned())),
        };
        let label = self.own.as_ref().map(|files| files.name.clone()).filter(|name| !name.is_empty());
        // What cannot be read as a size is not shared: it is still being typed.
        let device = match self.device.as_deref() {
            Some(devices::BROWSER) => Some(Device::Browser),
            Some(name) => Some(Device::Named(name.to_owned())),
            None => parse_size(&self.memory).ok().map(Device::Bytes),
        };
        let page = (self.page != Page::default()).then(|| self.page.name().to_owned());
        State { page, model, label, device, options: self.options.clone(), ..self.rest.clone() }
    }

    /// The view of a link's state; what a newer build wrote into it is `odd`.
    fn from_state(state: State, odd: &mut Vec<String>) -> Self {
        let State { page, model, label, device, options, .. } = state.clone();
        let page = page.map_or_else(Page::default, |name| {
            Page::find(&name).unwrap_or_else(|| {
                odd.push(name);
                Page::default()
            })
        });
        let (model, own) = match model {
            None => (String::new(), None),
            Some(LinkedModel::Preset(name)) => (name, None),
            Some(LinkedModel::Own) => (OWN.to_owned(), None),
            Some(LinkedModel::Config { config, generation_config }) => {
                let text = |map: Map<String, Value>| Value::Object(map).to_string();
                let name = label.unwrap_or_default();
                let generation = generation_config.map(text);
                (
                    OWN.to_owned(),
                    Some(OwnFiles { name, config: text(config), generation, ..OwnFiles::default() }),
                )
            }
        };
        let (device, memory) = match device {
            Some(Device::Bytes(bytes)) => (None, exact_size(bytes)),
            Some(Device::Named(name)) => {
                let row = phi3::devices::find(&name).ok().map(|row| row.name.to_owned());
                if row.is_none() {
                    odd.push(name);
                }
                (row, String::new())
            }
            Some(Device::Browser) => (Some(devices::BROWSER.to_owned()), String::new()),
            None => (None, String::new()),
        };
        let rest = State { load_config: state.load_config, notes: state.notes, ..State::default() };
        Self { page, model, own, options, device, memory, rest, ..Self::default() }
    }

    /// The files of a config of one's own: those that the tab kept, if the address holds none or is of the same
    /// (an address leaves out what is private, and the order of keys).
    #[must_use]
    pub fn own_files(&self, kept: Option<OwnFiles>) -> Option<OwnFiles> {
        let model = |files: &OwnFiles| {
            let view = Self { model: OWN.to_owned(), own: Some(files.clone()), ..Self::default() };
            view.to_state().without_private(PRESETS).0.model
        };
        match (&self.own, kept) {
            (Some(files), Some(kept)) if model(files) == model(&kept) => Some(kept),
            (Some(files), _) => Some(files.clone()),
            (None, kept) => kept,
        }
    }

    /// Sets options from what a suggestion changes, `key=value` or several with `&` between them; false where it is not
    /// understood.
    pub fn set(&mut self, change: &str) -> bool {
        let before = self.options.clone();
        for (key, value) in change.split('&').filter_map(|pair| pair.split_once('=')) {
            self.set_pair(key, value);
        }
        self.options != before
    }

    /// Takes what an address of the first form says, and tells whether it was understood; `None` where there is no such key.
    fn set_pair(&mut self, key: &str, value: &str) -> Option<bool> {
        fn put<T>(place: &mut Option<T>, read: Option<T>) -> bool {
            *place = read;
            place.is_some()
        }
        let options = &mut self.options;
        let number = |most: u64| value.parse().ok().filter(|n| (1..=most).contains(n));
        Some(match key {
            "page" => {
                let page = Page::find(value);
                self.page = page.unwrap_or_default();
                page.is_some()
            }
            "model" => {
                value.clone_into(&mut self.model);
                true
            }
            "memory" => {
                value.clone_into(&mut self.memory);
                parse_size(value).is_ok()
            }
            "context" => put(&mut options.context, number(1 << 30)),
            "batch" => put(&mut options.batch, number(1 << 16)),
            "dtype" => put(&mut options.dtype, value.parse().ok().filter(|f| Format::ALL.contains(f))),
            "kv_dtype" => {
                put(&mut options.kv_dtype, value.parse().ok().filter(|d| DType::KV_CACHE.contains(d)))
            }
            "kv_policy" => put(&mut options.kv_policy, policy(value)),
            "attn" => put(&mut options.attn, attention(value)),
            _ => return None,
        })
    }

    /// Whether going from `before` to here is a step that Back should undo. Dragging the context is not, nor is what a
    /// page sifts by: that of the attempts stands behind a semicolon of `at`.
    #[must_use]
    pub fn is_step_from(&self, before: &Self) -> bool {
        let still = |view: &Self| {
            let options = Options { context: None, ..view.options.clone() };
            // The parent of a plan is JSON, in which a semicolon may stand.
            let sifts = view.page.needs_server();
            let at = view.at.split(';').next().filter(|_| sifts).unwrap_or(&view.at).to_owned();
            Self { options, at, sift: String::new(), ..view.clone() }
        };
        still(self) != still(before)
    }
}

/// A config of one's own for a link; one that is no JSON is not shown either.
fn linked(files: &OwnFiles) -> LinkedModel {
    let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
    let generation_config = files.generation.as_deref().and_then(object);
    object(&files.config).map_or(LinkedModel::Own, |config| LinkedModel::Config { config, generation_config })
}

/// The CLI's name.
#[must_use]
pub fn attn_name(attn: Attention) -> &'static str {
    match attn {
        Attention::Eager => "eager",
        Attention::Fused => "fused",
    }
}

/// The attention of a CLI name.
#[must_use]
pub fn attention(name: &str) -> Option<Attention> {
    [Attention::Eager, Attention::Fused].into_iter().find(|a| attn_name(*a) == name)
}

/// The KV policy of a CLI name.
#[must_use]
pub fn policy(name: &str) -> Option<KvPolicy> {
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    fn full() -> View {
        View {
            page: Page::Plan,
            at: "a b&c".to_owned(),
            sift: "d;e=f".to_owned(),
            model: "phi-4-mini-instruct".to_owned(),
            own: None,
            options: Options {
                dtype: Some(DType::Q4K.into()),
                kv_dtype: Some(DType::Q8_0),
                context: Some(6144),
                batch: Some(4),
                attn: Some(Attention::Fused),
                kv_policy: Some(KvPolicy::PAGED),
                ..Options::default()
            },
            device: None,
            memory: "15.5 GiB".to_owned(),
            rest: State { notes: Some("second try".to_owned()), ..State::default() },
        }
    }

    fn own(config: &str) -> View {
        let files = OwnFiles { name: "mine".to_owned(), ..OwnFiles::config_only(config.to_owned()) };
        View { model: OWN.to_owned(), own: Some(files), ..View::default() }
    }

    fn round_trip(view: &View) -> View {
        View::from_hash(&view.to_hash()).expect("ours")
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn views_come_back() {
        let on = |device: &str| View { device: Some(device.to_owned()), ..View::default() };
        for view in [
            View::default(),
            full(),
            on("RTX 4090"),
            on(devices::BROWSER),
            own(r#"{"model_type":"phi3","num_hidden_layers":1}"#),
        ] {
            assert_eq!(round_trip(&view), view, "{}", view.to_hash());
        }
        // A size that is still being typed is not shared.
        assert_eq!(round_trip(&View { memory: "16G".to_owned(), ..View::default() }), View::default());
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_no_link_holds_stays_here() {
        let with_path = own(r#"{"model_type":"phi3","_name_or_path":"/mnt/models/phi"}"#);
        assert_eq!(round_trip(&with_path), own(r#"{"model_type":"phi3"}"#));
        let OwnFiles { config, .. } = with_path.own.clone().expect("its files");
        let kept = OwnFiles::config_only(config);
        assert_eq!(round_trip(&with_path).own_files(Some(kept.clone())), Some(kept.clone()));
        assert_eq!(own("{}").own_files(Some(kept)), own("{}").own);
        let noise: Vec<u64> = (0..3000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let too_large = round_trip(&own(&format!(r#"{{"model_type":"phi3","x":{noise:?}}}"#)));
        assert_eq!((too_large.model.as_str(), too_large.own), (OWN, None));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn addresses_of_the_first_builds_are_read() {
        let view = View::from_hash(
            "page=plan&model=phi-4-mini-instruct&context=6144&dtype=q4_k&kv_dtype=q8_0&kv_policy=paged&batch=4&attn=fused&memory=15.5+GiB",
        );
        let rest = State::default();
        assert_eq!(view, Ok(View { at: String::new(), sift: String::new(), rest, ..full() }));
        for hash in [
            "",
            "context=0&batch=-1&dtype=i64&kv_dtype=q4_k&kv_policy=all&attn=flash&x=1",
            "context=99999999999999999999",
        ] {
            assert_eq!(View::from_hash(hash), Ok(View::default()), "{hash}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_address_that_is_none_of_ours_is_told() {
        for hash in ["foo", "&&==&", "%ff%00=%zz"] {
            assert_eq!(View::from_hash(hash), Err(LinkError::NotALink), "{hash}");
        }
        let (view, left_out) = View::read("page=nothing&model=phi-4&context=-3&device=RTX+1").expect("ours");
        assert_eq!(
            (view.model.as_str(), left_out),
            ("phi-4", ["page=nothing", "context=-3", "device=RTX 1"].map(str::to_owned).to_vec())
        );
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_a_newer_build_wrote_into_a_link_is_told_and_the_rest_is_taken() {
        let state = State {
            page: Some("garage".to_owned()),
            device: Some(Device::Named("RTX 9999".to_owned())),
            options: Options { batch: Some(2), ..Options::default() },
            ..State::default()
        };
        let (view, left_out) = View::read(&link::encode(&state, PRESETS).expect("small")).expect("a link");
        assert_eq!((view.page, view.device, view.options.batch), (Page::default(), None, Some(2)));
        assert_eq!(left_out, ["garage", "RTX 9999"]);
        assert_eq!(View::read(&full().to_hash()).map(|(_, left_out)| left_out), Ok(Vec::new()));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_shared_of_a_page_is_all_but_the_parent_of_a_plan() {
        let shared = |page| {
            let hash = View { page, ..full() }.to_share().map(|shared| shared.hash);
            View::from_hash(&hash.expect("small")).expect("ours")
        };
        let (run, plan) = (shared(Page::Validate), shared(Page::Plan));
        assert_eq!((run.at.as_str(), run.sift.as_str()), ("a b&c", "d;e=f"));
        assert_eq!((plan.at.as_str(), plan.sift.as_str()), ("", "d;e=f"));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_bad_link_is_told() {
        assert!(View::from_hash("s=1.AAAA").is_err() && View::from_hash("s=").is_err());
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn suggestions_are_understood() {
        let mut view = View::default();
        for change in [
            "context=2048",
            "batch=2",
            "kv_policy=window",
            "kv_dtype=q8_0",
            "dtype=q4_k&context=628",
            "attn=fused",
        ] {
            assert!(view.set(change), "{change}");
        }
        assert!(!view.set("max_memory=1") && !view.set("context"));
        assert_eq!((view.options.kv_dtype, view.options.context), (Some(DType::Q8_0), Some(628)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn only_the_context_slides_without_a_step() {
        let slid = View { options: Options { context: Some(1024), ..full().options }, ..full() };
        assert!(!slid.is_step_from(&full()));
        assert!(!View { sift: "x".to_owned(), ..full() }.is_step_from(&full()));
        let changed = View { options: Options { batch: None, ..full().options }, ..full() };
        assert!(changed.is_step_from(&full()));
        assert!(View { page: Page::Inspect, ..full() }.is_step_from(&full()));
        let at = |at: &str| View { page: Page::Attempts, at: at.to_owned(), ..full() };
        assert!(!at("7;q=oom").is_step_from(&at("7")) && at("8;q=oom").is_step_from(&at("7;q=oom")));
    }
}
