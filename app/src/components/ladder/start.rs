//! Which model, which profile.

use leptos::ev::SubmitEvent;
use leptos::prelude::*;

use crate::components::Choice;
use crate::state::Ladders;
use crate::text::ladder as words;

/// The form.
#[component]
pub fn Start() -> impl IntoView {
    let ladders = Ladders::here();
    let chosen = RwSignal::new(None::<String>);
    let models = Signal::derive(move || ladders.told.choices());
    let model = Signal::derive(move || {
        chosen.get().or_else(|| models.with(|m| m.first().map(|(id, _)| id.clone()))).unwrap_or_default()
    });
    let profiles = Signal::derive(move || {
        ladders.profiles.get().into_iter().map(|p| (p.name.clone(), p.name)).collect::<Vec<_>>()
    });
    let profile = ladders.profile_name;
    let about = move || ladders.profile().map(|profile| profile.description).unwrap_or_default();
    let submit = move |ev: SubmitEvent| {
        ev.prevent_default();
        let model = model.get_untracked();
        if !model.is_empty() {
            ladders.start(model, profile.get_untracked());
        }
    };
    let is_empty = move || models.with(Vec::is_empty);
    view! {
        <form class="card stacked" on:submit=submit data-testid="ladder-start">
            <h2>{words::START_TITLE}</h2>
            <p class="dim">{words::START_WHY}</p>
            <Choice label=words::MODEL testid="ladder-model" width="" options=models value=model on_choose=move |id| chosen.set(Some(id))/>
            <Choice label=words::PROFILE testid="ladder-profile" width="" options=profiles value=profile on_choose=move |name| profile.set(name)/>
            <p class="dim small-text">{about}</p>
            <div><button type="submit" class="btn primary" data-testid="ladder-go" disabled=is_empty>{words::START}</button></div>
            <Show when=is_empty><p class="dim">{words::NO_MODELS}</p></Show>
        </form>
    }
}
