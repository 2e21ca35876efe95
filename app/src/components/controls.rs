//! The choices. Each acts at once.

use std::time::Duration;

use leptos::prelude::*;
use phi3::dtype::DType;
use phi3::engine::Attention;
use phi3::estimate::fit::MOST_SEQUENCES;
use phi3::estimate::{Backend, Format, KvPolicy, Options};

use super::bits::Choice;
use crate::state::{Live, Store, devices, link, live, steps};
use crate::text::{self, controls as words};

/// Most tokens of a sequence that may be asked for.
const MOST_CONTEXT: u64 = 1 << 30;

fn dtypes<T: std::fmt::Display>(list: &[T]) -> Vec<(String, String)> {
    list.iter().map(|dtype| (dtype.to_string(), dtype.to_string())).collect()
}

fn same(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect()
}

/// All of them.
#[component]
pub fn Controls() -> impl IntoView {
    let store = Store::here();
    let resolved = store.resolved;
    let policies = KvPolicy::KINDS.map(KvPolicy::name);
    let attentions = [Attention::Eager, Attention::Fused].map(link::attn_name);
    // What drives a device goes with the device.
    let changed = move || store.options.with(|o| *o != Options { backend: o.backend, ..Options::default() });
    view! {
        <section class="card controls" aria-label=words::HEADING>
            <Devices/>
            <Choice
                label=words::WEIGHTS
                testid="dtype"
                width="w2"
                options=dtypes(&Format::LEVERS)
                value=Signal::derive(move || resolved.with(|r| r.format.name().to_owned()))
                on_choose=move |v| store.choose(|o| o.dtype = v.parse().ok())
            />
            <Choice
                label=words::KV_DTYPE
                testid="kv-dtype"
                width="w2"
                options=dtypes(&DType::KV_CACHE)
                value=Signal::derive(move || resolved.with(|r| r.kv_dtype.name().to_owned()))
                on_choose=move |v| store.choose(|o| o.kv_dtype = v.parse().ok())
            />
            <Choice
                label=words::KV_POLICY
                testid="kv-policy"
                width="w2"
                options=same(&policies)
                value=Signal::derive(move || resolved.with(|r| r.kv_policy.name().to_owned()))
                on_choose=move |v| store.choose(|o| o.kv_policy = link::policy(&v))
            />
            <Context/>
            <Choice
                label=words::ATTENTION
                testid="attn"
                width="w2"
                options=same(&attentions)
                value=Signal::derive(move || resolved.with(|r| link::attn_name(r.attn).to_owned()))
                on_choose=move |v| store.choose(|o| o.attn = link::attention(&v))
            />
            <Batch/>
            <div class="ctl w2 end">
                <button type="button" class="btn" disabled=move || !changed() on:click=move |_| store.reset()>
                    {words::RESET}
                </button>
            </div>
        </section>
    }
}

/// The value of an option that stands for a device whose memory is typed.
fn other_key(backend: Backend) -> String {
    format!("other/{}", backend.name())
}

/// The value of an option that stands for a device of the server: no row of the table has a name like it.
fn live_key(device: &str) -> String {
    format!("server/{device}")
}

fn live_option(place: &live::Place) -> (String, String) {
    (live_key(&place.device), text::live(&place.device, &place.name, &place.memory()))
}

/// Holds the load against a device of the server.
pub(super) fn choose_live(store: Store, live: Live, place: &live::Place) {
    let memory = place.memory();
    live.chosen.set(Some((place.device.clone(), memory.clone())));
    store.choose_live(memory, place.backend);
}

/// A device of the server, a listed one, or a size typed.
#[component]
fn Devices() -> impl IntoView {
    let (store, live) = (Store::here(), Live::here());
    let is_typed = move || store.memory_text.with(|text| !text.trim().is_empty());
    let backend = move || store.options.with(|options| options.backend);
    // A device that the server no longer tells of is a size like any other.
    let shown = Memo::new(move |_| {
        let device = store.memory_text.with(|text| live.shown(text))?;
        live.places.with(|places| places.iter().any(|place| place.device == device)).then_some(device)
    });
    let device = move || match (store.device.get(), shown.get()) {
        (Some(name), _) => name,
        (None, Some(device)) => live_key(&device),
        (None, None) => match backend() {
            None if !is_typed() => String::new(),
            backend => other_key(backend.unwrap_or(Backend::Cpu)),
        },
    };
    // A row that the table below was asked for stands in the list as long as it is chosen.
    let other =
        Memo::new(move |_| store.device.get().filter(|d| d != devices::BROWSER && !devices::is_offered(d)));
    let named = |name: &str, label: &str| {
        let usable = devices::usable_bytes(name).map(devices::usable_words).unwrap_or_default();
        (name.to_owned(), text::usable(label, &usable))
    };
    let options = move || {
        let mut options = vec![(String::new(), words::NO_DEVICE.to_owned())];
        options.extend(live.places.with(|places| places.iter().map(live_option).collect::<Vec<_>>()));
        options.extend(other.get().map(|name| named(&name, &name)));
        options.extend(devices::OFFERED.iter().map(|name| named(name, name)));
        options.push(named(devices::BROWSER, words::THIS_BROWSER));
        options.extend(Backend::ALL.map(|backend| (other_key(backend), words::other(backend).to_owned())));
        options
    };
    let choose = move |name: String| {
        if let Some(place) =
            live.places.with_untracked(|places| places.iter().find(|p| live_key(&p.device) == name).cloned())
        {
            choose_live(store, live, &place);
        } else if let Some(backend) = Backend::ALL.into_iter().find(|backend| other_key(*backend) == name) {
            store.choose_other(backend);
            crate::platform::page::go_to("device-memory");
        } else {
            store.choose_device(Some(name).filter(|name| !name.is_empty()));
        }
    };
    let memory = move || match store.device.get() {
        Some(name) => devices::usable_bytes(&name).map(devices::usable_words).unwrap_or_default(),
        None => store.memory_text.get(),
    };
    let mut typed = debounce(Duration::from_millis(250), move |text: String| store.type_memory(text));
    let invalid = move || store.memory_problem.with(Option::is_some);
    view! {
        <Choice label=words::DEVICE testid="device" width="w4" options=Signal::derive(options) value=Signal::derive(device) on_choose=choose/>
        <div class="ctl w2">
            <label for="device-memory">{words::MEMORY}</label>
            <input
                id="device-memory"
                type="text"
                data-testid="device-memory"
                placeholder=words::MEMORY_HINT
                autocomplete="off"
                aria-describedby="device-memory-problem"
                aria-invalid=move || invalid().to_string()
                prop:value=memory
                on:input=move |ev| typed(event_target_value(&ev))
            />
            <span id="device-memory-problem" class="problem" data-testid="device-memory-problem" aria-live="polite">
                {move || store.memory_problem.get()}
            </span>
        </div>
    }
}

