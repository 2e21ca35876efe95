//! Inspect: what a config says, means and implies.

use leptos::prelude::*;
use phi3::inspect::TotalParams;

use crate::components::{FieldTable, Findings, Header, Notice, Params, Stranger, WeightsAlone};
use crate::state::Store;
use crate::state::inspection::inspection;

/// The page.
#[component]
pub fn Inspect() -> impl IntoView {
    let store = Store::here();
    let report = inspection(store);
    let findings = Signal::derive(move || store.model.with(|m| m.findings.clone()));
    let fields =
        Signal::derive(move || report.with(|r| r.as_ref().map(|r| r.fields.clone()).unwrap_or_default()));
    let params = Signal::derive(move || {
        let nothing = TotalParams { total: None, groups: Vec::new() };
        report.with(|r| r.as_ref().map_or(nothing, |r| r.params.clone()))
    });
    let alone = move || store.own_files().and_then(|files| files.weights_alone().cloned());
    // Without a config it has no fields, nor has a GGUF file that names no architecture.
    let has_config = Memo::new(move |_| {
        let names_none = store.stranger.with(|it| it.as_ref().is_some_and(|it| it.model_type.is_empty()));
        !names_none || store.own_files().is_none_or(|files| files.weights.is_none())
    });
    view! {
        <Header/>
        <Notice/>
        {move || match (store.stranger.get(), alone()) {
            (None, _) => view! { <div class="grid"><Findings findings/><Params params/></div> }.into_any(),
            (Some(_), Some(weights)) => view! { <WeightsAlone weights params/> }.into_any(),
            (Some(stranger), None) => view! { <Stranger stranger/> }.into_any(),
        }}
        <Show when=move || has_config.get()><div class="grid below"><FieldTable fields/></div></Show>
    }
}
