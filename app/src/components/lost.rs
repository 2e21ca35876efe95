//! Banners of the frame: the server went away, the second program did not come.

use leptos::prelude::*;

use crate::state::late::Stage;
use crate::state::{Late, Page, Presence, ServerWatch, Store};
use crate::text::{self, pages as words, rail};

/// The banner while a server that was there does not answer; a word when it is back.
#[component]
pub fn Lost() -> impl IntoView {
    let watch = ServerWatch::here();
    let store = Store::here();
    Effect::new(move |before: Option<Presence>| {
        let now = watch.presence.get();
        if before == Some(Presence::Lost) && now == Presence::Present {
            store.say(rail::BACK);
        }
        now
    });
    let lost = Memo::new(move |_| watch.presence.get() == Presence::Lost);
    view! {
        <div role="alert">
            <Show when=move || lost.get()>
                <div class="notice warn lost" data-testid="server-lost">
                    <div><b>{rail::BANNER_LOST}</b> " " {rail::BANNER_LOST_WHY}</div>
                </div>
            </Show>
        </div>
    }
}

/// What stands in place of a page of the second program until that runs.
#[component]
pub fn LateStage() -> impl IntoView {
    let late = expect_context::<Late>();
    move || {
        match late.stage.get() {
        Stage::Ready => ().into_any(),
        Stage::Idle | Stage::Loading => view! {
            <div role="status" class="sr">{words::LOADING}</div>
            <div aria-hidden="true">
                <div class="ghost ghost-title"></div>
                <div class="ghost ghost-plot"></div>
            </div>
        }
        .into_any(),
        Stage::Failed => view! {
            <div class="notice" role="alert" data-testid="late-failed">
                <div>
                    <b>{words::NOT_LOADED}</b>
                    <div>{words::NOT_LOADED_WHY}</div>
                    <div class="dim">{words::NOT_LOADED_NEXT}</div>
                </div>
                <button type="button" class="btn small" on:click=move |_| late.want()>{words::TRY_AGAIN}</button>
            </div>
        }
        .into_any(),
    }
    }
}

/// The head of a page that is about no one model.
#[component]
pub fn PageHead(
    /// The page.
    page: Page,
) -> impl IntoView {
    let store = Store::here();
    view! {
        <header>
            <div class="who"><h1>{words::name(page)}</h1> <div class="dim">{words::about(page)}</div></div>
            <div class="row"><button type="button" class="btn" data-testid="share" on:click=move |_| store.share()>{text::share::SHARE}</button></div>
        </header>
    }
}

/// What a page says that needs a server where none is.
#[component]
pub fn NoServer(
    /// The page.
    page: Page,
) -> impl IntoView {
    view! {
        <PageHead page/>
        <section class="card empty" data-testid="no-server"><h2>{words::NEEDS_SERVER}</h2> <p>{start_a_server()}</p></section>
    }
}

/// What stands in place of what a server that does not answer has not told yet: no number is better than a wrong one.
#[component]
pub fn NotTold(
    /// Whether it has.
    is_told: Signal<bool>,
) -> impl IntoView {
    let watch = ServerWatch::here();
    let is_lost = move || watch.presence.get() == Presence::Lost && !is_told.get();
    view! { <Show when=is_lost><p class="dim c12" role="status" data-testid="not-told">{words::NOT_TOLD}</p></Show> }
}

/// How to start a server.
pub(super) fn start_a_server() -> impl IntoView {
    let store = Store::here();
    let command = |command: &'static str| {
        let copy = move |_| store.copy(command.to_owned(), command);
        view! { <button type="button" class="value mono" title=text::validate::COPY_COMMAND on:click=copy>{command}</button> }
    };
    view! {
        {words::START_WITH} " " {command("preflight serve")} " " {words::OR_IN_CLONE} " " {command("./dev serve")}
        {words::AND_OPEN} " " <code>"http://127.0.0.1:8080"</code> "."
    }
}
