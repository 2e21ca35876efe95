//! Devices: memory as it is now; this browser's limits, with a server or without.

use leptos::prelude::*;

use crate::components::devices::{Browser, DeviceCard, Machine};
use crate::components::{Notice, PageHead, Refusal, start_a_server};
use crate::state::memory::Memory;
use crate::state::{Page, Presence, ServerWatch};
use crate::text::devices as words;

/// The page.
#[component]
pub fn Devices() -> impl IntoView {
    let watch = ServerWatch::here();
    // A server that is lost for a moment leaves the page as it is.
    let is_there = Memo::new(move |_| match watch.presence.get() {
        Presence::Checking => None,
        Presence::Absent => Some(false),
        Presence::Present | Presence::Lost => Some(true),
    });
    let body = move || {
        match is_there.get() {
        None => ghosts().into_any(),
        Some(false) => {
            view! { <p class="dim c12" data-testid="no-devices">{words::NO_SERVER} " " {start_a_server()}</p> <Browser/> }.into_any()
        }
        Some(true) => view! { <OfServer/> }.into_any(),
    }
    };
    view! {
        <PageHead page=Page::Devices/>
        <Notice/>
        <div class="grid">{body}</div>
    }
}

/// What stands where cards will stand, so that nothing jumps when they come.
fn ghosts() -> impl IntoView {
    view! {
        <div role="status" class="sr">{words::LOOKING}</div>
        <div class="c6 ghost ghost-card" aria-hidden="true"></div>
        <div class="c6 ghost ghost-card" aria-hidden="true"></div>
    }
}

#[component]
fn OfServer() -> impl IntoView {
    let memory = Memory::watch();
    let names = Memo::new(move |_| {
        let now = memory.now.get();
        now.into_iter().flat_map(|now| now.devices).map(|device| device.device).collect::<Vec<_>>()
    });
    let environment =
        Memo::new(move |_| memory.now.with(|now| now.as_ref().map(|now| now.environment.clone())));
    let is_waiting =
        Memo::new(move |_| memory.now.with(Option::is_none) && memory.problem.with(Option::is_none));
    view! {
        <div class="bare"><Refusal problem=memory.problem again=move || memory.ask()/></div>
        <Show when=move || !is_waiting.get() fallback=ghosts>
            <For each=move || names.get() key=Clone::clone children=move |device| view! { <DeviceCard memory device/> }/>
            {move || environment.get().map(|environment| view! { <Machine environment/> })}
            <Browser/>
        </Show>
    }
}
