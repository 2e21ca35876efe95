//! Memory against context: stacked areas, the device's line, the 1.2× line, and where we are.
//!
//! The areas live in a square of one by one that stretches with the box; words are HTML above it.

use std::fmt::Write as _;

use leptos::ev::PointerEvent;
use leptos::prelude::*;

use super::bits::TERM_COLOURS;
use phi3::estimate::{self, Resolved};
use phi3::units::format_bytes;

use crate::format::{Unit, axis_steps, axis_tokens};
use crate::platform::page;
use crate::state::derived::Curve;
use crate::state::{Store, devices, steps};
use crate::text;

/// Order in which terms are stacked, lowest first: what is always there at the bottom.
const STACKED: [usize; 4] = [3, 0, 1, 2];
/// Lines of listed devices are at least so far apart, as a share of the height.
const APART: f64 = 0.07;
/// Round numbers on each axis, beside 0.
const Y_STEPS: usize = 5;
const X_STEPS: u64 = 4;

/// The top of the plot: everything that is drawn, with a little air.
fn top(curve: &Curve, device: Option<u64>) -> f64 {
    let most = curve.top() as f64;
    // A device far above the need would press the areas flat: it is told at the edge then.
    device.map(|d| d as f64).filter(|d| *d < most * 4.0).map_or(most, |d| d.max(most)) * 1.08
}

