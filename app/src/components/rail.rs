//! The left rail: which model, which page, whether a server is there.

use leptos::prelude::*;

use super::lost::Lost;
use super::source::Source;
use crate::platform::page;
use crate::state::{Ask, Late, Live, Page, Presence, ServerWatch, Store};
use crate::text::{self, pages as words};

/// The rail.
#[component]
pub fn Rail() -> impl IntoView {
    view! {
        <aside class="rail">
            <div class="brand"><i></i>{text::BRAND}</div>
            <Source/>
            <Pages/>
            <Lost/>
            <Foot/>
        </aside>
    }
}

/// The key that leads to a page: its place in the list, and 0 for the tenth.
fn key(place: usize) -> String {
    ((place + 1) % 10).to_string()
}

#[component]
fn Pages() -> impl IntoView {
    let store = Store::here();
    let watch = ServerWatch::here();
    let link = move |(place, page): (usize, Page)| {
        let go = move |ev: leptos::ev::MouseEvent| {
            if !(ev.ctrl_key() || ev.meta_key() || ev.shift_key()) {
                ev.prevent_default();
                store.go(page);
            }
        };
        let current = move || (store.page.get() == page).then_some("page");
        let asleep = move || page.needs_server() && !watch.is_present();
        view! {
            <a
                href=format!("#page={}", page.name())
                aria-current=current
                class:asleep=asleep
                title=move || asleep().then_some(words::NEEDS_SERVER)
                data-testid=format!("nav-{}", page.name())
                on:click=go
            >
                {words::name(page)} <kbd aria-hidden="true">{key(place)}</kbd>
            </a>
        }
    };
    // On a narrow screen the list scrolls sideways.
    Effect::new(move |_| {
        store.page.track();
        request_animation_frame(page::show_current_page);
    });
    let resized = window_event_listener_untyped("resize", move |_| page::show_current_page());
    on_cleanup(move || resized.remove());
    let (about_model, others): (Vec<_>, Vec<_>) =
        Page::ALL.into_iter().enumerate().partition(|(_, page)| page.is_about_model());
    view! {
        <nav class="pages" aria-label=words::NAVIGATION>
            {about_model.into_iter().map(link).collect_view()}
            <hr/>
            {others.into_iter().map(link).collect_view()}
        </nav>
    }
}

/// Whether a server is there, and how to find more.
#[component]
fn Foot() -> impl IntoView {
    let watch = ServerWatch::here();
    let (late, live) = (expect_context::<Late>(), Live::here());
    let words = move || match watch.presence.get() {
        Presence::Checking => text::rail::SERVER_CHECKING,
        Presence::Absent => text::rail::SERVER_NONE,
        Presence::Present => text::rail::SERVER,
        Presence::Lost => text::rail::SERVER_LOST,
    };
    let class = move || match watch.presence.get() {
        Presence::Present => "dot on",
        Presence::Lost => "dot off",
        _ => "dot",
    };
    // The first is a GPU where there is one.
    let free =
        move || live.places.with(|places| places.first().map(|p| text::rail::free(&p.device, &p.memory())));
    view! {
        <div class="foot">
            <div data-testid="server"><span class=class></span>{words}</div>
            {move || free().map(|words| view! { <div class="num left" data-testid="server-free">{words}</div> })}
            <div>{text::rail::LOCAL}</div>
            <div class="row">
                <button type="button" class="quiet" on:click=move |_| late.ask(Ask::Palette)>
                    {text::rail::FIND} " " <kbd>"Ctrl K"</kbd>
                </button>
                <button type="button" class="quiet" on:click=move |_| late.ask(Ask::Keys)>
                    {text::rail::KEYS} " " <kbd>"?"</kbd>
                </button>
            </div>
        </div>
    }
}
