//! One device: how much of its memory is used, by whom, and how that has changed.

use leptos::prelude::*;
use phi3::api::{DeviceNow, Holder};

use crate::components::bits::{badge, bytes, copies};
use crate::format::{Unit, exact_bytes};
use crate::state::memory::{KEPT, Memory, Shares, shares};
use crate::text::devices as words;

/// Seconds between two answers that are drawn.
const SECONDS: u64 = 2;

/// Colours of processes, in the order of their list; the last stands for what is no listed process's.
const COLOURS: [&str; 3] = ["var(--c-weights)", "var(--c-act)", "var(--c-kv)"];
const OTHERS: &str = "var(--c-over)";

fn colour(place: usize) -> &'static str {
    COLOURS[place % COLOURS.len()]
}

/// The card of a device, by its name: it stays on the page while its numbers change.
#[component]
pub fn DeviceCard(
    /// Where its numbers come from.
    memory: Memory,
    /// Which device.
    device: String,
) -> impl IntoView {
    let name = device.clone();
    let now = Memo::new(move |_| {
        memory.now.with(|now| now.as_ref()?.devices.iter().find(|d| d.device == name).cloned())
    });
    let unit = Memo::new(move |_| {
        now.with(|d| Unit::of(d.as_ref().and_then(|d| d.total_bytes).unwrap_or(u64::MAX)))
    });
    let title = Memo::new(move |_| now.with(|d| d.as_ref().map(|d| d.name.clone()).unwrap_or_default()));
    let amount = move |label: &'static str, testid: &'static str, read: fn(&DeviceNow) -> Option<u64>| {
        let value = Memo::new(move |_| now.with(|d| d.as_ref().and_then(read)));
        view! { <div><dt>{label}</dt><dd>{move || told(value.get(), unit.get(), testid)}</dd></div> }
    };
    let fact = move |label: &'static str, read: fn(&DeviceNow) -> Option<String>| {
        let value = Memo::new(move |_| {
            now.with(|d| d.as_ref().and_then(read)).unwrap_or_else(|| words::UNKNOWN.to_owned())
        });
        view! { <div><dt>{label}</dt><dd class="small">{value}</dd></div> }
    };
    let shared = Memo::new(move |_| now.with(|d| d.as_ref().and_then(shares)));
    let is_told = Memo::new(move |_| {
        now.with(|d| d.as_ref().is_some_and(|d| d.used_bytes.or(d.free_bytes).or(d.total_bytes).is_some()))
    });
    let holders = Memo::new(move |_| now.with(|d| d.as_ref().map(|d| d.holders.clone()).unwrap_or_default()));
    let used = {
        let device = device.clone();
        Memo::new(move |_| {
            let past = memory
                .past
                .with(|past| past.iter().find(|p| p.device == device).map(|p| p.used_bytes.clone()));
            past.unwrap_or_default()
        })
    };
    let past = move || {
        let total = shared.with(|s| s.as_ref().map_or(0, |s| s.total_bytes));
        used.with(|used| line(used, total))
    };
    // From the first answer to the newest; one alone is drawn as if it had been so before.
    let seconds = move || used.with(|used| used.len().saturating_sub(1).max(1) as u64 * SECONDS);
    view! {
        <section class="card c6" data-device-now=device.clone()>
            <div class="card-head"><h2>{title} " " {badge("", device.clone())}</h2></div>
            {move || shared.get().map(|s| gauge(&s, unit.get()))}
            {move || now.with(|d| d.as_ref().and_then(|d| d.fault.clone())).map(|fault| view! {
                <p style="color:var(--bad)" data-testid="device-fault">{fault}</p>
            })}
            <Show when=move || !is_told.get()><p class="dim above" data-testid="memory-not-told">{words::NOT_TOLD}</p></Show>
            <dl class="facts">
                <Show when=move || is_told.get()>
                    {amount(words::USED, "device-used", |d| d.used_bytes)}
                    {amount(words::FREE, "device-free", |d| d.free_bytes)}
                    {amount(words::TOTAL, "device-total", |d| d.total_bytes)}
                </Show>
                {fact(words::DRIVER, |d| d.driver.clone())}
                {fact(words::SOURCE, |d| Some(d.source.clone()))}
            </dl>
            <Show when=move || shared.with(Option::is_some)>
                <figure class="past">
                    <svg viewBox=format!("0 0 {} 100", KEPT - 1) preserveAspectRatio="none" aria-hidden="true"><polyline points=past/></svg>
                    <figcaption class="faint">{move || words::past(seconds())}</figcaption>
                </figure>
            </Show>
            {move || if holders.with(Vec::is_empty) {
                is_told.get().then(|| view! { <p class="dim">{words::NO_HOLDERS}</p> }).into_any()
            } else {
                view! { <Holders holders=holders.get() unit=unit.get() shared=shared.get()/> }.into_any()
            }}
        </section>
    }
}

