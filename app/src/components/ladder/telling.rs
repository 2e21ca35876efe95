//! Of the rung that says most: memory predicted and measured, and what it changes.

use leptos::prelude::*;
use phi3::api::LadderRung;
use phi3::load_config::Change;
use serde_json::Value;

use crate::components::bits::bytes;
use crate::components::plan::diff::line;
use crate::format::Unit;
use crate::state::{Ladders, ladders as state};
use crate::text::{self, ladder as words, memory, validate};

/// The cards.
#[component]
pub fn Telling() -> impl IntoView {
    let ladders = Ladders::here();
    let rung = Memo::new(move |_| ladders.shown.with(|ladder| state::telling(ladder.as_ref()?).cloned()));
    move || {
        match rung.get() {
        None => view! { <section class="card"><h2>{words::MEMORY}</h2> <p class="dim">{words::NOTHING_MEASURED}</p></section> }.into_any(),
        Some(rung) => view! { {memory_card(&rung)} {change_card(&rung)} }.into_any(),
    }
    }
}

fn memory_card(rung: &LadderRung) -> impl IntoView + use<> {
    let (predicted, measured) = (rung.predicted, rung.measured);
    let largest = [predicted, measured].into_iter().flatten().map(|m| m.total_bytes).max().unwrap_or(0);
    let unit = Unit::of(largest);
    let row = |place: usize, name: &'static str| {
        let read = |m: phi3::engine::Memory| {
            [m.weights_bytes, m.kv_cache_bytes, m.activation_bytes, m.overhead_bytes, m.total_bytes][place]
        };
        let cell = |value: Option<u64>| match value {
            Some(value) => bytes(value, unit, "").into_any(),
            None => view! { <span class="faint">"–"</span> }.into_any(),
        };
        view! { <tr><td>{text::capitalised(name)}</td><td class="num">{cell(predicted.map(read))}</td><td class="num">{cell(measured.map(read))}</td></tr> }
    };
    let names = memory::NAMES.into_iter().chain([memory::TOTAL]);
    view! {
        <section class="card" data-testid="ladder-memory">
            <div class="card-head"><h2>{words::MEMORY}</h2> <span class="faint">{text::capitalised(&rung.title)}</span></div>
            <table>
                <thead><tr><th>{text::memory_in(unit.name())}</th><th class="num">{validate::PREDICTED}</th><th class="num">{validate::MEASURED}</th></tr></thead>
                <tbody>{names.enumerate().map(|(place, name)| row(place, name)).collect_view()}</tbody>
            </table>
        </section>
    }
}

fn change_card(rung: &LadderRung) -> impl IntoView + use<> {
    let row = |change: &Change| view! { <li class="change"><code>{change.path.clone()}</code> <span class="mono lines">{line("−", "gone", &change.path, change.from.as_ref())} {line("+", "new", &change.path, change.to.as_ref())}</span></li> };
    let is_same = rung.changes.is_empty();
    let load_config = rung.load_config.clone().map(|map| format!("{:#}", Value::Object(map)));
    view! {
        <section class="card stacked">
            <div class="card-head"><h2>{words::CHANGE}</h2> <span class="faint">{rung.parent.as_deref().map(words::rung)}</span></div>
            {is_same.then(|| view! { <p class="dim">{if rung.parent.is_some() { words::SAME } else { words::NO_CHANGE }}</p> })}
            <ul class="plain">{rung.changes.iter().map(row).collect_view()}</ul>
            {load_config.map(|json| view! { <details class="log-box"><summary>{words::LOAD_CONFIG}</summary><pre class="log" tabindex="0">{json}</pre></details> })}
        </section>
    }
}
