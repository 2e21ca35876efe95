//! What a ladder will do: the steps of the profile that is chosen.

use leptos::prelude::*;
use phi3::ladder::Step;

use crate::state::Ladders;
use crate::text::{capitalised, ladder as words};

/// The steps, as rungs that wait.
#[component]
pub fn Steps() -> impl IntoView {
    let ladders = Ladders::here();
    let step = |step: Step| {
        let title = if step.title.is_empty() { step.action.name().to_owned() } else { step.title };
        view! {
            <li class="rung" data-state="waiting">
                <span class="mark" aria-hidden="true">{step.id}</span>
                <div class="named"><b>{capitalised(&title)}</b></div>
            </li>
        }
    };
    let steps = move || ladders.profile().map(|profile| profile.steps).unwrap_or_default();
    view! {
        <section class="card c7" aria-labelledby="ladder-steps" data-testid="ladder-steps">
            <div class="card-head"><h2 id="ladder-steps">{words::STEPS}</h2> <span class="faint">{move || ladders.profile().map(|profile| profile.name)}</span></div>
            <p class="dim">{words::NONE_YET}</p>
            <ol class="rungs">{move || steps().into_iter().map(step).collect_view()}</ol>
        </section>
    }
}