/// A slider of sensible steps and a field for any number.
#[component]
fn Context() -> impl IntoView {
    let store = Store::here();
    let positions = Memo::new(move |_| store.model.with(|m| m.decoder.max_position_embeddings as u64));
    let stops = Memo::new(move |_| steps::stops(positions.get()));
    let context = Memo::new(move |_| store.resolved.with(|r| r.context));
    let index = move || stops.with(|s| steps::nearest(s, context.get()));
    let slid = move |ev| {
        let stop =
            event_target_value(&ev).parse::<usize>().ok().and_then(|i| stops.with(|s| s.get(i).copied()));
        store.choose(|o| o.context = stop.or(o.context));
    };
    let exact = Whole::new(context, MOST_CONTEXT, |options, tokens| options.context = Some(tokens));
    let beyond = move || (context.get() > positions.get()).then(|| text::beyond(positions.get()));
    view! {
        <div class="ctl w6">
            <label for="context-slider">{words::CONTEXT} <span class="faint">{move || text::of_positions(positions.get())}</span></label>
            <div class="joined">
                <input
                    id="context-slider"
                    type="range"
                    data-testid="context-slider"
                    min="0"
                    max=move || stops.with(|s| s.len() - 1).to_string()
                    prop:value=move || index().to_string()
                    aria-valuetext=move || text::context_value(context.get(), store.report.with(|r| r.total_bytes))
                    on:input=slid
                />
                <input
                    type="number"
                    data-testid="context"
                    aria-label=words::CONTEXT_EXACT
                    min="1"
                    step="1"
                    prop:value=move || context.get().to_string()
                    data-value=move || context.get().to_string()
                    node_ref=exact.field
                    aria-invalid=move || exact.invalid()
                    on:input=move |ev| exact.typed(&event_target_value(&ev))
                    on:blur=move |_| exact.left()
                />
            </div>
            {move || exact.problem()}
            {move || beyond().map(|words| view! { <span class="problem">{words}</span> })}
        </div>
    }
}

#[component]
fn Batch() -> impl IntoView {
    let store = Store::here();
    let batch = Memo::new(move |_| store.resolved.with(|r| r.batch));
    let exact = Whole::new(batch, MOST_SEQUENCES, |options, batch| options.batch = Some(batch));
    view! {
        <div class="ctl w2">
            <label for="batch">{words::BATCH}</label>
            <input
                id="batch"
                type="number"
                data-testid="batch"
                min="1"
                step="1"
                prop:value=move || batch.get().to_string()
                node_ref=exact.field
                aria-invalid=move || exact.invalid()
                on:input=move |ev| exact.typed(&event_target_value(&ev))
                on:blur=move |_| exact.left()
            />
            {move || exact.problem()}
        </div>
    }
}

/// A field for a whole number from 1 on. What is none is told while it stands there, and gives way to what holds when the
/// field is left: a verdict never stands beside a number that it is not about.
#[derive(Clone, Copy)]
struct Whole {
    store: Store,
    field: NodeRef<leptos::html::Input>,
    holds: Memo<u64>,
    most: u64,
    choose: fn(&mut Options, u64),
    refused: RwSignal<bool>,
}

impl Whole {
    fn new(holds: Memo<u64>, most: u64, choose: fn(&mut Options, u64)) -> Self {
        Self {
            store: Store::here(),
            field: NodeRef::new(),
            holds,
            most,
            choose,
            refused: RwSignal::new(false),
        }
    }

    fn typed(self, text: &str) {
        let number = text.parse().ok().filter(|number| (1..=self.most).contains(number));
        self.refused.set(number.is_none());
        if let Some(number) = number {
            self.store.choose(|options| (self.choose)(options, number));
        }
    }

    fn left(self) {
        if self.refused.get_untracked() {
            self.refused.set(false);
            if let Some(field) = self.field.get_untracked() {
                field.set_value(&self.holds.get_untracked().to_string());
            }
        }
    }

    fn invalid(self) -> Option<&'static str> {
        self.refused.get().then_some("true")
    }

    fn problem(self) -> Option<impl IntoView> {
        let words = self.refused.get().then(|| text::whole(self.most, self.holds.get()))?;
        Some(view! { <span class="problem" aria-live="polite">{words}</span> })
    }
}
