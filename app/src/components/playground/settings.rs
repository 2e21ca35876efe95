//! Which model answers, and how it chooses its words.

use leptos::prelude::*;

use crate::components::Choice;
use crate::state::Playground;
use crate::state::sampling::Field;
use crate::text::{self, playground as words};

/// The card beside a conversation.
#[component]
pub fn Settings() -> impl IntoView {
    let playground = Playground::here();
    let options = Signal::derive(move || {
        let all = playground.answering.get().unwrap_or_default();
        all.into_iter().map(|model| (model.id.clone(), playground.told.name(&model.id))).collect::<Vec<_>>()
    });
    let model = Memo::new(move |_| playground.model());
    let value = Signal::derive(move || model.get().map(|m| m.id).unwrap_or_default());
    let fact =
        |name: &'static str, value: Signal<String>| view! { <div><dt>{name}</dt><dd>{value}</dd></div> };
    let told = move |read: fn(crate::api::chat::Answering) -> String| {
        Signal::derive(move || model.get().map_or_else(|| words::NOT_TOLD.to_owned(), read))
    };
    view! {
        <section class="card c4 settings" aria-labelledby="chat-settings">
            <h2 id="chat-settings">{words::SETTINGS}</h2>
            <Choice label=words::MODEL testid="chat-model" width="" options value on_choose=move |id| playground.choose(id)/>
            <dl class="facts">
                {fact(words::DEVICE, told(|m| format!("{}, {}", m.device, m.dtype)))}
                {fact(words::CONTEXT, told(|m| text::plural(m.max_model_len, "token")))}
            </dl>
            <div class="pair">{Field::ALL.into_iter().map(|field| input(playground, field)).collect_view()}</div>
            <div class="ctl">
                <label for="chat-system">{words::SYSTEM}</label>
                <textarea
                    id="chat-system"
                    rows="3"
                    placeholder=words::SYSTEM_HINT
                    prop:value=move || playground.typed.with(|typed| typed.system.clone())
                    on:input=move |ev| { let text = event_target_value(&ev); playground.typed.update(|typed| typed.system = text); }
                ></textarea>
            </div>
        </section>
    }
}

fn input(playground: Playground, field: Field) -> impl IntoView {
    let id = format!("chat-{}", words::label(field).to_lowercase().replace(' ', "-"));
    let why = format!("{id}-why");
    let problem = Memo::new(move |_| playground.typed.with(|typed| typed.problem(field)));
    view! {
        <div class="ctl">
            <label for=id.clone()>{words::label(field)}</label>
            <input
                id=id
                type="text"
                class="num"
                inputmode="decimal"
                autocomplete="off"
                placeholder=words::default(field)
                data-testid=format!("setting-{field:?}")
                aria-describedby=why.clone()
                aria-invalid=move || problem.get().is_some().to_string()
                prop:value=move || playground.typed.with(|typed| typed.of(field).to_owned())
                on:input=move |ev| { let text = event_target_value(&ev); playground.typed.update(|typed| typed.set(field, text)); }
            />
            <span class="problem" id=why aria-live="polite">{problem}</span>
        </div>
    }
}
