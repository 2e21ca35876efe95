//! The same model in every weight format, as bars to compare; choosing one is a click.

use leptos::prelude::*;

use super::bits::{TERM_COLOURS, bytes, fit_badge};
use super::verdict::lacks;
use crate::format::Unit;
use crate::state::Store;
use crate::state::derived::DTypeRow;
use crate::text::memory as words;

/// Bars of all dtypes.
#[component]
pub fn DTypes() -> impl IntoView {
    let store = Store::here();
    let row = move |row: &DTypeRow, most: u64, device: Option<u64>| {
        let dtype = row.dtype;
        let unit = Unit::of(most);
        let share = |bytes: u64| bytes as f64 / most.max(1) as f64 * 100.0;
        let part = |(bytes, colour): (&u64, &str)| {
            view! { <i style=format!("width:{:.2}%;background:{colour}", share(*bytes))></i> }
        };
        let limit = device.filter(|d| *d < most).map(|d| {
            view! { <span class="limit" style=format!("left:{:.2}%", share(d))></span> }
        });
        view! {
            <tr aria-current=row.chosen.to_string()>
                <td>
                    <button type="button" class="link mono" on:click=move |_| store.choose(|o| o.dtype = Some(dtype))>
                        {dtype.name()}
                    </button>
                </td>
                <td class="wide">
                    <div class="stack" aria-hidden="true">
                        {row.terms.iter().zip(TERM_COLOURS).map(part).collect_view()}
                        {limit}
                    </div>
                </td>
                <td class="num">{bytes(row.total(), unit, "")}</td>
                {row.verdict.map(|v| view! { <td>{fit_badge(v, lacks(store, dtype))}</td> })}
            </tr>
        }
    };
    let most =
        Memo::new(move |_| store.rows.with(|rows| rows.iter().map(DTypeRow::total).max().unwrap_or(0)));
    let unit = move || Unit::of(most.get()).name();
    let rows = move || {
        let device = store.memory.get();
        store.rows.with(|rows| rows.iter().map(|r| row(r, most.get(), device)).collect_view())
    };
    view! {
        <section class="card c5 x-dtypes">
            <h2>{words::DTYPES} <span class="faint">{unit}</span></h2>
            <table class="dtypes">
                <thead class="sr"><tr><th>{words::WEIGHTS_IN}</th><td></td><th>{words::NEED}</th></tr></thead>
                <tbody>{rows}</tbody>
            </table>
        </section>
    }
}
