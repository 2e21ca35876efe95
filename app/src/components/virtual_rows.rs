//! A long list of which only what is to be seen is in the document.

use leptos::prelude::*;

use crate::platform::page;

/// Rows drawn above and below what is to be seen, so that a quick scroll shows no gap.
const SPARE: usize = 5;

/// First row and number of rows to draw.
fn window(scroll_top: f64, height: f64, row_height: f64, count: usize) -> (usize, usize) {
    let first = ((scroll_top / row_height) as usize).saturating_sub(SPARE).min(count);
    let seen = (height / row_height).ceil() as usize + 2 * SPARE + 1;
    (first, seen.min(count - first))
}

/// The list. Rows have one height, and the parent decides how high the list is.
#[component]
pub fn VirtualRows(
    /// How many rows there are.
    #[prop(into)]
    count: Signal<usize>,
    /// Height of a row in CSS pixels.
    row_height: f64,
    /// Draws a row by its place. It is drawn anew when `version` changes.
    draw: impl Fn(usize) -> AnyView + Send + Sync + 'static,
    /// Changes when the same place shows something else.
    #[prop(into)]
    version: Signal<u64>,
) -> impl IntoView {
    let at = RwSignal::new((0.0, 900.0));
    let shown = Memo::new(move |_| {
        let (top, height) = at.get();
        window(top, height, row_height, count.get())
    });
    let scrolled = move |ev: leptos::ev::Event| {
        if let Some(element) = page::target_of(&ev) {
            at.set((f64::from(element.scroll_top()), f64::from(element.client_height())));
        }
    };
    let draw = StoredValue::new(draw);
    let rows = move || {
        let (first, many) = shown.get();
        let version = version.get();
        (first..first + many).map(move |row| (version, row)).collect::<Vec<_>>()
    };
    view! {
        <div class="vlist" role="rowgroup" tabindex="0" on:scroll=scrolled data-testid="rows">
            <div style=move || format!("height:{}px;position:relative", count.get() as f64 * row_height)>
                <For
                    each=rows
                    key=|row| *row
                    children=move |(_, row)| {
                        let top = format!("top:{}px;height:{row_height}px", row as f64 * row_height);
                        view! { <div class="vrow" role="row" aria-rowindex=(row + 2).to_string() style=top>{draw.with_value(|draw| draw(row))}</div> }
                    }
                />
            </div>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn few_rows_are_drawn_and_those_to_be_seen_are_among_them() {
        for top in [0.0, 17.0, 5000.0, 359_000.0] {
            let (first, many) = window(top, 600.0, 36.0, 10_000);
            let (from, to) = ((top / 36.0) as usize, ((top + 600.0) / 36.0) as usize);
            assert!(first <= from && first + many > to.min(9_999), "{top}: {first} {many}");
            assert!(many < 60);
        }
        assert_eq!(window(0.0, 600.0, 36.0, 0), (0, 0));
        assert_eq!(window(9e9, 600.0, 36.0, 5), (5, 0));
    }
}
