//! The settings of the server behind these pages.

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::api::{Setting, Settings};

use crate::api::{self, ApiError};
use crate::components::bits::copies;
use crate::state::{Access, Presence, ServerWatch};
use crate::text::settings as words;

/// The card.
#[component]
pub fn OfServer() -> impl IntoView {
    let (watch, access) = (ServerWatch::here(), Access::here());
    let told = RwSignal::new(None::<Result<Settings, ApiError>>);
    // Asked anew when a server comes, and when it has let this page in.
    Effect::new(move |_| {
        let is_there = watch.presence.get() == Presence::Present;
        if is_there && !access.is_locked.get() {
            spawn_local(async move {
                let settings = api::settings().await;
                let _ = told.try_set(Some(settings));
            });
        } else {
            told.set(None);
        }
    });
    view! {
        <section class="card c12 stacked" data-testid="server-settings">
            <h2>{words::SERVER}</h2>
            <p class="dim">{words::SERVER_WHY}</p>
            {move || match told.get() {
                None => view! { <p class="dim" data-testid="no-settings">{words::SERVER_NONE}</p> }.into_any(),
                Some(Err(error)) => view! { <p class="problem" role="alert">{error.to_string()}</p> }.into_any(),
                Some(Ok(settings)) => view! { <Table settings/> }.into_any(),
            }}
        </section>
    }
}

#[component]
fn Table(settings: Settings) -> impl IntoView {
    let Settings { file, settings } = settings;
    let row = |setting: Setting| {
        let value = setting.told();
        view! {
            <tr data-setting=setting.key.clone()>
                <th scope="row"><code>{setting.key.clone()}</code></th>
                <td>{copies(value)}</td>
                <td class="dim">{words::origin(setting.origin)}</td>
            </tr>
        }
    };
    view! {
        <table class="about rows pairs">
            <thead><tr><th scope="col">{words::SETTING}</th><th scope="col">{words::VALUE}</th><th scope="col">{words::ORIGIN}</th></tr></thead>
            <tbody>{settings.into_iter().map(row).collect_view()}</tbody>
        </table>
        <p class="dim below-table">{words::file(file.as_deref())}</p>
    }
}
