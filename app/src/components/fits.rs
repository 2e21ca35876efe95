//! The same load on every GPU of the table and in this browser; a click chooses the device.

use std::time::Duration;

use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::devices::Sureness;
use phi3::estimate::{Format, Resolved};
use phi3::fit::Verdict;
use phi3::units::format_count;

use super::bits::{Search, badge, bytes, fit_badge, sought};
use super::controls::choose_live;
use crate::format::Unit;
use crate::platform::gpu::{self, Adapter};
use crate::state::devices::{self, FitRow, Held, WASM_BYTES};
use crate::state::live::Place;
use crate::state::{Live, Store};
use crate::text::{self, fits as words};

/// The table follows the choices this much later: ninety searches are not for every step of a drag.
const DELAY: Duration = Duration::from_millis(120);

/// The table.
#[component]
pub fn Fits() -> impl IntoView {
    let (store, live) = (Store::here(), Live::here());
    let rows = RwSignal::new(Vec::<FitRow>::new());
    let timer: StoredValue<Option<TimeoutHandle>> = StoredValue::new(None);
    let key = Memo::new(move |_| (store.report.with(|r| r.weights_bytes), store.resolved.get()));
    let fill = move |(weights, resolved): (u64, Resolved)| {
        rows.set(store.model.with_untracked(|m| devices::fits(&m.decoder, weights, &resolved)));
    };
    Effect::new(move |before: Option<()>| {
        let key = key.get();
        if let Some(timer) = timer.try_update_value(Option::take).flatten() {
            timer.clear();
        }
        if before.is_none() {
            fill(key);
        } else {
            timer.set_value(set_timeout_with_handle(move || fill(key), DELAY).ok());
        }
    });
    let all = RwSignal::new(false);
    let shown = Memo::new(move |_| {
        let needle = sought(store);
        let wanted = |row: &&FitRow| {
            let name = row.device.name;
            let chosen = store.device.with(|d| d.as_deref() == Some(name));
            if needle.is_empty() {
                all.get() || chosen || devices::is_offered(name)
            } else {
                name.to_ascii_lowercase().contains(&needle)
            }
        };
        rows.with(|rows| rows.iter().filter(wanted).cloned().collect::<Vec<_>>())
    });
    let positions = Memo::new(move |_| store.model.with(|m| m.decoder.max_position_embeddings as u64));
    let body = move || {
        let positions = positions.get();
        // The devices of the server come first, as far as they are free now.
        let needle = sought(store);
        let is_found =
            |place: &Place| format!("{} {}", place.device, place.name).to_ascii_lowercase().contains(&needle);
        // They follow the choices as the others do: when those rows have been filled anew.
        rows.track();
        let weights = store.report.with_untracked(|r| r.weights_bytes);
        let held = |place: Place| {
            let hold = |resolved: &Resolved| {
                let (backend, free) = (place.backend, place.free_bytes);
                store.model.with_untracked(|m| devices::hold(&m.decoder, weights, resolved, backend, free))
            };
            let held = store.resolved.with_untracked(hold);
            of_server(place, held)
        };
        let mut lines: Vec<Line> = live.places.get().into_iter().filter(is_found).map(held).collect();
        let format = store.resolved.with_untracked(|resolved| resolved.format);
        shown.with(|rows| lines.extend(rows.iter().map(|row| listed(row, format))));
        lines.into_iter().map(|line| row(store, live, line, positions)).collect_view()
    };
    view! {
        <section class="card c12 x-fits" id="fits" tabindex="-1" data-testid="fits">
            <div class="card-head">
                <h2>{words::HEADING} " " <span class="faint">{move || text::of(shown.with(Vec::len), rows.with(Vec::len))}</span></h2>
                <div class="row">
                    <button type="button" class="quiet" aria-pressed=move || all.get().to_string() on:click=move |_| all.update(|a| *a = !*a)>
                        {move || if all.get() { words::SHOW_COMMON } else { words::SHOW_ALL }}
                    </button>
                    <Search label=words::SEARCH testid="fits-search"/>
                </div>
            </div>
            <div class="scroll">
                <table class="fits">
                    <thead>
                        <tr>
                            <th>{words::GPU}</th><th class="num">{words::USABLE}</th><th class="hide-narrow">{words::SHARE}</th>
                            <th class="num">{words::NEED}</th><th>{words::VERDICT}</th><th class="num hide-narrow">{words::MAX_CONTEXT}</th>
                        </tr>
                    </thead>
                    <tbody>{body}</tbody>
                    <Browser/>
                </table>
            </div>
            <p class="faint">{words::NEED_WHY}</p>
        </section>
    }
}

fn bar(need: u64, have: u64, verdict: Verdict, is_lacking: bool) -> impl IntoView {
    let class = match verdict {
        Verdict::Fits if !is_lacking => "bar ok",
        Verdict::Fits => "bar warn",
        Verdict::Tight => "bar warn",
        Verdict::DoesNotFit => "bar bad",
    };
    let width = (need as f64 / have.max(1) as f64 * 100.0).min(100.0);
    view! { <div class=class aria-hidden="true"><i style=format!("width:{width:.1}%")></i></div> }
}

