//! Banners of the frame: the server went away, the second program did not come.

use leptos::prelude::*;

use super::Notice;
use crate::state::late::Stage;
use crate::state::{Late, Page, Presence, ServerWatch, Store};
use crate::text::{self, pages as words, rail};

/// The banner while a server that was there does not answer; a word when it is back. It stands in the rail, where there is
/// room for it, so that nothing of a page moves or is hidden.
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
        <div role="alert" class="alert">
            <Show when=move || lost.get()>
                <div class="notice warn lost" data-testid="server-lost">
                    <b>{rail::BANNER_LOST}</b> " " {rail::BANNER_LOST_WHY}
                </div>
            </Show>
        </div>
    }
}

/// What stands in place of a page of the second program until that runs, and on every page where it failed.
#[component]
pub fn LateStage() -> impl IntoView {
    let (late, store) = (expect_context::<Late>(), Store::here());
    let is_first = Memo::new(move |_| store.page.get().is_first());
    move || {
        match late.stage.get() {
        Stage::Ready => ().into_any(),
        Stage::Idle | Stage::Loading if is_first.get() => ().into_any(),
        Stage::Idle | Stage::Loading => view! {
            <div role="status" class="sr"><h1>{words::LOADING}</h1></div>
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
    let store = Store::here();
    let without = |page: Page| {
        let go = move |_| store.go(page);
        view! {
            <li><button type="button" class="link" data-go=page.name() on:click=go>{words::name(page)}</button> <div class="dim">{words::without_server(page)}</div></li>
        }
    };
    let link = format!("{}#page={}", text::header::LOCAL, page.name());
    view! {
        <PageHead page/>
        <Notice/>
        <div class="grid" data-testid="no-server">
            <section class="card c7 stacked">
                <h2>{words::NEEDS_SERVER}</h2>
                <p class="dim">{words::START_IT}</p>
                <div class="starts">
                    <span>{words::WHERE_INSTALLED}</span> {command("preflight serve --model-root DIR")}
                    <span>{words::WHERE_CLONE}</span> {command("./dev serve")}
                </div>
                <p>{words::THEN_OPEN} " " <a href=link.clone() target="_blank" rel="noopener">{link.clone()}</a> "."</p>
                <h3>{words::WILL_SHOW}</h3>
                <ul class="bullets">{words::will_show(page).iter().map(|line| view! { <li>{*line}</li> }).collect_view()}</ul>
            </section>
            <section class="card c5 stacked">
                <h2>{words::WITHOUT_SERVER}</h2>
                <ul class="plain places-list">{Page::ALL.into_iter().filter(|page| page.is_about_model()).map(without).collect_view()}</ul>
            </section>
        </div>
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

/// A command that a click copies.
fn command(command: &'static str) -> impl IntoView {
    let store = Store::here();
    let copy = move |_| store.copy(command.to_owned(), command);
    view! { <button type="button" class="value mono" title=text::validate::COPY_COMMAND on:click=copy>{command}</button> }
}

/// How to start a server.
pub(crate) fn start_a_server() -> impl IntoView {
    view! {
        {words::START_WITH} " " {command("preflight serve")} " " {words::OR_IN_CLONE} " " {command("./dev serve")}
        {words::AND_OPEN} " " <code>"http://127.0.0.1:8080"</code> "."
    }
}
