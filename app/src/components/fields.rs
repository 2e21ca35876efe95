//! Every key of the config: its value, what it means, what it implies, what our engines make of it.

use leptos::prelude::*;
use phi3::inspect::{Field, Status};

use super::bits::{Search, badge, copyable, sought};
use crate::state::Store;
use crate::text::{self, fields as words};

fn status(status: Status) -> impl IntoView {
    let tone = match status {
        Status::Honoured => "ok",
        Status::NoEffect => "",
        Status::EstimateOnly => "acc",
        Status::Unsupported => "bad",
        Status::UnknownKey => "warn",
    };
    badge(tone, status.words())
}

/// What one can do about it.
fn lever(words: &str) -> Option<impl IntoView + use<>> {
    (!words.is_empty()).then(|| view! { <span class="sub">{text::capitalised(words)}</span> })
}

/// A name that may be broken behind its underscores, and nowhere else.
fn breakable(name: &str) -> impl IntoView + use<> {
    let part = |part: &str| view! { {part.to_owned()} <wbr/> };
    name.split_inclusive('_').map(part).collect_view()
}

/// Whether a field has what is looked for, anywhere in it.
fn has(field: &Field, needle: &str) -> bool {
    let value = field.value.to_string();
    [&field.key, &value, &field.meaning, &field.implication, &field.lever, &field.status.words().to_owned()]
        .into_iter()
        .any(|text| text.to_ascii_lowercase().contains(needle))
}

/// The table, with a filter.
#[component]
pub fn FieldTable(
    /// The fields, in the file's order.
    #[prop(into)]
    fields: Signal<Vec<Field>>,
) -> impl IntoView {
    let store = Store::here();
    let row = |field: &Field| {
        view! {
            <tr>
                <th scope="row">{breakable(&field.key)}</th>
                <td class="mono">{copyable(text::json(&field.value), field.value.to_string())}</td>
                <td>{field.meaning.clone()}</td>
                <td>{field.implication.clone()} {lever(&field.lever)}</td>
                <td>{status(field.status)}</td>
            </tr>
        }
    };
    let found = Memo::new(move |_| {
        let needle = sought(store);
        fields.with(|all| all.iter().filter(|f| has(f, &needle)).cloned().collect::<Vec<_>>())
    });
    let count = move || text::of(found.with(Vec::len), fields.with(Vec::len));
    view! {
        <section class="card c12" id="fields" tabindex="-1" data-testid="fields">
            <div class="card-head">
                <h2>{words::HEADING} " " <span class="faint">{count}</span></h2>
                <Search label=words::FILTER testid="fields-filter"/>
            </div>
            <table class="fields">
                <thead>
                    <tr>
                        <th>{words::KEY}</th><th>{words::VALUE}</th><th>{words::MEANING}</th>
                        <th>{words::IMPLICATION}</th><th>{words::STATUS}</th>
                    </tr>
                </thead>
                <tbody>{move || found.with(|f| f.iter().map(row).collect_view())}</tbody>
            </table>
            <Show when=move || found.with(Vec::is_empty)><p class="dim">{words::NOTHING}</p></Show>
        </section>
    }
}
