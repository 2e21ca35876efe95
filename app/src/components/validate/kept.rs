//! Models that this browser keeps: the button that asks for it, the copy that goes on, what is there.

use leptos::prelude::*;
use phi3::api::{Kept, KeptFile};
use phi3::engine::Loading;
use phi3::units::format_bytes;

use super::notice;
use crate::components::bits::copies;
use crate::components::loading::bytes_words;
use crate::platform::files::Picked;
use crate::state::Validation;
use crate::state::browser_run::End;
use crate::state::kept::{Job, Shelf, is_read};
use crate::text::kept as words;

/// Asks this browser to keep the files that were chosen, or says why it cannot.
#[component]
pub fn KeepButton() -> impl IntoView {
    let browser = Validation::here().browser;
    let kept = browser.kept;
    let is_gguf =
        move || browser.chosen.with(|files| files.iter().any(|file| file.name().ends_with(".gguf")));
    let is_kept = move || {
        let name = browser.chosen_name();
        browser.chosen.with(|files| {
            let read = |file: &Picked| is_read(file.name()).then(|| (file.name().to_owned(), file.size()));
            let files: Vec<(String, u64)> = files.iter().filter_map(read).collect();
            let files: Vec<(&str, u64)> = files.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
            kept.shelf.with(|shelf| shelf.has(&name, &files))
        })
    };
    let why_not = Memo::new(move |_| match kept.shelf.get() {
        Shelf::Unknown => Some(String::new()),
        Shelf::Closed(closed) => Some(words::closed(&closed)),
        Shelf::Open(_) if is_gguf() => Some(words::GGUF.to_owned()),
        Shelf::Open(_) => is_kept().then(|| words::IS_KEPT.to_owned()),
    });
    view! {
        <button
            type="button"
            class="btn small"
            data-testid="keep"
            disabled=move || why_not.with(Option::is_some) || kept.is_busy.get()
            on:click=move |_| browser.keep()
        >
            {words::KEEP}
        </button>
        <span class="faint small-text" data-testid="keep-why">{why_not}</span>
    }
}

/// What is kept; nothing where there is nothing.
#[component]
pub fn KeptModels() -> impl IntoView {
    let kept = Validation::here().browser.kept;
    let is_wanted = move || {
        kept.shelf.with(|shelf| !shelf.models().is_empty()) || kept.said.with(|said| !said.is_empty())
    };
    let models = Memo::new(move |_| kept.shelf.with(|shelf| shelf.models().to_vec()));
    let used = move || kept.space.get().map_or(0, |space| space.used_bytes).to_string();
    let is_there = Memo::new(move |_| models.with(|models| !models.is_empty()));
    let is_persistent = Memo::new(move |_| kept.space.get().is_some_and(|space| space.is_persistent));
    let persist = move || {
        if is_persistent.get() {
            return view! { <span>{words::PERSISTENT}</span> }.into_any();
        }
        view! {
            <span>{words::MAY_DELETE}</span>
            <button type="button" class="btn small" data-testid="persist" on:click=move |_| kept.persist()>{words::PERSIST}</button>
        }
        .into_any()
    };
    view! {
        <Show when=is_wanted>
            <section class="card c12" data-testid="kept" aria-labelledby="kept">
                <div class="card-head"><h2 id="kept">{words::HEADING}</h2></div>
                <p class="dim prose">{words::WHY}</p>
                <p role="status" class="small-text" data-testid="kept-said">{kept.said}</p>
                {move || models.get().into_iter().map(|(id, kept)| row(id, kept)).collect_view()}
                <div class="row dim small-text">
                    <span data-testid="kept-space" data-value=used>{move || kept.space.get().map(words::space)}</span>
                    <Show when=move || is_there.get()>{persist}</Show>
                </div>
            </section>
        </Show>
    }
}

/// The last copy or check, live and after.
#[component]
pub fn KeptProgress() -> impl IntoView {
    let kept = Validation::here().browser.kept;
    fn of<T>(job: &Option<Job>, read: impl Fn(&Job) -> T) -> Option<T> {
        job.as_ref().map(read)
    }
    let is_there = Memo::new(move |_| kept.job.with(Option::is_some));
    let stage = Memo::new(move |_| {
        let busy = kept.is_busy.get();
        kept.job.with(|job| of(job, |job| words::job(job, busy)))
    });
    let is_live = Memo::new(move |_| kept.job.with(|job| of(job, Job::is_live)).unwrap_or_default());
    let end = Memo::new(move |_| kept.job.with(|job| of(job, |job| job.end)).flatten());
    let error = Memo::new(move |_| kept.job.with(|job| of(job, |job| job.error.clone())).flatten());
    let loading = move || kept.job.with(|job| of(job, |job| job.loading)).flatten();
    let width = move || format!("width:{:.2}%", loading().map_or(0.0, Loading::share) * 100.0);
    let ended = move |wanted: End| move || end.get() == Some(wanted);
    view! {
        <Show when=move || is_there.get()>
            <div class="run" data-testid="kept-job" data-busy=move || kept.is_busy.get().to_string()>
                <div class="stage">
                    <span role="status" data-testid="kept-stage">{stage}</span>
                    <span class="row">
                        <span class="num dim" data-testid="kept-progress">{move || loading().map(bytes_words)}</span>
                        <Show when=move || is_live.get()>
                            <button type="button" class="btn small" data-testid="kept-cancel" on:click=move |_| kept.cancel()>{words::CANCEL}</button>
                        </Show>
                    </span>
                </div>
                <div class="bar" class:bad=ended(End::Failed) class:off=ended(End::Cancelled) aria-hidden="true"><i style=width></i></div>
                {move || error.get().map(|error| notice("kept-error", error))}
            </div>
        </Show>
    }
}

/// A model: what it is, its files, what can be done with it.
fn row(id: String, kept: Kept) -> impl IntoView {
    let validation = Validation::here();
    let browser = validation.browser;
    let is_busy = move || browser.kept.is_busy.get() || validation.is_live();
    let (verify, remove) = (id.clone(), id.clone());
    let file = |file: KeptFile| {
        view! { <tr><td>{file.name}</td><td class="num">{format_bytes(file.bytes)}</td><td class="mono">{copies(file.sha256)}</td></tr> }
    };
    let (name, about) = (kept.name.clone(), words::about(&kept));
    view! {
        <div class="stacked" role="group" aria-label=name.clone() data-kept=id>
            <div class="card-head">
                <span><b>{name.clone()}</b> " " <span class="faint">{about}</span></span>
                <div class="row">
                    <button type="button" class="btn small" data-testid="kept-verify" aria-label=words::of_model(words::VERIFY, &name) disabled=is_busy on:click=move |_| browser.kept.verify(verify.clone())>{words::VERIFY}</button>
                    <button type="button" class="btn small" data-testid="kept-remove" aria-label=words::of_model(words::REMOVE, &name) disabled=is_busy on:click=move |_| browser.remove(remove.clone())>{words::REMOVE}</button>
                </div>
            </div>
            <details class="log-box">
                <summary>{words::files(&name)}</summary>
                <div class="scroll">
                    <table>
                        <thead><tr><th>{words::FILE}</th><th class="num">{words::SIZE}</th><th>{words::SHA256}</th></tr></thead>
                        <tbody>{kept.files.into_iter().map(file).collect_view()}</tbody>
                    </table>
                </div>
            </details>
        </div>
    }
}
