//! A validation in this browser: each device's turn, how the engines agree, the reports.

use leptos::prelude::*;
use phi3::engine::Loading;
use phi3::placement::DeviceId;
use phi3::units::format_bytes;
use phi3::validate::Report;

use super::{Exports, notice, outcome};
use crate::components::bits::arrows;
use crate::components::loading::bytes_words;
use crate::components::proof::apart;
use crate::components::report::{fact, report, timed, verdict};
use crate::format::{duration, rate};
use crate::state::Validation;
use crate::state::browser_run::{BrowserRuns, End, Side, Step};
use crate::text::{self, in_browser as words, validate};

/// Everything of the last run, live and after.
#[component]
pub fn Outcome() -> impl IntoView {
    let runs = Validation::here().browser.runs;
    let devices = Memo::new(move |_| {
        let of = |runs: &BrowserRuns| runs.sides.iter().map(|side| side.device.clone()).collect::<Vec<_>>();
        runs.with(|runs| runs.as_ref().map(of).unwrap_or_default())
    });
    let error = Memo::new(move |_| runs.with(|runs| runs.as_ref()?.error.clone()));
    let compared = Memo::new(move |_| runs.with(|runs| runs.as_ref()?.compared.clone()));
    let turns = move || {
        let devices = devices.get();
        let width = if devices.len() > 1 { "c6" } else { "c12" };
        devices.into_iter().enumerate().map(|(at, device)| view! { <Turn at device width/> }).collect_view()
    };
    view! {
        {turns}
        {move || error.get().map(|error| view! { <div class="c12">{notice("validate-error", error)}</div> })}
        {move || compared.get().map(|difference| view! {
            <section class="card c12" data-testid="compared" data-value=text::verdict_code(difference.verdict)>
                <div class="card-head"><h2>{words::COMPARED}</h2> {verdict(difference.verdict)}</div>
                <p class="dim above">{words::COMPARED_WHY}</p>
                {apart(&difference)}
            </section>
        })}
        <Reports/>
    }
}

/// One device's turn.
#[component]
fn Turn(
    /// Its place among the turns.
    at: usize,
    /// The device.
    device: DeviceId,
    /// Width of its card.
    width: &'static str,
) -> impl IntoView {
    let runs = Validation::here().browser.runs;
    fn of<T: Default>(runs: &Option<BrowserRuns>, at: usize, read: impl Fn(&BrowserRuns, &Side) -> T) -> T {
        runs.as_ref().and_then(|runs| Some(read(runs, runs.sides.get(at)?))).unwrap_or_default()
    }
    let stage = Memo::new(move |_| runs.with(|runs| of(runs, at, stage_words)));
    let written = Memo::new(move |_| runs.with(|runs| of(runs, at, |_, side| side.text.clone())));
    let count = Memo::new(move |_| runs.with(|runs| of(runs, at, |_, side| side.tokens.len())));
    let live = Memo::new(move |_| runs.with(|runs| of(runs, at, |runs, _| runs.is_turn_of(at))));
    let loading =
        move || runs.with(|runs| of(runs, at, |_, side| side.loading.filter(|_| side.step == Step::Loading)));
    let width_of_bar = move || {
        let share = |_: &BrowserRuns, side: &Side| match side.step {
            Step::Waiting | Step::Starting => 0.0,
            Step::Loading => side.loading.map_or(0.0, Loading::share),
            Step::Running | Step::Comparing | Step::Done => 1.0,
        };
        format!("width:{:.2}%", runs.with(|runs| of(runs, at, share)) * 100.0)
    };
    let ended = move |end: End| {
        move || runs.with(|runs| of(runs, at, |runs, side| runs.end == Some(end) && side.step != Step::Done))
    };
    let progress = move || match loading() {
        Some(loading) => bytes_words(loading),
        None if count.get() > 0 => words::tokens(count.get()),
        None => String::new(),
    };
    let done = Memo::new(move |_| runs.with(|runs| of(runs, at, |_, side| side.report.clone())));
    let is_alone = width == "c12";
    let model = move || runs.with(|runs| of(runs, at, |runs, _| runs.model.clone()));
    let closing = move || done.get().filter(|_| !is_alone).map(|report| speeds(&report));
    view! {
        <section class=format!("card {width}") data-testid="turn" data-device=device.to_string()>
            <h2>{words::device(&device)}</h2>
            <div class="run" data-testid="validate-run">
                <div class="standing">
                    {move || done.get().map(|report| outcome(model(), &report))}
                    <div hidden=move || done.with(Option::is_some)>
                        <div class="stage">
                            <span role="status" data-testid="validate-stage">{stage}</span>
                            <span class="num dim">{progress}</span>
                        </div>
                        <div class="bar" class:bad=ended(End::Failed) class:off=ended(End::Cancelled) aria-hidden="true"><i style=width_of_bar></i></div>
                    </div>
                </div>
                <div class="tokens" data-testid="validate-output" role="region" aria-label=validate::OUTPUT tabindex="0">
                    {written}
                    <Show when=move || live.get()><span class="caret" aria-hidden="true"></span></Show>
                </div>
                {closing}
            </div>
        </section>
    }
}

