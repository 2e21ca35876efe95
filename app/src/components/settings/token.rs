//! The token that a server may ask for.

use leptos::ev::SubmitEvent;
use leptos::prelude::*;

use crate::state::Access;
use crate::text::settings as words;

#[component]
fn Field() -> impl IntoView {
    let access = Access::here();
    let typed = RwSignal::new(String::new());
    let submit = move |ev: SubmitEvent| {
        ev.prevent_default();
        let token = typed.get_untracked().trim().to_owned();
        if !token.is_empty() {
            access.show(token);
            typed.set(String::new());
        }
    };
    let told = move || {
        access.told.get().map(|told| match told {
            Ok(words) => view! { <p class="new">{words}</p> }.into_any(),
            Err(why) => view! { <p class="problem" data-testid="token-problem">{why}</p> }.into_any(),
        })
    };
    view! {
        <form class="row register" on:submit=submit>
            <input
                type="password"
                autocomplete="current-password"
                spellcheck="false"
                aria-label=words::TOKEN_FIELD
                placeholder=words::TOKEN_FIELD
                data-testid="token"
                prop:value=move || typed.get()
                on:input=move |ev| typed.set(event_target_value(&ev))
            />
            <button type="submit" class="btn" data-testid="show-token">{words::SHOW_TOKEN}</button>
        </form>
        <div role="status">{told}</div>
    }
}

/// The card on the page of settings.
#[component]
pub fn Token() -> impl IntoView {
    view! { <section class="card c12 stacked"><h2>{words::TOKEN}</h2> <p class="dim">{words::TOKEN_WHY}</p> <Field/></section> }
}

/// What stands in place of a server's page until the server lets it in.
#[component]
pub fn Locked() -> impl IntoView {
    view! { <section class="card empty stacked" data-testid="locked"><h2>{words::LOCKED}</h2> <p class="dim">{words::LOCKED_WHY}</p> <Field/></section> }
}
