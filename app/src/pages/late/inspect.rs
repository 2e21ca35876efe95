//! Inspect: what a config says, means and implies.

use leptos::prelude::*;
use phi3::inspect::TotalParams;

use crate::components::{FieldTable, Findings, Header, Notice, Params, Stranger};
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
    view! {
        <Header/>
        <Notice/>
        {move || match store.stranger.get() {
            None => view! { <div class="grid"><Findings findings/><Params params/></div> }.into_any(),
            Some(stranger) => view! { <Stranger stranger/> }.into_any(),
        }}
        <div class="grid below"><FieldTable fields/></div>
    }
}