fn stage_words(runs: &BrowserRuns, side: &Side) -> &'static str {
    match (runs.end, side.step) {
        (Some(End::Cancelled), step) if step != Step::Done => words::STEP_CANCELLED,
        (Some(End::Failed), Step::Waiting) => words::STEP_NOT_RUN,
        (Some(End::Failed), step) if step != Step::Done => words::STEP_FAILED,
        (_, step) => {
            let stage = side.loading.map(|loading| loading.progress.stage);
            words::step(step, stage, side.device != DeviceId::Cpu)
        }
    }
}

/// What stands beside the other device's.
fn speeds(report: &Report) -> impl IntoView + use<> {
    let total = report.memory.measured.total_bytes;
    view! {
        <dl class="facts">
            {fact(validate::TTFT, timed(report.ttft_ms, duration))}
            {fact(validate::PREFILL, timed(report.prefill_tokens_per_s, rate))}
            {fact(validate::DECODE, timed(report.decode_tokens_per_s, rate))}
            {fact(validate::MEMORY, format_bytes(total))}
        </dl>
    }
}

/// The reports, one at a time, and ways to take them along.
#[component]
fn Reports() -> impl IntoView {
    let runs = Validation::here().browser.runs;
    let all = Memo::new(move |_| {
        // Whole when the run has ended: what is exported is what is shown.
        runs.with(|runs| runs.as_ref().filter(|runs| !runs.is_live())?.validations())
    });
    let shown = RwSignal::new(0);
    let tab = move |(at, device): (usize, String)| {
        view! {
            <button type="button" role="tab" class="tab" aria-selected=move || (shown.get() == at).to_string() data-report=device.clone() on:click=move |_| shown.set(at)>
                {words::short_device(&device)}
            </button>
        }
    };
    move || {
        let all = all.get()?;
        let at = shown.get().min(all.reports.len().saturating_sub(1));
        let devices: Vec<String> = all.reports.iter().map(|report| report.device.clone()).collect();
        let tabs = (devices.len() > 1).then(|| view! {
            <div class="tabs" role="tablist" aria-label=words::REPORT on:keydown=arrows>{devices.into_iter().enumerate().map(tab).collect_view()}</div>
        });
        let chosen = all.reports.get(at)?.clone();
        Some(view! {
            <section class="card c12 detail" data-testid="browser-report" aria-labelledby="browser-report">
                <div class="card-head">
                    <h2 id="browser-report">{words::REPORT}</h2>
                    <Exports all/>
                </div>
                {tabs}
                {report(chosen)}
            </section>
        })
    }
}
