//! What the plan does to memory, and what each single change from here would do.

use leptos::prelude::*;
use phi3::load_config::{KNOBS, Preview, TermChange};

use super::form::shown;
use crate::components::bits::{badge, bytes, copies, fit_badge};
use crate::components::verdict::lacks;
use crate::format::{Unit, signed_bytes};
use crate::state::{Plan, Store};
use crate::text::{self, plan as words};

/// Candidates shown until more are asked for.
const FEW: usize = 8;

fn total(preview: &Preview) -> Option<&TermChange> {
    preview.terms.iter().find(|term| term.name == "total")
}

/// Whether it changes the sum.
fn moves(preview: &Preview) -> bool {
    total(preview).is_some_and(|sum| sum.now_bytes != sum.then_bytes)
}

/// Memory before and after, term by term.
#[component]
pub fn Effect() -> impl IntoView {
    let (plan, store) = (Plan::here(), Store::here());
    let effect = Memo::new(move |_| plan.effect());
    let row = |term: &TermChange, unit: Unit| {
        let moved = term.now_bytes != term.then_bytes;
        let delta = moved.then(|| signed_bytes(term.now_bytes, term.then_bytes, unit));
        view! {
            <tr class:dim=!moved data-term=term.name.clone()>
                <td>{words::term(&term.name)}</td>
                <td class="num">{bytes(term.now_bytes, unit, "")}</td>
                <td class="num">{bytes(term.then_bytes, unit, "")}</td>
                <td class="num">{delta.unwrap_or_else(|| words::UNMOVED.to_owned())}</td>
            </tr>
        }
    };
    let verdict = Memo::new(move |_| plan.verdict());
    let standing = move || {
        verdict.get().map(|(verdict, why)| {
            let format = store.resolved.with(|resolved| resolved.format);
            view! { <p class="above" data-testid="plan-verdict" data-value=verdict.words()>{fit_badge(verdict, lacks(store, format))} " " <span class="dim">{text::capitalised(&why)} "."</span></p> }
        })
    };
    let table = move |preview: &Preview| {
        let unit = Unit::of(total(preview).map_or(0, |t| t.now_bytes.max(t.then_bytes)));
        let rows = preview.terms.iter().map(|term| row(term, unit)).collect_view();
        view! {
            <table class="effect">
                <thead>
                    <tr>
                        <th>{text::memory_in(unit.name())}</th><th class="num">{words::PARENT}</th>
                        <th class="num">{words::PLAN}</th><th class="num">{words::CHANGE}</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        }
    };
    let body = move || {
        effect.with(|effect| match effect {
            None if store.stranger.with(Option::is_some) => {
                view! { <p class="dim">{words::NO_MODEL}</p> }.into_any()
            }
            None => view! { <p class="dim">{words::NOT_SIZED}</p> }.into_any(),
            Some(Err(why)) => view! { <p class="problem">{why.clone()}</p> }.into_any(),
            Some(Ok(preview)) => table(preview).into_any(),
        })
    };
    view! {
        <section class="card" aria-labelledby="plan-effect" data-testid="plan-effect">
            <h2 id="plan-effect">{words::EFFECT} <span class="faint">{words::EFFECT_OF}</span></h2>
            {standing}
            {body}
        </section>
    }
}

/// Every single change from here, with what it does to the sum; a click makes it.
#[component]
pub fn Candidates() -> impl IntoView {
    let plan = Plan::here();
    let all = RwSignal::new(false);
    let candidates = Memo::new(move |_| plan.candidates());
    let row = move |preview: &Preview| {
        let sum = total(preview).cloned();
        let unit = Unit::of(sum.as_ref().map_or(0, |t| t.now_bytes.abs_diff(t.then_bytes)));
        let delta = sum.filter(|t| t.now_bytes != t.then_bytes);
        let delta =
            delta.map(|t| format!("{} {}", signed_bytes(t.now_bytes, t.then_bytes, unit), unit.name()));
        let (key, value) = (preview.key.clone(), preview.value.clone());
        let apply = {
            let (key, value) = (key.clone(), value.clone());
            move |_| {
                if let Some(knob) = KNOBS.iter().find(|knob| knob.key == key) {
                    plan.set(knob, Some(value.clone()));
                }
            }
        };
        view! {
            <tr>
                <td class="mono">{key} " " <b>{shown(&value)}</b></td>
                <td class="num">{match delta {
                    Some(delta) => copies(delta).into_any(),
                    None => view! { <span class="faint">{words::NO_BYTES}</span> }.into_any(),
                }}</td>
                <td>{preview.refused.clone().map(|why| view! { <span title=why>{badge("warn", words::REFUSED)}</span> })}</td>
                <td class="num"><button type="button" class="quiet" on:click=apply>{words::APPLY}</button></td>
            </tr>
        }
    };
    let rows = move || {
        candidates.with(|found| {
            let mut found: Vec<&Preview> = found.iter().collect();
            // What changes no byte is not what one looks for first.
            found.sort_by_key(|preview| !moves(preview));
            let few = match found.iter().filter(|preview| moves(preview)).count() {
                _ if all.get() => usize::MAX,
                0 => FEW,
                moving => moving.min(FEW),
            };
            found.into_iter().take(few).map(row).collect_view()
        })
    };
    view! {
        <section class="card" aria-labelledby="plan-next">
            <div class="card-head">
                <h2 id="plan-next">{words::NEXT} " " <span class="faint">{words::NEXT_OF}</span></h2>
                <Show when=move || { candidates.with(|c| c.len() > FEW) }>
                    <button type="button" class="quiet" on:click=move |_| all.update(|a| *a = !*a)>
                        {move || if all.get() { words::FEWER } else { words::ALL }}
                    </button>
                </Show>
            </div>
            <table>
                <thead class="sr"><tr><th>{words::CHANGE}</th><th>{words::CHANGE}</th><th>{words::REFUSED}</th><th>{words::APPLY}</th></tr></thead>
                <tbody>{rows}</tbody>
            </table>
        </section>
    }
}
