//! What the reader should know, the gravest first.

use leptos::prelude::*;
use phi3::inspect::{Finding, Severity};

use super::bits::badge;
use crate::text::{self, findings as words};

fn severity(severity: Severity) -> impl IntoView {
    match severity {
        Severity::Error => badge("bad", words::ERROR),
        Severity::Warning => badge("warn", words::WARNING),
        Severity::Info => badge("acc", words::INFO),
    }
}

/// The list; says so where there is nothing to say.
#[component]
pub fn Findings(
    /// The findings.
    #[prop(into)]
    findings: Signal<Vec<Finding>>,
) -> impl IntoView {
    let row = |finding: &Finding| {
        // The first clause carries the news; what follows is the reason.
        let (head, rest) = text::first_clause(&finding.message);
        view! {
            <li class="find" data-code=finding.code.clone()>
                {severity(finding.severity)}
                <p><b>{head}</b> " " <span class="dim">{rest}</span></p>
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
