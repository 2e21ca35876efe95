//! The same load on every GPU of the table and in this browser; a click chooses the device.

use std::time::Duration;

use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::devices::Sureness;
use phi3::estimate::Resolved;
use phi3::fit::Verdict;
use phi3::units::format_count;

use super::bits::{badge, fit_badge};
use crate::format::{Unit, exact_bytes};
use crate::platform::gpu::{self, Adapter};
use crate::state::Store;
use crate::state::devices::{self, FitRow, WASM_BYTES};
use crate::text::{self, fits as words};

/// The table follows the choices this much later: ninety searches are not for every step of a drag.
const DELAY: Duration = Duration::from_millis(120);

/// The table.
#[component]
pub fn Fits() -> impl IntoView {
    let store = Store::here();
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
    let needle = RwSignal::new(String::new());
    let all = RwSignal::new(false);
    let shown = Memo::new(move |_| {
        let needle = needle.with(|n| n.trim().to_ascii_lowercase());
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
        shown.with(|rows| rows.iter().map(|r| row(store, r, positions)).collect_view())
    };
    view! {
        <section class="card c12 x-fits" id="fits" tabindex="-1" data-testid="fits">
            <div class="card-head">
                <h2>{words::HEADING} " " <span class="faint">{move || text::of(shown.with(Vec::len), rows.with(Vec::len))}</span></h2>
                <div class="row">
                    <button type="button" class="quiet" aria-pressed=move || all.get().to_string() on:click=move |_| all.update(|a| *a = !*a)>
                        {move || if all.get() { words::SHOW_COMMON } else { words::SHOW_ALL }}
                    </button>
                    <input
                        type="search"
                        class="filter"
                        placeholder=words::SEARCH
                        aria-label=words::SEARCH
                        data-testid="fits-search"
                        on:input=move |ev| needle.set(event_target_value(&ev))
                    />
                </div>
            </div>
            <div class="scroll">
                <table class="fits">
                    <thead>
                        <tr>
                            <th>{words::GPU}</th><th class="num">{words::USABLE}</th><th class="hide-narrow">{words::SHARE}</th>
                            <th class="num">{words::NEED}</th><th>{words::VERDICT}</th><th class="num">{words::MAX_CONTEXT}</th>
                        </tr>
                    </thead>
                    <tbody>{body}</tbody>
                    <Browser/>
                </table>
            </div>
        </section>
    }
}

fn bar(need: u64, have: u64, verdict: Verdict) -> impl IntoView {
    let class = match verdict {
        Verdict::Fits => "bar ok",
        Verdict::Tight => "bar warn",
        Verdict::DoesNotFit => "bar bad",
    };
    let width = (need as f64 / have.max(1) as f64 * 100.0).min(100.0);
    view! { <div class=class aria-hidden="true"><i style=format!("width:{width:.1}%")></i></div> }
}

fn row(store: Store, row: &FitRow, positions: u64) -> impl IntoView + use<> {
    let name = row.device.name;
    let usable = row.device.usable_bytes();
    let context = match row.max_context {
        0 => "–".to_owned(),
        max if max >= positions => text::all_positions(max),
        max => format_count(max),
    };
    let computed = row.device.sureness() == Sureness::Computed;
    let current = move || store.device.with(|d| d.as_deref() == Some(name)).to_string();
    view! {
        <tr aria-current=current data-device=name>
            <td>
                <button type="button" class="link" on:click=move |_| store.choose_device(Some(name.to_owned()))>{name}</button>
                {(!row.device.has_bf16()).then(|| view! { " " {badge("", words::NO_BF16)} })}
            </td>
            <td class="num" title=format!("{}: {}", exact_bytes(usable), row.device.source)>
                {if computed { "≈ " } else { "" }}{Unit::GiB.print(usable)}
            </td>
            <td class="wide hide-narrow">{bar(row.total_bytes, usable, row.verdict)}</td>
            <td class="num">{Unit::GiB.print(row.total_bytes)}</td>
            <td>{fit_badge(row.verdict)}</td>
            <td class="num">{context}</td>
        </tr>
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
                <td class="num" title=words::WASM_WHY>{Unit::GiB.print(WASM_BYTES)}</td>
                <td class="wide hide-narrow">{move || bar(need.get(), WASM_BYTES, verdict())}</td>
                <td class="num">{move || Unit::GiB.print(need.get())}</td>
                <td>{move || fit_badge(verdict())}</td>
                <td class="num faint">{words::WASM}</td>
            </tr>
            <tr data-device="webgpu">
                <td>{words::BROWSER_GPU}</td>
                <td class="num faint">{words::NOT_TOLD}</td>
                <td colspan="3" class="dim">{move || gpu_words().1}</td>
                <td class="num">{move || gpu_words().0}</td>
            </tr>
        </tbody>
    }
}
