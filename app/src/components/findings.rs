//! What the reader should know, the gravest first, each with the one click that answers it.

use leptos::prelude::*;
use phi3::inspect::{Finding, Severity};

use super::bits::badge;
use crate::state::Store;
use crate::state::answers::{self, Answer};
use crate::text::{self, findings as words};

fn severity(severity: Severity) -> impl IntoView {
    match severity {
        Severity::Error => badge("bad", words::ERROR),
        Severity::Warning => badge("warn", words::WARNING),
        Severity::Info => badge("acc", words::INFO),
    }
}

/// The button that answers a finding; nothing where no choice of the page does.
fn button(store: Store, code: String) -> impl IntoView {
    let answer = Memo::new(move |_| {
        // Of a config that is not known nothing is chosen.
        if store.stranger.with(Option::is_some) {
            return None;
        }
        store.model.with(|model| store.resolved.with(|resolved| answers::answer(&code, model, resolved)))
    });
    let button = move |answer: Answer| {
        let (change, label) = (answer.change(), words::answer(&answer));
        let done = words::answered(&label);
        let shown = change.clone();
        let take = move |_| {
            if store.apply(&change) {
                store.say(done.clone());
            }
        };
        view! { <button type="button" class="quiet" data-answer=shown on:click=take>{label}</button> }
    };
    move || answer.get().map(button)
}

/// The list; says so where there is nothing to say.
#[component]
pub fn Findings(
    /// The findings.
    #[prop(into)]
    findings: Signal<Vec<Finding>>,
) -> impl IntoView {
    let store = Store::here();
    let row = move |finding: &Finding| {
        // The first clause carries the news; what follows is the reason.
        let (head, rest) = text::first_clause(&finding.message);
        view! {
            <li class="find" data-code=finding.code.clone()>
                {severity(finding.severity)}
                <p><b>{head}</b> " " <span class="dim">{rest}</span></p>
                {button(store, finding.code.clone())}
            </li>
        }
    };
    let list = move || {
        findings.with(|list| {
            let mut sorted: Vec<_> = list.iter().collect();
            sorted.sort_by_key(|f| f.severity);
            sorted.into_iter().map(row).collect_view()
        })
    };
    view! {
        <section class="card c7 x-findings" id="findings" tabindex="-1" data-testid="findings">
            <h2>{words::HEADING} <span class="faint" data-testid="findings-count">{move || findings.with(Vec::len)}</span></h2>
            <ul class="plain">{list}</ul>
            <Show when=move || findings.with(Vec::is_empty)><p class="dim">{words::NONE}</p></Show>
        </section>
    }
}
