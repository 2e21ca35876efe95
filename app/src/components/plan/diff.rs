//! What differs from the parent, and the rule that an attempt changes one thing.

use leptos::prelude::*;
use phi3::load_config::{Change, shown};
use phi3::units::exact_size;
use serde_json::Value;

use crate::components::bits::badge;
use crate::state::lineage::Parent;
use crate::state::{Plan, Told};
use crate::text::plan as words;

pub(in crate::components) fn line(
    sign: &'static str,
    class: &'static str,
    path: &str,
    value: Option<&Value>,
) -> impl IntoView + use<> {
    let is_budget = path.starts_with("max_memory");
    let value = match value {
        None if is_budget => words::NO_BUDGET.to_owned(),
        None => words::NOT_SET.to_owned(),
        Some(value) => match value.as_u64().filter(|_| is_budget) {
            Some(bytes) => exact_size(bytes),
            None => shown(path, value),
        },
    };
    view! { <span class=class>{sign} " " {value}</span> }
}

/// The list.
#[component]
pub fn Changes() -> impl IntoView {
    let (plan, told) = (Plan::here(), Told::here());
    let count = Memo::new(move |_| plan.changes.with(Vec::len));
    let has_parent = move || plan.parent.with(|parent| *parent != Parent::default());
    // A first attempt has no parent, and the server takes it as it is.
    let is_first = move || count.get() > 1 && !has_parent();
    let too_many = move || count.get() > 1 && has_parent() && !plan.branch.get();
    let row = move |change: Change| {
        let undo = change.clone();
        view! {
            <li class="change">
                <code>{change.path.clone()}</code>
                <span class="mono lines">{line("−", "gone", &change.path, change.from.as_ref())} {line("+", "new", &change.path, change.to.as_ref())}</span>
                <button type="button" class="quiet" on:click=move |_| plan.undo(&undo)>{words::UNDO}</button>
            </li>
        }
    };
    let against = move || {
        plan.parent.with(|parent| match &parent.attempt {
            Some(attempt) => words::against_attempt(attempt.id, &told.name(&attempt.model)),
            None if *parent == Parent::default() => words::AGAINST_BUILT_IN.to_owned(),
            None => words::AGAINST_PARENT.to_owned(),
        })
    };
    let refusals = move || plan.refusals();
    view! {
        <section class="card" aria-labelledby="plan-diff" data-testid="plan-diff" data-count=move || count.get().to_string()>
            <div class="card-head">
                <h2 id="plan-diff">
                    {against} " "
                    <span class="faint">{count}</span>
                </h2>
                <div class="row">
                    <Show when=move || { count.get() > 0 }>
                        <button type="button" class="btn small" title=words::MAKE_PARENT_WHY on:click=move |_| plan.become_parent()>{words::MAKE_PARENT}</button>
                    </Show>
                    <Show when=has_parent>
                        <button type="button" class="btn small" on:click=move |_| plan.forget_parent()>{words::FORGET_PARENT}</button>
                    </Show>
                </div>
            </div>
            <Show when=too_many>
                <div class="notice warn" data-testid="one-change">
                    <div><b>{move || words::too_many(count.get())}</b> " " {words::ONE_CHANGE_WHY}</div>
                    <button type="button" class="btn small" on:click=move |_| plan.branch.set(true)>{words::BRANCH}</button>
                </div>
            </Show>
            <Show when=is_first><p class="dim" data-testid="first-attempt">{words::FIRST_ATTEMPT}</p></Show>
            <Show when=move || count.get() == 0><p class="dim">{words::NO_CHANGE}</p></Show>
            <ul class="plain">{move || plan.changes.get().into_iter().map(row).collect_view()}</ul>
            <Show when=move || { count.get() > 1 && has_parent() && plan.branch.get() }>
                <p class="dim">{badge("acc", words::BRANCHED)} " " {words::BRANCHED_WHY}</p>
            </Show>
            {move || refusals().into_iter().map(|why| view! { <p class="refusal">{badge("warn", words::REFUSED)} " " {why}</p> }).collect_view()}
        </section>
    }
}