/// A device and what comes of the load on it.
struct Line {
    name: String,
    /// What its maker calls it, where the name says how it is asked for.
    about: Option<String>,
    badge: Option<&'static str>,
    /// Whether it does not compute in the format that weights are in: memory that is enough is no plain yes then.
    is_lacking: bool,
    /// Who says how much memory it has, and whether that was computed.
    source: String,
    is_computed: bool,
    held: Held,
    /// The device of the server, if it is one.
    place: Option<Place>,
}

fn row(store: Store, live: Live, line: Line, positions: u64) -> impl IntoView + use<> {
    let Line { name, about, badge: mark, is_lacking, source, is_computed, held, place } = line;
    let Held { total_bytes, available_bytes, verdict, max_context } = held;
    let context = match max_context {
        0 => "–".to_owned(),
        max if max >= positions => text::all_positions(max),
        max => format_count(max),
    };
    let (own, is_live) = (name.clone(), place.is_some());
    let current = move || {
        let shown =
            if is_live { store.memory_text.with(|text| live.shown(text)) } else { store.device.get() };
        (shown.as_ref() == Some(&own)).to_string()
    };
    let (table, server) = if is_live { (None, Some(name.clone())) } else { (Some(name.clone()), None) };
    let chosen = name.clone();
    let choose = move |_| match &place {
        Some(place) => choose_live(store, live, place),
        None => store.choose_device(Some(chosen.clone())),
    };
    view! {
        <tr aria-current=current data-device=table data-live=server>
            <td>
                <button type="button" class="link" on:click=choose>{name}</button>
                " " {about.map(|about| view! { <span class="faint">{about}</span> " " })} {mark.map(|words| badge("", words))}
            </td>
            <td class="num" title=source>
                {if is_computed { "≈ " } else { "" }}{bytes(available_bytes, Unit::GiB, "available")}
            </td>
            <td class="wide hide-narrow">{bar(total_bytes, available_bytes, verdict, is_lacking)}</td>
            <td class="num">{bytes(total_bytes, Unit::GiB, "")}</td>
            <td>{fit_badge(verdict, is_lacking)}</td>
            <td class="num hide-narrow">{context}</td>
        </tr>
    }
}

fn listed(row: &FitRow, format: Format) -> Line {
    let device = row.device;
    Line {
        name: device.name.to_owned(),
        about: None,
        badge: (!device.has_bf16()).then_some(words::NO_BF16),
        is_lacking: devices::lacks(device, format),
        source: device.source.to_owned(),
        is_computed: device.sureness() == Sureness::Computed,
        held: row.held,
        place: None,
    }
}

fn of_server(place: Place, held: Held) -> Line {
    Line {
        name: place.device.clone(),
        about: Some(place.name.clone()),
        badge: Some(words::FREE_NOW),
        is_lacking: false,
        source: place.source.clone(),
        is_computed: false,
        held,
        place: Some(place),
    }
}

/// This browser: the memory of a page, and what its WebGPU grants.
#[component]
fn Browser() -> impl IntoView {
    let store = Store::here();
    let adapter = RwSignal::new(None::<Option<Adapter>>);
    spawn_local(async move {
        let found = gpu::adapter().await;
        let _ = adapter.try_set(Some(found));
    });
    let need = Memo::new(move |_| {
        // In the page our engine computes on the CPU, whatever device is chosen.
        let weights = store.report.with(|r| r.weights_bytes);
        let there = Resolved { backend: phi3::estimate::Backend::Cpu, ..store.resolved.get() };
        store.model.with(|m| phi3::estimate::total_bytes(&m.decoder, weights, &there))
    });
    let verdict = move || Verdict::of(need.get(), WASM_BYTES);
    let largest = Memo::new(move |_| {
        let format = store.resolved.with(|r| r.format);
        store.model.with(|m| crate::state::derived::largest_tensor_bytes(&m.decoder, format))
    });
    let gpu_words = move || match adapter.get() {
        None => (badge("", words::ASKING).into_any(), String::new()),
        Some(None) => (badge("", words::NO_WEBGPU).into_any(), words::NO_WEBGPU_WHY.to_owned()),
        Some(Some(a)) => {
            let (fits, why) = devices::binding(largest.get(), a.max_binding_bytes);
            let badge = if fits { badge("acc", words::BINDS) } else { badge("warn", words::SPLIT) };
            (badge.into_any(), text::webgpu(&a, &why))
        }
    };
    let current = move || store.device.with(|d| d.as_deref() == Some(devices::BROWSER)).to_string();
    view! {
        <tbody class="browser">
            <tr aria-current=current data-device=devices::BROWSER>
                <td>
                    <button type="button" class="link" on:click=move |_| store.choose_device(Some(devices::BROWSER.to_owned()))>
                        {words::BROWSER_CPU}
                    </button>
                </td>
                <td class="num" title=words::WASM_WHY>{bytes(WASM_BYTES, Unit::GiB, "")}</td>
                <td class="wide hide-narrow">{move || bar(need.get(), WASM_BYTES, verdict(), false)}</td>
                <td class="num">{move || bytes(need.get(), Unit::GiB, "")}</td>
                <td>{move || fit_badge(verdict(), false)}</td>
                <td class="num faint hide-narrow">{words::WASM}</td>
            </tr>
            <tr data-device="webgpu">
                <td>{words::BROWSER_GPU}</td>
                <td class="num faint">{words::NOT_TOLD}</td>
                <td colspan="3" class="dim hide-narrow">{move || gpu_words().1}</td>
                <td class="num">{move || gpu_words().0}</td>
            </tr>
        </tbody>
    }
}
