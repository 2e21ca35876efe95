//! The answer: does it fit, why, how far, and the one change that helps.

use leptos::prelude::*;
use phi3::estimate::Format;
use phi3::fit::{self, Suggestion};

use super::bits::bytes;
use crate::format::Unit;
use crate::state::link::View;
use crate::state::{Ask, Late, Page, Store, devices};
use crate::text;

/// Class and word of a verdict.
fn tone(verdict: Option<fit::Verdict>) -> (&'static str, &'static str) {
    match verdict {
        None => ("", ""),
        Some(fit::Verdict::Fits) => ("ok", text::verdict::FITS),
        Some(fit::Verdict::Tight) => ("warn", text::verdict::TIGHT),
        Some(fit::Verdict::DoesNotFit) => ("bad", text::verdict::DOES_NOT_FIT),
    }
}

/// The name of a verdict in JSON.
fn code(verdict: Option<fit::Verdict>) -> &'static str {
    match verdict {
        None => "none",
        Some(fit::Verdict::Fits) => "fits",
        Some(fit::Verdict::Tight) => "tight",
        Some(fit::Verdict::DoesNotFit) => "does_not_fit",
    }
}

/// What answers a device without bf16.
const IN_F16: &str = "dtype=f16";
/// Levers shown; the list in the estimate is longer.
const LEVERS: usize = 3;

/// Whether a change is a choice of this page; a second GPU is none.
fn is_choice(suggestion: &Suggestion) -> bool {
    View::default().set(&suggestion.change)
}

/// Whether the plan can say a change: layers on the CPU beside a GPU that shares a model with it.
fn is_planned(suggestion: &Suggestion) -> bool {
    suggestion.runs && suggestion.change.starts_with('o')
}

fn levers(store: Store, late: Late, fit: &fit::Fit) -> Option<impl IntoView + use<>> {
    let mut suggestions: Vec<Suggestion> = fit.suggestions.iter().chain(&fit.together).cloned().collect();
    suggestions.retain(|s| is_choice(s) || is_planned(s));
    // The smallest change stays first; one lever of a kind is enough to choose from,
    // and one that this build runs comes before one that it only computes.
    suggestions.sort_by_key(|s| !s.runs);
    let mut kinds = Vec::new();
    suggestions.retain(|s| {
        let kind = s.change.split('=').next().unwrap_or_default().to_owned();
        let new = !kinds.contains(&kind);
        kinds.push(kind);
        new
    });
    suggestions.truncate(LEVERS);
    let button = move |s: Suggestion| {
        let change = s.change.clone();
        // The estimate is of one device; budgets of several are the plan's.
        let is_done = is_planned(&s) && store.rest.with(|rest| rest.load_config.contains_key("max_memory"));
        let take = move |_| {
            if is_done {
                store.go(Page::Plan);
            } else if !store.apply(&change) {
                late.ask(Ask::Spread);
            }
        };
        let label = if is_done { text::verdict::PLANNED.to_owned() } else { text::capitalised(&s.label) };
        view! {
            <button type="button" class="btn" data-change=s.change.clone() on:click=take>
                {label}
                <span>{text::lever(&s)}</span>
            </button>
        }
    };
    (!suggestions.is_empty()).then(|| {
        view! {
            <div class="levers" role="group" aria-label=text::verdict::CHEAPEST>
                {suggestions.into_iter().map(button).collect_view()}
            </div>
        }
    })
}

/// Whether the chosen GPU does not compute in a format of weights.
pub(super) fn lacks(store: Store, format: Format) -> bool {
    let device = store.device.get().and_then(|device| phi3::devices::find(&device).ok());
    device.is_some_and(|device| devices::lacks(device, format))
}

/// The change that answers it.
fn in_f16(store: Store) -> impl IntoView {
    view! {
        <div data-testid="no-bf16">
            <button type="button" class="btn small" data-change=IN_F16 on:click=move |_| { store.apply(IN_F16); }>
                {text::verdict::IN_F16}
            </button>
        </div>
    }
}

fn warning(sentence: &str) -> impl IntoView + use<> {
    view! { <div data-testid="fit-warning">{format!("{}.", text::capitalised(sentence))}</div> }
}

/// What to do where no button does it.
fn advice(fit: &fit::Fit) -> Option<impl IntoView + use<>> {
    let other = || {
        let other = fit
            .suggestions
            .first()
            .filter(|_| !fit.suggestions.iter().any(|s| is_choice(s) || is_planned(s)))?;
        Some(text::elsewhere(&other.label, other.held_bytes()))
    };
    let words = fit.advice.as_ref().map(|advice| format!("{}.", text::capitalised(advice))).or_else(other)?;
    Some(view! { <div data-testid="fit-advice">{words}</div> })
}

/// The banner.
#[component]
pub fn Verdict() -> impl IntoView {
    let store = Store::here();
    let late = expect_context::<Late>();
    let fit = Memo::new(move |_| store.report.with(|r| r.fit.clone()));
    let verdict = Memo::new(move |_| fit.with(|f| f.verdict));
    let lacking = Memo::new(move |_| lacks(store, store.resolved.with(|resolved| resolved.format)));
    // Memory that is enough is no plain yes where the device does not compute so.
    let class = move || match tone(verdict.get()).0 {
        "ok" if lacking.get() => "warn",
        tone => tone,
    };
    let big = move || {
        let total = fit.with(|f| f.required_bytes);
        let unit = Unit::of(total);
        let need = view! { {bytes(total, unit, "need")} " " {unit.name()} };
        match verdict.get() {
            // Without a device the need itself is the answer.
            None => view! { {need} <small>{text::verdict::NEEDED}</small> }.into_any(),
            some => view! { {tone(some).1} <small>{need}</small> }.into_any(),
        }
    };
    let first = move || {
        let device = store.device.get().map(text::device);
        let at = store.resolved.with(text::at);
        fit.with(|f| match f.available_bytes {
            None => text::needed(&at).into_any(),
            Some(_) => {
                let (lead, rest) = text::fit_numbers(f, device.as_deref(), &at);
                view! { <b>{lead}</b> {rest} }.into_any()
            }
        })
    };
    let second = move || {
        let smallest = || {
            let weights = store.report.with(|r| r.weights_bytes);
            store.model.with(|m| store.resolved.with(|r| devices::smallest_that_fits(&m.decoder, weights, r)))
        };
        let room = match fit.with(|f| f.max_context) {
            Some(max) => {
                text::room_until(max, store.model.with(|m| m.decoder.max_position_embeddings as u64))
            }
            None => match smallest() {
                Some((name, usable)) => text::smallest_device(name, &usable),
                None => text::NO_LISTED_DEVICE.to_owned(),
            },
        };
        format!("{room} {}", store.report.with(|r| text::sureness_of(&r.terms)))
    };
    view! {
        <section
            id="fit"
            tabindex="-1"
            class=move || format!("verdict {}", class())
            aria-label=text::verdict::HEADING
            aria-live="polite"
            data-testid="verdict"
            data-value=move || code(verdict.get())
        >
            <div class="big">{big}</div>
            <div>
                <div>{first}</div>
                <div class="dim">{second}</div>
                {move || fit.with(|f| f.warnings.iter().map(|it| warning(it)).collect_view())}
                {move || fit.with(advice)}
                {move || lacking.get().then(|| in_f16(store))}
            </div>
            {move || fit.with(|fit| levers(store, late, fit))}
        </section>
    }
}