/// Bytes with their unit, or that nobody tells.
fn told(value: Option<u64>, unit: Unit, testid: &'static str) -> AnyView {
    match value {
        Some(value) => view! { {bytes(value, unit, testid)} " " <small>{unit.name()}</small> }.into_any(),
        None => view! { <span class="faint" data-testid=testid>{words::UNKNOWN}</span> }.into_any(),
    }
}

fn gauge(shares: &Shares, unit: Unit) -> impl IntoView + use<> {
    let used = shares.holders.iter().sum::<u64>() + shares.others_bytes;
    let print = |bytes| format!("{} {}", unit.print(bytes), unit.name());
    let total = shares.total_bytes;
    let part = move |bytes: u64, colour: &'static str| {
        let width = bytes as f64 / total as f64 * 100.0;
        view! { <i title=exact_bytes(bytes) style=format!("width:{width:.3}%;background:{colour}")></i> }
    };
    let parts: Vec<_> = shares.holders.iter().enumerate().map(|(i, bytes)| part(*bytes, colour(i))).collect();
    view! {
        <div class="stack tall" role="img" aria-label=words::gauge(&print(used), &print(total)) data-testid="gauge">
            {parts} {part(shares.others_bytes, OTHERS)}
        </div>
    }
}

/// Points of the line of what was used, the newest at the right.
fn line(used: &[Option<u64>], total: u64) -> String {
    let first = KEPT - used.len().min(KEPT);
    let point = |(i, used): (usize, &Option<u64>)| {
        let share = used.filter(|_| total > 0)? as f64 / total as f64;
        Some(format!("{},{:.2}", first + i, 100.0 - share.min(1.0) * 100.0))
    };
    let points: Vec<String> = used.iter().enumerate().filter_map(point).collect();
    match points.as_slice() {
        // A line has two ends: the first answer is drawn as if it had been so before.
        [one] => match one.split_once(',') {
            Some((_, y)) => format!("{},{y} {one}", KEPT - 2),
            None => String::new(),
        },
        _ => points.join(" "),
    }
}

#[component]
fn Holders(holders: Vec<Holder>, unit: Unit, shared: Option<Shares>) -> impl IntoView {
    let row = |(place, holder): (usize, Holder)| {
        view! {
            <tr>
                <td class="key"><i style=format!("background:{}", colour(place))></i>{if holder.name.is_empty() { words::UNKNOWN.to_owned() } else { holder.name }}</td>
                <td class="num mono">{copies(holder.pid.to_string())}</td>
                <td class="num">{told(holder.bytes, unit, "holder-bytes")}</td>
            </tr>
        }
    };
    let others = shared.map(|s| s.others_bytes).filter(|bytes| *bytes > 0).map(|others| {
        view! { <tr class="dim"><td class="key"><i style=format!("background:{OTHERS}")></i>{words::OTHERS}</td><td></td><td class="num">{told(Some(others), unit, "others-bytes")}</td></tr> }
    });
    view! {
        <table>
            <thead><tr><th>{words::PROCESS}</th><th class="num">{words::PID}</th><th class="num">{words::HOLDS}</th></tr></thead>
            <tbody>{holders.into_iter().enumerate().map(row).collect_view()} {others}</tbody>
        </table>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn the_newest_stands_at_the_right() {
        let last = KEPT - 1;
        assert_eq!(line(&[Some(25), None, Some(200)], 100), format!("{},75.00 {last},0.00", last - 2));
        assert_eq!(line(&[Some(1)], 0), "");
        assert_eq!(line(&[Some(25)], 100), format!("{},75.00 {last},75.00", last - 1));
    }
}
