//! One question and its answer, with what it took.

use leptos::prelude::*;

use crate::format::{duration, rate};
use crate::state::answer::{End, Exchange};
use crate::state::{Playground, Store};
use crate::text::playground as words;

/// Time to first token, rate, tokens, end: in one line below an answer.
fn facts(exchange: &Exchange) -> Vec<String> {
    let (tokens, is_exact) = exchange.tokens();
    let about = |told: String| if is_exact { told } else { format!("≈ {told}") };
    let ttft = exchange.ttft_ms().map(|ms| format!("{} {}", words::TTFT, duration(ms)));
    let decode = exchange.tokens_per_s().map(|r| about(rate(r)));
    let tokens = (tokens > 0).then(|| words::tokens(tokens, is_exact));
    let prompt = exchange
        .usage
        .map(|usage| format!("{} {}", words::PROMPT, crate::text::plural(usage.prompt_tokens, "token")));
    let end = exchange.end.map(|end| words::end(end).to_owned());
    [ttft, decode, tokens, prompt, end].into_iter().flatten().collect()
}

fn facts_view(exchange: &Exchange) -> impl IntoView + use<> {
    let (tokens, _) = exchange.tokens();
    let end = exchange.end.map_or("", words::end);
    view! {
        <p
            class="faint facts-line num"
            data-testid="answer-facts"
            data-end=end
            data-tokens=tokens.to_string()
            data-ttft=exchange.ttft_ms().map(|ms| ms.to_string())
            data-rate=exchange.tokens_per_s().map(|r| r.to_string())
        >
            {facts(exchange).join(" · ")}
        </p>
    }
}

fn question(text: String) -> impl IntoView {
    view! { <div class="talk user"><h3 class="sr">{words::YOU}</h3><div class="prose-text">{text}</div></div> }
}

/// An exchange that came to its end.
pub(super) fn done(exchange: Exchange) -> impl IntoView {
    let store = Store::here();
    let facts = facts_view(&exchange);
    let Exchange { question: asked, text, error, end, .. } = exchange;
    let copied = text.clone();
    let copy = (!text.is_empty()).then(|| view! {
        <button type="button" class="quiet" on:click=move |_| store.copy(copied.clone(), words::WHAT_ANSWER)>{words::COPY}</button>
    });
    let failed = error.map(|error| {
        view! {
            <div class="notice" role="alert" data-testid="answer-error">
                <div>
                    <b>{words::end(End::Broken)}</b> " " {error.message}
                    {error.path.map(|path| view! { " " <code>{path}</code> })}
                    <div class="dim">{words::next(&error.code)}</div>
                </div>
            </div>
        }
    });
    let is_cut = matches!(end, Some(End::Here | End::There | End::Broken));
    view! {
        {question(asked)}
        <div class="talk model" data-testid="answer" class:cut=is_cut>
            <h3 class="sr">{words::ANSWER}</h3>
            <div class="prose-text">{text}</div>
            {failed}
            <div class="row">{facts} {copy}</div>
        </div>
    }
}

/// The exchange that goes on.
pub(super) fn live(playground: Playground) -> impl IntoView {
    let read = move |read: fn(&Exchange) -> String| {
        Memo::new(move |_| playground.now.with(|now| now.as_ref().map(read).unwrap_or_default()))
    };
    let asked = read(|exchange| exchange.question.clone());
    let text = read(|exchange| exchange.text.clone());
    let facts = read(|exchange| match facts(exchange) {
        facts if facts.is_empty() => words::WAITING.to_owned(),
        facts => facts.join(" · "),
    });
    view! {
        {move || question(asked.get())}
        <div class="talk model" data-testid="answer-live">
            <h3 class="sr">{words::ANSWER}</h3>
            <div class="prose-text">{text}<span class="caret" aria-hidden="true"></span></div>
            <p class="faint facts-line num" aria-hidden="true">{facts}</p>
        </div>
    }
}
