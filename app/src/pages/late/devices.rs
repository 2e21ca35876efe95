//! Devices: memory as it is now; this browser's limits, with a server or without.

use leptos::prelude::*;

use crate::components::devices::{Browser, DeviceCard, Machine};
use crate::components::{Notice, PageHead};
use crate::state::memory::Memory;
use crate::state::{Page, Presence, ServerWatch};
use crate::text::devices as words;

/// The page.
#[component]
pub fn Devices() -> impl IntoView {
    let watch = ServerWatch::here();
    let is_there = Memo::new(move |_| !matches!(watch.presence.get(), Presence::Checking | Presence::Absent));
    view! {
        <PageHead page=Page::Devices/>
        <Notice/>
        <div class="grid">
            {move || if is_there.get() {
                view! { <OfServer/> }.into_any()
            } else {
                view! { <p class="dim c12" data-testid="no-devices">{words::NO_SERVER}</p> }.into_any()
            }}
            <Browser/>
        </div>
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
    let is_waiting = move || memory.now.with(Option::is_none) && memory.problem.with(Option::is_none);
    view! {
        <Show when=is_waiting><p class="dim c12" role="status">{words::LOOKING}</p></Show>
        {move || memory.problem.get().map(|why| view! { <div class="notice warn c12" role="alert"><div>{why} " " {words::STALE}</div></div> })}
        <For each=move || names.get() key=Clone::clone children=move |device| view! { <DeviceCard memory device/> }/>
        {move || environment.get().map(|environment| view! { <Machine environment/> })}
    }
}
