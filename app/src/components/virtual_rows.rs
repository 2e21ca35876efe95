//! A long list of which only what is to be seen is in the document.
//!
//! Rows are made once and used again: while somebody scrolls, a row that leaves at one end shows what comes in at the
//! other, so that no element is made or thrown away. What a row shows is written at once, by one effect, and what is pressed
//! in any of them is heard by the list: effects and listeners of single cells cost more than what they write.

use leptos::prelude::*;

use crate::platform::page;

/// Rows drawn above and below what is to be seen, so that a turn of the wheel shows no gap: each costs as much as one that is seen.
const SPARE: usize = 3;

/// First row and number of rows to draw. The number changes only with the height and where there are few rows.
fn window(scroll_top: f64, height: f64, row_height: f64, count: usize) -> (usize, usize) {
    let seen = (height / row_height).ceil() as usize + 2 * SPARE + 1;
    let many = seen.min(count);
    let first = ((scroll_top / row_height) as usize).saturating_sub(SPARE).min(count - many);
    (first, many)
}

/// The row that an element shows: of `many` elements each keeps its row as long as that is among those drawn.
fn place(element: usize, first: usize, many: usize) -> usize {
    let many = many.max(1);
    first + (element + many - first % many) % many
}

/// The list. Rows have one height, and the parent decides how high the list is.
#[component]
pub fn VirtualRows(
    /// How many rows there are.
    #[prop(into)]
    count: Signal<usize>,
    /// Height of a row in CSS pixels; the style sheet has the same.
    #[prop(into)]
    row_height: Signal<f64>,
    /// Draws what stands in a place, always the same elements: only what differs is written.
    draw: impl Fn(usize) -> AnyView + Send + Sync + 'static,
    /// Something was pressed in the row of a place.
    press: impl Fn(usize, &leptos::ev::Event) + 'static,
) -> impl IntoView {
    let at = RwSignal::new((0.0, 900.0));
    let shown = Memo::new(move |_| {
        let (top, height) = at.get();
        window(top, height, row_height.get(), count.get())
    });
    let scrolled = move |ev: leptos::ev::Event| {
        if let Some(element) = page::target_of(&ev) {
            at.set((f64::from(element.scroll_top()), f64::from(element.client_height())));
        }
    };
    let pressed = move |ev: leptos::ev::MouseEvent| {
        // Rows count from one, and the head is the first.
        if let Some(place) = page::row_of(&ev).and_then(|index| index.checked_sub(2)) {
            press(place, &ev);
        }
    };
    let draw = StoredValue::new(draw);
    let many = Memo::new(move |_| shown.get().1);
    let row = move |element: usize| {
        let place = Memo::new(move |_| {
            let (first, many) = shown.get();
            place(element, first, many)
        });
        move || {
            let place = place.get();
            let style = format!("transform:translateY({}px)", place as f64 * row_height.get());
            view! { <div class="vrow" role="row" aria-rowindex=(place + 2).to_string() style=style>{draw.with_value(|draw| draw(place))}</div> }
        }
    };
    view! {
        <div class="vlist" role="rowgroup" tabindex="0" on:scroll=scrolled on:click=pressed data-testid="rows">
            <div style=move || format!("height:{}px;position:relative", count.get() as f64 * row_height.get())>
                <For each=move || 0..many.get() key=|element| *element children=row/>
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
        assert_eq!(window(9e9, 600.0, 36.0, 5), (0, 5));
    }

    /// Every row that is to be drawn has its one element, and one step down moves one element.
    #[wasm_bindgen_test(unsupported = test)]
    fn elements_are_used_again() {
        let many = 28;
        let places = |first: usize| (0..many).map(|element| place(element, first, many)).collect::<Vec<_>>();
        for first in [0, 1, 27, 28, 29, 9_972] {
            let mut sorted = places(first);
            sorted.sort_unstable();
            assert_eq!(sorted, (first..first + many).collect::<Vec<_>>());
            let moved = places(first).iter().zip(places(first + 1)).filter(|(a, b)| **a != *b).count();
            assert_eq!(moved, 1, "{first}");
        }
    }
}
