//! What can still be said about a config of an architecture that is not known.

use std::sync::Arc;

use leptos::prelude::*;

use super::Findings;
use crate::state::model;
use crate::text;

/// Its banner and its findings. No number is better than a wrong one.
#[component]
pub fn Stranger(
    /// The config.
    stranger: Arc<model::Stranger>,
) -> impl IntoView {
    let words = text::not_known(&stranger.model_type, &stranger.title);
    let findings = stranger.findings.clone();
    view! {
        <section id="fit" tabindex="-1" class="verdict warn" aria-label=text::verdict::HEADING data-testid="verdict" data-value="unknown">
            <div class="big">{text::verdict::NOT_KNOWN}</div>
            <div>
                <div>{words}</div>
                <div class="dim">{text::verdict::NOT_KNOWN_NEXT}</div>
            </div>
        </section>
        <div class="grid">
            <Findings findings=Signal::derive(move || findings.clone())/>
        </div>
    }
}
