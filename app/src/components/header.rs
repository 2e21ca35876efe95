//! Who the model is, and the answer to take away.

use leptos::prelude::*;

use phi3::inspect::Support;

use super::bits::{Menu, badge};
use crate::format::short_count;
use crate::platform::page;
use crate::state::{Ask, Late, Page, Store};
use crate::text;

/// Name, shape, support; what can be taken away.
#[component]
pub fn Header() -> impl IntoView {
    let store = Store::here();
    let late = use_context::<Late>();
    // The first program has the second fetched; in the second itself an event is enough.
    let ask = move |ask: Ask| match late {
        Some(late) => late.ask(ask),
        None => page::tell(ask.event()),
    };
    let validate = move |_| {
        store.go(Page::Validate);
        ask(Ask::Validate);
    };
    view! {
        <header>
            <div class="who">
                {move || match store.stranger.get() {
                    None => view! { <Known/> }.into_any(),
                    Some(stranger) => view! {
                        <div class="named"><h1>{stranger.title.clone()}</h1></div>
                        <div class="dim">{stranger.model_type.clone()}</div>
                    }
                    .into_any(),
                }}
            </div>
            <div class="row">
                <Show when=move || store.page.get() == Page::Estimate && store.stranger.with(Option::is_none)><Copies/></Show>
                <Show when=move || store.page.get() != Page::Validate>
                    <button type="button" class="btn" data-testid="run" on:click=validate>{text::header::VALIDATE}</button>
                </Show>
                <button type="button" class="btn" data-testid="run-on-server" on:click=move |_| ask(Ask::RunOnServer)>{text::hand_off::RUN}</button>
                <button type="button" class="btn primary" data-testid="share" on:click=move |_| store.share()>
                    {text::share::SHARE}
                </button>
            </div>
        </header>
    }
}

/// What of the answer can be taken along; the second program writes it.
#[component]
fn Copies() -> impl IntoView {
    let late = expect_context::<Late>();
    let button = move |ask: Ask, testid: &'static str, name: &'static str| {
        view! { <button type="button" class="quiet" data-testid=testid on:click=move |_| late.ask(ask)>{name}</button> }
    };
    view! {
        // Who opens the menu is about to choose: what writes it is there by then.
        <div on:click=move |_| late.want()>
            <Menu label=text::header::EXPORT testid="export" class="btn">
                {button(Ask::CopyCommand, "copy-command", text::header::COPY_CLI)}
                {button(Ask::CopyCurl, "copy-curl", text::header::COPY_CURL)}
                {button(Ask::CopyEstimate, "copy-estimate", text::header::COPY_JSON)}
            </Menu>
        </div>
    }
}

#[component]
fn Known() -> impl IntoView {
    let store = Store::here();
    let title = move || store.model.with(|m| m.title.clone());
    let identity = move || store.model.with(|m| text::identity(&m.decoder));
    let params = move || store.report.with(|r| r.params_total);
    let runs = move || store.model.with(|m| m.support == Support::Run);
    view! {
        <div class="named">
            <h1>{title}</h1>
            {move || if runs() { badge("ok", text::header::RUNS) } else { badge("acc", text::header::ESTIMATE_ONLY) }}
        </div>
        <div class="dim">
            {identity} " · "
            <button
                type="button"
                class="value"
                data-testid="params-total"
                data-value=move || params().to_string()
                title=move || text::plural(params(), "parameter")
                on:click=move |_| store.copy(params().to_string(), &text::plural(params(), "parameter"))
            >
                {move || text::header::parameters(&short_count(params()))}
            </button>
        </div>
    }
}
