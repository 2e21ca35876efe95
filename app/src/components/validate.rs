//! Validation on the server: start, progress, tokens as they come, cancel, report.

use leptos::prelude::*;
use phi3::api::AttemptState;

use super::report::{report, verdict};
use crate::format::Unit;
use crate::state::run::{Loading, Run};
use crate::state::{Server, Store, Validation};
use crate::text::{self, validate as words};

/// Commands that start a server.
const COMMANDS: [&str; 2] = ["./dev serve", "preflight serve"];

/// The card.
#[component]
pub fn Validate() -> impl IntoView {
    let validation = Validation::here();
    let (server, run) = (validation.server, validation.run);
    let live = Memo::new(move |_| validation.is_live());
    let press = move |_| match server.get_untracked() {
        Server::Present(Some(_)) if !validation.is_live() => validation.start(),
        _ => validation.look(),
    };
    let cancelling = move || run.with(|r| r.as_ref().is_some_and(|r| r.cancelling));
    let intro = move || match server.get() {
        Server::Checking => words::CHECKING.into_any(),
        Server::Present(Some(model)) => {
            view! { {words::ON_SERVER} " " <b>{model.name}</b> {words::NOT_THIS_CONFIG} }.into_any()
        }
        Server::Present(None) => words::NO_DEFAULT.into_any(),
        Server::Absent => how_to_start().into_any(),
    };
    view! {
        <section class="card c12" id="validate-card" tabindex="-1">
            <div class="card-head">
                <h2>{words::HEADING}</h2>
                <div class="row">
                    <Show when=move || live.get()>
                        <button
                            type="button"
                            class="btn"
                            data-testid="validate-cancel"
                            disabled=cancelling
                            on:click=move |_| validation.cancel()
                        >
                            {move || if cancelling() { words::CANCELLING } else { words::CANCEL }}
                            <kbd class="faint">{words::ESC}</kbd>
                        </button>
                    </Show>
                    <button
                        type="button"
                        class="btn primary"
                        data-testid="validate"
                        disabled=move || live.get()
                        on:click=press
                    >
                        {move || match server.get() {
                            Server::Absent | Server::Present(None) => words::LOOK_AGAIN,
                            _ => words::VALIDATE,
                        }}
                    </button>
                </div>
            </div>
            <p class="dim">{intro}</p>
            {move || run.with(Option::is_some).then(|| view! { <Progress/> })}
        </section>
    }
}

fn how_to_start() -> impl IntoView {
    let store = Store::here();
    let command = move |command: &'static str| {
        view! {
            <button
                type="button"
                class="value mono"
                title=words::COPY_COMMAND
                on:click=move |_| store.copy(command.to_owned(), command)
            >
                {command}
            </button>
        }
    };
    view! {
        {words::NEEDS_SERVER} " " {command(COMMANDS[0])} " " {words::OR} " " {command(COMMANDS[1])} " " {words::THEN_OPEN} " "
        <code>"http://127.0.0.1:8080"</code> "."
    }
}

/// Everything of a run, live and after.
#[component]
fn Progress() -> impl IntoView {
    let run = Validation::here().run;
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
        let share = |l: Loading| l.progress.done_bytes as f64 / l.progress.total_bytes.max(1) as f64;
        let whole = run.with(|r| r.as_ref().is_some_and(ran));
        format!("width:{:.2}%", loading().map_or(f64::from(u8::from(whole)), share).min(1.0) * 100.0)
    };
    let cancelled =
        move || run.with(|r| r.as_ref().is_some_and(|r| r.state == Some(AttemptState::Cancelled)));
    let done = Memo::new(move |_| run.with(|r| r.as_ref().and_then(|r| r.report.clone())));
    let failure = Memo::new(move |_| run.with(|r| r.as_ref()?.error.clone()).filter(|_| !cancelled()));
    let failed = move || failure.with(Option::is_some);
    let log = part(|r| r.log.join("\n"));
    view! {
        <div class="run" data-testid="validate-run">
            <div class="stage">
                <span role="status" data-testid="validate-stage">{stage}</span>
                <span class="num dim">{move || loading().map(bytes_words)}</span>
            </div>
            <div class="bar" class:bad=failed class:off=cancelled aria-hidden="true"><i style=width></i></div>
            <div class="tokens" data-testid="validate-output" aria-label=words::OUTPUT>
                {written}
                <Show when=move || live.get()><span class="caret" aria-hidden="true"></span></Show>
            </div>
            {move || failure.get().map(|error| {
                view! {
                    <div class="notice" role="alert" data-testid="validate-error">
                        <div>
                            <b>{error.code}</b>
                            {error.path.map(|path| view! { " " {text::problem::AT} " " <code>{path}</code> })}
                            <div>{error.message}</div>
                        </div>
                    </div>
                }
            })}
            {move || Some(log.get()).filter(|l| !l.is_empty()).map(|l| {
                view! { <details class="log-box"><summary>{words::LOG}</summary><pre class="log">{l}</pre></details> }
            })}
            {move || done.get().map(|r| {
                view! {
                    <p class="outcome" data-testid="validate-verdict" data-value=text::verdict_code(r.verdict)>
                        {verdict(r.verdict)} " " <span>{r.reason.clone()}</span>
                    </p>
                    {report(*r)}
                }
            })}
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

fn bytes_words(loading: Loading) -> String {
    let unit = Unit::of(loading.progress.total_bytes);
    let rate = loading
        .bytes_per_s
        .map_or_else(String::new, |rate| format!(" · {:.2} {}/s", rate / unit.bytes(), unit.name()));
    let (done, total) = (unit.print(loading.progress.done_bytes), unit.print(loading.progress.total_bytes));
    format!("{done} of {total} {}{rate}", unit.name())
}
