//! Estimate: does it fit, why, and what to change.

use leptos::prelude::*;

use crate::components::{
    Assumptions, Controls, DTypes, Findings, Fits, Header, Notice, Plot, Rules, Stranger, Terms, Verdict,
};
use crate::state::Store;

/// The page.
#[component]
pub fn Estimate() -> impl IntoView {
    let store = Store::here();
    let findings = Signal::derive(move || store.model.with(|m| m.findings.clone()));
    let known = move || {
        view! {
            <Verdict/>
            <Controls/>
            <div class="grid">
                <Plot/>
                <Terms/>
                <DTypes/>
                <Findings findings/>
                <Fits/>
                <Assumptions/>
                <Rules/>
            </div>
        }
    };
    view! {
        <Header/>
        <Notice/>
        {move || match store.stranger.get() {
            None => known().into_any(),
            Some(stranger) => view! { <Stranger stranger/> }.into_any(),
        }}
    }
}
