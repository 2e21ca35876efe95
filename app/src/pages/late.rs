//! The second program: every page that is not needed for the first answer, and what opens over a page.

pub mod attempts;
pub mod devices;
pub mod inspect;
pub mod ladder;
pub mod models;
pub mod plan;
pub mod playground;
pub mod settings;
pub mod validate;

use leptos::prelude::*;
use phi3::load_config::LoadConfig;

use crate::components::settings::Locked;
use crate::components::{HandOff, Keys, NoServer, Notice, PageHead, Palette, Toast};
use crate::platform::page;
use crate::state::{
    Access, Ask, Notes, Page, Playground, Presence, Reader, ServerWatch, Store, Told, Validation, copies,
    spread,
};
use crate::text;

/// The second program's part of the page.
#[component]
pub fn Late() -> impl IntoView {
    let store = Store::new();
    provide_context(store);
    let watch = ServerWatch::follow();
    provide_context(watch);
    copies::listen(store, watch);
    let access = Access::follow(watch);
    provide_context(access);
    provide_context(Told::new());
    provide_context(Notes::new(store, watch));
    let validation = Validation::new(store, watch);
    provide_context(validation);
    let playground = Playground::new(store);
    provide_context(playground);
    let escape = window_event_listener(leptos::ev::keydown, move |ev| {
        if ev.key() == "Escape" && !page::is_covered() {
            if untrack(|| validation.is_live()) {
                validation.cancel();
            }
            playground.stop();
        }
    });
    // Asked for before it is known whether a server is there: the answer decides.
    let asked = RwSignal::new(false);
    let validate = window_event_listener_untyped(Ask::Validate.event(), move |_| asked.set(true));
    Effect::new(move |_| {
        if validation.place.get().is_some() && asked.get() {
            asked.set(false);
            // What was refused is not what runs: a person sees first what does.
            if validation.browser.refused.with_untracked(Option::is_none) {
                validation.begin();
            }
        }
    });
    on_cleanup(move || {
        escape.remove();
        validate.remove();
    });
    let spread = window_event_listener_untyped(Ask::Spread.event(), move |_| spread::plan(store));
    on_cleanup(move || spread.remove());
    let reader = Reader::new(store, validation);
    let read = window_event_listener_untyped(Ask::Read.event(), move |_| reader.read());
    on_cleanup(move || read.remove());
    // What was given while this program was on its way.
    reader.read();
    // The page that plans a load config tells of it itself; the first program does not know what one may hold.
    let odd = Memo::new(move |_| store.rest.with(|rest| LoadConfig::from_map_all(&rest.load_config).err()));
    Effect::new(move |_| {
        let told = odd.get().filter(|_| store.page.get_untracked() != Page::Plan);
        if let Some(errors) = told {
            reader.tell(text::problem::load_config(&errors));
        }
    });
    // What was refused before the server let the page in is asked for anew.
    Effect::new(move |before: Option<bool>| {
        let locked = access.is_locked.get();
        if before == Some(true) && !locked {
            validation.look();
        }
        locked
    });
    // A server that is lost for a moment leaves the page as it is.
    let asleep = Memo::new(move |_| matches!(watch.presence.get(), Presence::Checking | Presence::Absent));
    let body = move || match store.page.get() {
        Page::Estimate => view! { <Show when=move || reader.has_refused()><Notice/></Show> }.into_any(),
        Page::Inspect => view! { <inspect::Inspect/> }.into_any(),
        Page::Plan => view! { <plan::Plan/> }.into_any(),
        Page::Validate => view! { <validate::Validate/> }.into_any(),
        Page::Settings => view! { <settings::Settings/> }.into_any(),
        Page::Devices if !access.is_locked.get() => view! { <devices::Devices/> }.into_any(),
        page if asleep.get() => view! { <NoServer page/> }.into_any(),
        page if access.is_locked.get() => view! { <PageHead page/> <Notice/> <Locked/> }.into_any(),
        Page::Devices => view! { <devices::Devices/> }.into_any(),
        Page::Models => view! { <models::Models/> }.into_any(),
        Page::Attempts => view! { <attempts::Attempts/> }.into_any(),
        Page::Ladder => view! { <ladder::Ladder/> }.into_any(),
        Page::Playground => view! { <playground::Playground/> }.into_any(),
    };
    view! {
        {body}
        <HandOff/>
        <Palette/>
        <Keys/>
        <Toast/>
    }
}
