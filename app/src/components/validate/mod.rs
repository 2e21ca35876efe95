//! Validation: where it runs, what it runs, progress, tokens as they come, cancel, report.

pub mod browser;
pub mod export;
pub mod kept;
pub mod places;
pub mod server;

pub use browser::Outcome;
pub use export::Exports;
pub use kept::KeptModels;
pub use places::{Controls, Places, ServerControls};
pub use server::Progress;

use leptos::prelude::*;
use phi3::api::ErrorObject;
use phi3::validate::{Report, Verdict};

use crate::state::{Place, Server, Validation};
use crate::text::{self, validate as words};

/// The cards.
#[component]
pub fn Validate() -> impl IntoView {
    let validation = Validation::here();
    let live = Memo::new(move |_| validation.is_live());
    let on_server = Memo::new(move |_| validation.place.get() == Some(Place::Server));
    let cancelling = move || validation.run.with(|r| r.as_ref().is_some_and(|r| r.cancelling && r.is_live()));
    // Whoever reaches for the button gets engines that run already.
    let warm = move || {
        if !on_server.get_untracked() && !live.get_untracked() {
            validation.browser.warm();
        }
    };
    on_cleanup(move || validation.browser.cool());
    validation.browser.kept.look();
    // Until something has run the page says what will stand there; not before the card above it is as high as it will be.
    let is_first = move || {
        validation.place.get().is_some()
            && validation.run.with(Option::is_none)
            && validation.browser.runs.with(Option::is_none)
    };
    let verb = move || match (on_server.get(), validation.server.get()) {
        (true, Server::Absent | Server::Present(None)) => words::LOOK_AGAIN,
        _ => words::VALIDATE,
    };
    let body = move || {
        match validation.place.get() {
        None => view! { <p class="dim">{words::CHECKING}</p> }.into_any(),
        Some(Place::Server) => view! {
            <p class="dim">{server::intro(validation)}</p>
            <Show when=move || { validation.told.models.with(|all| all.iter().flatten().next().is_some()) }><ServerControls/></Show>
            {move || validation.run.with(Option::is_some).then(|| view! { <Progress/> })}
        }
        .into_any(),
        Some(_) => view! { <Controls/> }.into_any(),
    }
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
                        disabled=move || live.get() || validation.browser.is_count_wrong.get()
                        on:pointerenter=move |_| warm()
                        on:focus=move |_| warm()
                        on:click=move |_| validation.begin()
                    >
                        {verb}
                    </button>
                </div>
            </div>
            <Places/>
            {move || validation.browser.refused.get().zip(validation.model_name()).map(|(what, model)| view! {
                <div class="notice warn" role="alert" data-testid="refused-before">
                    <div><b>{what} "."</b> " " {words::RUNS_INSTEAD} " " <b>{model}</b> "."</div>
                </div>
            })}
            {body}
        </section>
        <Show when=is_first>
            <section class="card c12 stacked" data-testid="will-show">
                <h2>{words::WILL_SHOW}</h2>
                <ul class="bullets">{words::SHOWS.map(|line| view! { <li>{line}</li> })}</ul>
            </section>
        </Show>
        <Show when=move || !on_server.get()><Outcome/><KeptModels/></Show>
    }
}

/// Why something failed, in one line; `testid` says what.
fn notice(testid: &'static str, error: ErrorObject) -> impl IntoView {
    let code = error.code.clone();
    let next = text::problem::known_next(&code);
    view! {
        <div class="notice" role="alert" data-testid=testid data-code=code>
            <div>
                <b title=error.code.clone()>{text::outcome::heading(&error.code)}</b>
                {error.path.map(|path| view! { " " {text::problem::AT} " " <code>{path}</code> })}
                <div>{text::outcome::told(&error.message)}</div>
                {next.map(|words| view! { <div class="dim">{words}</div> })}
            </div>
        </div>
    }
}

/// The verdict on a run, before anything else of it: on which model, where, and why.
fn outcome(model: String, report: &Report) -> impl IntoView + use<> {
    let (tone, word) = match report.verdict {
        Verdict::Pass => ("ok", words::PASS),
        Verdict::Fail => ("bad", words::FAIL),
        Verdict::Unverified => ("warn", words::UNVERIFIED),
    };
    view! {
        <div class=format!("verdict {tone}") data-testid="validate-verdict" data-value=text::verdict_code(report.verdict)>
            <div class="big">{text::capitalised(word)}</div>
            <div>
                <div><b>{model}</b> " " {format!("{}, {}", report.device, report.dtype)}</div>
                <div class="dim">{text::capitalised(&report.reason)} "."</div>
            </div>
        </div>
    }
}

/// What stands in the place of a verdict where there is none: why no run came to its end.
fn failed_outcome(model: String, name: Option<&'static str>, error: ErrorObject) -> impl IntoView {
    let code = error.code.clone();
    let code_title = name.unwrap_or(&error.code).to_owned();
    let next = text::problem::known_next(&code);
    // A server that was lost says nothing of the model.
    let (tone, word) = match error.code.as_str() {
        "lost" | "server_absent" => ("warn", words::LOST),
        _ => ("bad", words::FAIL),
    };
    view! {
        <div class=format!("verdict {tone}") role="alert" data-testid="validate-error" data-code=code>
            <div class="big">{text::capitalised(word)}</div>
            <div>
                <div><b>{model}</b> " " <b title=code_title>{text::outcome::heading(name.unwrap_or(&error.code))}</b></div>
                <div class="dim">{text::capitalised(&text::outcome::told(&error.message))}</div>
                {next.map(|words| view! { <div class="dim">{words}</div> })}
            </div>
        </div>
    }
}