/// The area of one stacked term as an SVG path in the unit square.
fn area(curve: &Curve, layer: usize, top: f64) -> String {
    let upto =
        |terms: &[u64; 4], count: usize| STACKED[..count].iter().map(|i| terms[*i]).sum::<u64>() as f64 / top;
    let x = |context: u64| context as f64 / curve.end.max(1) as f64;
    let mut path = String::new();
    let mut go = |command: char, x: f64, y: f64| {
        // Writing to a String does not fail.
        let _ = write!(path, "{command}{x:.4} {:.4}", 1.0 - y);
    };
    if let Some((_, first)) = curve.points.first() {
        go('M', 0.0, upto(first, layer));
        go('L', 0.0, upto(first, layer + 1));
    }
    for (context, terms) in &curve.points {
        go('L', x(*context), upto(terms, layer + 1));
    }
    for (context, terms) in curve.points.iter().rev() {
        go('L', x(*context), upto(terms, layer));
    }
    path.push('Z');
    path
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// The plot.
#[component]
pub fn Plot() -> impl IntoView {
    let store = Store::here();
    let top = Memo::new(move |_| store.curve.with(|c| top(c, store.memory.get())));
    let areas = move || {
        let draw = |c: &Curve| {
            (0..STACKED.len())
                .map(|layer| view! { <path d=area(c, layer, top.get()) fill=TERM_COLOURS[STACKED[layer]]/> })
                .collect_view()
        };
        store.curve.with(|c| draw(c))
    };
    let lines = move || {
        let top = top.get();
        let mark = |bytes: f64, class: &'static str, colour: &'static str, words: String| {
            let share = bytes / top;
            (share <= 1.0).then(|| {
                view! {
                    <div class=format!("level {class}") style=format!("bottom:{};border-color:{colour}", percent(share))>
                        <span style=format!("color:{colour}")>{words}</span>
                    </div>
                }
            })
        };
        let Some(device) = store.memory.get() else {
            // Of listed devices each that is not too near to the one below it.
            let listed = |lowest: &mut f64, name: &'static str| {
                let share = devices::usable_bytes(name)? as f64 / top;
                let is_apart = share - *lowest > APART;
                Some(is_apart.then(|| {
                    *lowest = share;
                    mark(share * top, "", "var(--ink-3)", name.to_owned())
                }))
            };
            return devices::OFFERED.into_iter().scan(0.0, listed).collect_view().into_any();
        };
        let above = (device as f64 > top)
            .then(|| view! { <div class="level edge"><span>{text::device_above(device)}</span></div> });
        let lines = [
            mark(device as f64, "", "var(--bad)", text::device_line(device)),
            mark(device as f64 / 1.2, "dashed", "var(--warn)", text::memory::MARGIN_LINE.to_owned()),
        ];
        view! { {above} {lines.collect_view()} }.into_any()
    };
    let ticks_y = move || {
        let axis = Unit::of(top.get() as u64);
        let top = top.get() / axis.bytes();
        let steps = axis_steps(top, Y_STEPS);
        let last = steps.len() - 1;
        let tick = move |(i, value): (usize, f64)| {
            let unit = if i == last { axis.name() } else { "" };
            let digits = usize::from(top < 5.0) + usize::from(top < 0.5) + usize::from(top < 0.05);
            let at = format!("bottom:{}", percent(value / top));
            view! {
            <div class="gridline" style=at.clone()></div>
            <div class="tick y" style=at>{format!("{value:.digits$} {unit}")}</div> }
        };
        steps.into_iter().enumerate().map(tick).collect_view()
    };
    let ticks_x = move || {
        let end = store.curve.with(|c| c.end);
        let tick = |i: u64| {
            let class = if i == X_STEPS {
                "tick x end"
            } else if i == 0 {
                "tick x start"
            } else {
                "tick x"
            };
            let at = format!("left:{}", percent(i as f64 / X_STEPS as f64));
            view! { <div class=class style=at>{axis_tokens(end * i / X_STEPS)}</div> }
        };
        (0..=X_STEPS).map(tick).collect_view()
    };
    let context = Memo::new(move |_| store.resolved.with(|r| r.context));
    let total = Memo::new(move |_| store.report.with(|r| r.total_bytes));
    let x = move || context.get() as f64 / store.curve.with(|c| c.end.max(1)) as f64;
    let y = move || (total.get() as f64 / top.get()).min(1.0);
    let here = move || format!("left:{};bottom:{}", percent(x()), percent(y()));
    // The label hangs to the left of the mark where there is no room on its right.
    let label = move || {
        let side = if x() > 0.8 {
            format!("right:{}", percent(1.0 - x()))
        } else {
            format!("left:{}", percent(x()))
        };
        format!("{side};bottom:{}", percent(y()))
    };
    // The step of the context that a pointer is nearest to.
    let stop_at = move |ev: &PointerEvent| {
        let element = page::target_of(ev)?;
        let share = page::share_of_width(&element, f64::from(ev.client_x()));
        let (end, positions) =
            (store.curve.with(|c| c.end), store.model.with(|m| m.decoder.max_position_embeddings as u64));
        let stops = steps::stops(positions);
        stops.get(steps::nearest(&stops, (share * end as f64) as u64)).copied()
    };
    let pressed = move |ev: PointerEvent| {
        if let Some(stop) = untrack(|| stop_at(&ev)) {
            store.choose(|o| o.context = Some(stop));
        }
    };
    let pointed = RwSignal::new(None::<u64>);
    let moved = move |ev: PointerEvent| {
        let stop = untrack(|| stop_at(&ev));
        if pointed.get_untracked() != stop {
            pointed.set(stop);
        }
    };
    let told = move || {
        pointed.get().map(|stop| {
            let weights = store.report.with(|r| r.weights_bytes);
            let there = Resolved { context: stop, ..store.resolved.get() };
            let need = store.model.with(|m| estimate::total_bytes(&m.decoder, weights, &there));
            let x = stop as f64 / store.curve.with(|c| c.end.max(1)) as f64;
            let side = if x > 0.6 { format!("right:{}", percent(1.0 - x)) } else { format!("left:{}", percent(x)) };
            view! {
                <div class="upright pointed" style=format!("left:{}", percent(x))></div>
                <div class="pointed-label num" style=side data-testid="plot-pointed">{text::pointed(stop, need)}</div>
            }
        })
    };
    let words = move || {
        let (first, last) = store.curve.with(|c| (c.points.first().map_or(0, |p| p.1.iter().sum()), c.top()));
        text::plot_words(first, last, store.curve.with(|c| c.end), context.get(), total.get())
    };
    view! {
        <section class="card c7 x-plot" id="memory" tabindex="-1">
            <h2>{text::memory::PLOT} <Legend/></h2>
            <div class="plot" role="img" aria-label=words data-testid="plot" on:pointerdown=pressed on:pointermove=moved on:pointerleave=move |_| pointed.set(None)>
                {ticks_y}
                <svg viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">{areas}</svg>
                {lines}
                <div class="upright" style=move || format!("left:{}", percent(x()))></div>
                <div class="here" style=here></div>
                <div class="here-label num" style=label>{move || format_bytes(total.get())}</div>
                {told}
                {ticks_x}
            </div>
        </section>
    }
}

/// Colours of the terms.
#[component]
fn Legend() -> impl IntoView {
    let entry = |(name, colour): (&'static str, &'static str)| {
        view! { <span><i style=format!("background:{colour}")></i>{name}</span> }
    };
    let names = text::memory::NAMES.into_iter().zip(TERM_COLOURS);
    view! { <span class="legend">{names.map(entry).collect_view()}</span> }
}
