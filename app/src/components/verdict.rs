//! The answer: does it fit, why, how far, and the one change that helps.

use leptos::prelude::*;
use phi3::fit::{self, Suggestion};
use phi3::units::format_bytes;

use super::bits::bytes;
use crate::format::Unit;
use crate::state::{Store, devices};
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

/// Levers shown; the list in the estimate is longer.
const LEVERS: usize = 3;

fn levers(store: Store, mut suggestions: Vec<Suggestion>) -> Option<impl IntoView> {
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
        view! {
            <button type="button" class="btn" data-change=s.change on:click=move |_| { store.apply(&change); }>
                {text::capitalised(&s.label)}
                <span>{format!("{}, {}", format_bytes(s.total_bytes), s.verdict.words())}</span>
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

/// The banner.
#[component]
pub fn Verdict() -> impl IntoView {
    let store = Store::here();
    let fit = Memo::new(move |_| store.report.with(|r| r.fit.clone()));
    let verdict = Memo::new(move |_| fit.with(|f| f.verdict));
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
        let memory = store.memory_text.get();
        let device = devices::named(&memory).map(|d| d.name);
        let at = store.resolved.with(text::at);
        fit.with(|f| match f.available_bytes {
            None => text::needed(&at).into_any(),
            Some(_) => {
                let (lead, rest) = text::fit_numbers(f, device, &at);
                view! { <b>{lead}</b> {rest} }.into_any()
            }
        })
    };
    let second = move || {
        let room = fit.with(|f| match (f.max_context, devices::smallest_that_fits(f.required_bytes)) {
            (Some(max), _) => {
                text::room_until(max, store.model.with(|m| m.decoder.max_position_embeddings as u64))
            }
            (None, Some(device)) => text::smallest_device(device.name, &device.usable()),
            (None, None) => text::NO_LISTED_DEVICE.to_owned(),
        });
        format!("{room} {}", store.report.with(|r| text::sureness_of(&r.terms)))
    };
    view! {
        <section
            id="fit"
            tabindex="-1"
            class=move || format!("verdict {}", tone(verdict.get()).0)
            aria-label=text::verdict::HEADING
            aria-live="polite"
            data-testid="verdict"
            data-value=move || code(verdict.get())
        >
            <div class="big">{big}</div>
            <div>
                <div>{first}</div>
                <div class="dim">{second}</div>
            </div>
            {move || levers(store, fit.with(|f| f.suggestions.clone()))}
        </section>
    }
}

/// The banner of an architecture that is not known: no number is better than a wrong one.
#[component]
pub fn Unknown(
    /// `model_type` of the config.
    model_type: String,
) -> impl IntoView {
    view! {
        <section id="fit" tabindex="-1" class="verdict warn" aria-label=text::verdict::HEADING data-testid="verdict" data-value="unknown">
            <div class="big">{text::verdict::NOT_KNOWN}</div>
            <div>
                <div>{text::not_known(&model_type)}</div>
                <div class="dim">{text::verdict::NOT_KNOWN_NEXT}</div>
            </div>
        </section>
    }
}
