//! What was said, and what is said next.

use leptos::ev::{KeyboardEvent, SubmitEvent};
use leptos::prelude::*;

use super::exchange::{done, live};
use crate::platform::page;
use crate::state::Playground;
use crate::text::playground as words;

/// Id of the list of exchanges, which follows its end.
const LIST: &str = "conversation";

/// Id of the field to write in.
pub const ASK: &str = "ask";

/// The card.
#[component]
pub fn Conversation() -> impl IntoView {
    let playground = Playground::here();
    let live_now = Memo::new(move |_| playground.is_live());
    let count = Memo::new(move |_| playground.before.with(Vec::len));
    // What comes is followed, unless somebody reads further up.
    Effect::new(move |_| {
        count.track();
        playground.now.track();
        page::follow_end(LIST);
    });
    let rows =
        move || playground.before.with(|before| before.iter().cloned().enumerate().collect::<Vec<_>>());
    let is_empty = move || count.get() == 0 && !live_now.get();
    view! {
        <section class="card c8 chat" aria-labelledby="chat-title">
            <div class="card-head">
                <h2 id="chat-title">{words::CONVERSATION}</h2>
                <div class="row">
                    <button type="button" class="btn small" title=words::TAKE_BACK_WHY disabled=move || count.get() == 0 || live_now.get() on:click=move |_| playground.take_back()>
                        {words::TAKE_BACK}
                    </button>
                    <button type="button" class="btn small" disabled=is_empty on:click=move |_| playground.clear()>{words::CLEAR}</button>
                </div>
            </div>
            <div class="said" id=LIST role="log" tabindex="0" aria-labelledby="chat-title" aria-busy=move || live_now.get().to_string() data-testid="conversation">
                <Show when=is_empty><p class="dim">{words::EMPTY}</p></Show>
                <For each=rows key=|(place, exchange)| (*place, exchange.question.clone(), exchange.text.len()) children=move |(_, exchange)| done(exchange)/>
                <Show when=move || live_now.get()>{live(playground)}</Show>
            </div>
            <Composer/>
        </section>
    }
}

/// The field to write in.
#[component]
fn Composer() -> impl IntoView {
    let playground = Playground::here();
    let live = Memo::new(move |_| playground.is_live());
    let can_send = move || {
        !live.get()
            && playground.answering.with(|all| all.as_ref().is_some_and(|all| !all.is_empty()))
            && playground.draft.with(|draft| !draft.trim().is_empty())
            && playground.typed.with(|typed| typed.sampling().is_some())
    };
    let submit = move |ev: SubmitEvent| {
        ev.prevent_default();
        playground.send();
    };
    let pressed = move |ev: KeyboardEvent| {
        if ev.key() == "Enter" && !ev.shift_key() && !ev.is_composing() {
            ev.prevent_default();
            playground.send();
        }
    };
    view! {
        <form class="composer" on:submit=submit>
            <textarea
                id=ASK
                rows="2"
                aria-label=words::ASK
                placeholder=words::ASK_HINT
                data-testid="ask"
                prop:value=move || playground.draft.get()
                on:input=move |ev| playground.draft.set(event_target_value(&ev))
                on:keydown=pressed
            ></textarea>
            <Show
                when=move || live.get()
                fallback=move || view! { <button type="submit" class="btn primary" data-testid="send" disabled=move || !can_send()>{words::SEND}</button> }
            >
                <button type="button" class="btn" data-testid="stop" on:click=move |_| playground.press_stop()>{words::STOP} <kbd class="faint">"Esc"</kbd></button>
            </Show>
        </form>
    }
}
