//! The rules of thumb beside the truth, and how far the memory reaches.

use leptos::prelude::*;
use phi3::estimate;
use phi3::units::format_count;

use crate::format::{short_count, signed_percent};
use crate::state::Store;
use crate::text::{self, params, rules as words};

/// The card.
#[component]
pub fn Rules() -> impl IntoView {
    let store = Store::here();
    let positions = Memo::new(move |_| store.model.with(|m| m.decoder.max_position_embeddings as u64));
    let rule = move || {
        let value = store.model.with(|m| estimate::rule_of_thumb(&m.decoder));
        let error = value as f64 / store.report.with(|r| r.params_total.max(1)) as f64 - 1.0;
        let (says, error) = text::rule_of_thumb(&short_count(value), &signed_percent(error));
        view! { <p data-testid="rule">{params::RULE} " " <code>"hidden × intermediate × layers × 2"</code> " " {says} <b>{error}</b> "."</p> }
    };
    let break_even = move || {
        store.report.with(|r| text::break_even(r.fit.margin_rule.break_even_context, positions.get()))
    };
    let limits = Memo::new(move |_| {
        let mut limits = store.report.with(|r| r.fit.max_contexts.clone());
        // Where so many do not load, more do not either.
        let known = limits.iter().position(|limit| limit.max_context == 0).map_or(limits.len(), |at| at + 1);
        limits.truncate(known);
        limits
    });
    let most = Memo::new(move |_| store.report.with(|r| r.fit.max_batch));
    let row = move |limit: &phi3::fit::BatchLimit| {
        let context = match limit.max_context {
            0 => words::NONE.to_owned(),
            max if max >= positions.get() => text::all_positions(max),
            max => format_count(max),
        };
        view! { <tr><td class="num">{limit.batch}</td><td class="num">{context}</td></tr> }
    };
    view! {
        <section class="card c5 x-rules">
            <h2>{words::HEADING}</h2>
            <div class="prose">{rule} <p>{break_even}</p></div>
            <Show when=move || { limits.with(|l| !l.is_empty()) }>
                <table class="limits">
                    <thead><tr><th class="num">{words::BATCH}</th><th class="num">{words::LONGEST}</th></tr></thead>
                    <tbody>{move || limits.with(|l| l.iter().map(row).collect_view())}</tbody>
                </table>
                <p class="dim">{move || most.get().map(words::most)}</p>
            </Show>
        </section>
    }
}
