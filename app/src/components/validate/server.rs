//! Validation on the server: progress, tokens as they come, report.

use leptos::prelude::*;
use phi3::api::AttemptState;
use phi3::engine::Loading;
use phi3::load_config::OutcomeClass;

use super::{failed_outcome, outcome};
use crate::components::loading::bytes_words;
use crate::components::log::Log;
use crate::components::lost::start_a_server;
use crate::components::report::report;
use crate::state::run::Run;
use crate::state::{Server, Validation};
use crate::text::{self, validate as words};

/// What it would run there, or what is missing for it.
pub(super) fn intro(validation: Validation) -> impl IntoView {
    move || match validation.server.get() {
        Server::Checking => words::CHECKING.into_any(),
        Server::Present(Some(model)) => {
            view! { {words::ON_SERVER} " " <b>{validation.told.name(&model.id)}</b> {words::NOT_THIS_CONFIG} }
                .into_any()
        }
        Server::Present(None) => words::NO_MODEL.into_any(),
        Server::Absent => view! { {words::NEEDS_SERVER} " " {start_a_server()} }.into_any(),
    }
}

/// Everything of a run, live and after.
#[component]
pub fn Progress() -> impl IntoView {
    let validation = Validation::here();
    let run = validation.run;
    // Of the run, whichever is chosen by now.
    let model =
        move || validation.told.name(&run.with(|r| r.as_ref().map(|r| r.model.clone()).unwrap_or_default()));
    let part = move |read: fn(&Run) -> String| {
        Memo::new(move |_| run.with(|r| r.as_ref().map(read).unwrap_or_default()))
    };
    let stage = part(stage_words);
    let written = part(|r| r.text.clone());
    let live = Memo::new(move |_| run.with(|r| r.as_ref().is_some_and(Run::is_live)));
    let ran = |r: &Run| !r.text.is_empty() || r.report.is_some();
    let loading = move || run.with(|r| r.as_ref().filter(|r| !ran(r))?.loading);
    // Where a load ended early, what was loaded stays to be seen.
    let width = move || {
        let whole = run.with(|r| r.as_ref().is_some_and(ran));
        format!("width:{:.2}%", loading().map_or(f64::from(u8::from(whole)), Loading::share) * 100.0)
    };
    let cancelled =
        move || run.with(|r| r.as_ref().is_some_and(|r| r.state == Some(AttemptState::Cancelled)));
    let done = Memo::new(move |_| run.with(|r| r.as_ref().and_then(|r| r.report.clone())));
    let failure = Memo::new(move |_| run.with(|r| r.as_ref()?.error.clone()).filter(|_| !cancelled()));
    let failed = move || failure.with(Option::is_some);
    // One failure has one name, here and among the attempts.
    let name = move || run.with(|r| r.as_ref()?.outcome).map(OutcomeClass::name);
    let verdict_less = Memo::new(move |_| failure.get().filter(|_| done.with(Option::is_none)));
    let log = part(|r| r.log.join("\n"));
    view! {
        <div class="run" data-testid="validate-run">
            // Both are of one height, so that nothing moves when the verdict comes.
            <div class="standing">
                {move || done.get().map(|report| outcome(model(), &report))}
                {move || verdict_less.get().map(|error| failed_outcome(model(), name(), error))}
                <div hidden=move || done.with(Option::is_some) || failed()>
                    <div class="stage">
                        <span role="status" data-testid="validate-stage">{stage}</span>
                        <span class="num dim">{move || loading().map(bytes_words)}</span>
                    </div>
                    <div class="bar" class:bad=failed class:off=cancelled aria-hidden="true"><i style=width></i></div>
                </div>
            </div>
            <div class="tokens" data-testid="validate-output" aria-label=words::OUTPUT hidden=move || failed() && written.with(String::is_empty)>
                {written}
                <Show when=move || live.get()><span class="caret" aria-hidden="true"></span></Show>
            </div>
            {move || Some(log.get()).filter(|l| !l.is_empty()).map(|l| {
                view! { <details class="log-box"><summary>{words::LOG}</summary><Log log=l/></details> }
            })}
            {move || done.get().map(|done| report(*done))}
        </div>
    }
}

fn stage_words(run: &Run) -> String {
    if run.broken && run.is_live() {
        return words::BROKEN.to_owned();
    }
    match run.state {
        _ if run.error.is_some() && run.state != Some(AttemptState::Cancelled) => {
            words::STATE_FAILED.to_owned()
        }
        None => words::STATE_ASKING.to_owned(),
        Some(AttemptState::Queued) => text::queued(run.position.unwrap_or(0)),
        Some(AttemptState::Downloading) => words::STATE_DOWNLOADING.to_owned(),
        Some(AttemptState::Checking) => words::STATE_CHECKING.to_owned(),
        Some(AttemptState::Starting) => words::STATE_STARTING.to_owned(),
        Some(AttemptState::Loading) => {
            run.loading.map_or(words::STATE_STARTING, |l| text::load_stage(l.progress.stage)).to_owned()
        }
        Some(AttemptState::Validating) => words::STATE_RUNNING.to_owned(),
        Some(AttemptState::Ready) => words::STATE_READY.to_owned(),
        Some(AttemptState::Stopping) => words::STATE_STOPPING.to_owned(),
        Some(AttemptState::Stopped) => words::STATE_STOPPED.to_owned(),
        Some(AttemptState::Failed) => words::STATE_FAILED.to_owned(),
        Some(AttemptState::Cancelled) => words::STATE_CANCELLED.to_owned(),
        Some(AttemptState::Lost) => words::STATE_LOST.to_owned(),
    }
}
