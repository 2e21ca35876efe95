//! How far a load is.

use leptos::prelude::*;
use phi3::engine::Loading;

use crate::format::Unit;
use crate::text;

/// In bytes, with the rate: `4.49 of 7.12 GiB · 0.81 GiB/s`.
pub(super) fn bytes_words(loading: Loading) -> String {
    let (done, total) = (loading.progress.done_bytes, loading.progress.total_bytes);
    let unit = Unit::of(total);
    let rate = loading
        .bytes_per_s
        .map_or_else(String::new, |rate| format!(" · {:.2} {}/s", rate / unit.bytes(), unit.name()));
    format!("{}{rate}", text::of_bytes(done, total))
}

/// The same with its stage, below a bar.
pub(super) fn bar(loading: Loading) -> impl IntoView {
    view! {
        <div class="bar" aria-hidden="true"><i style=format!("width:{:.1}%", loading.share() * 100.0)></i></div>
        <div class="faint num left" data-testid="load-progress">{text::load_stage(loading.progress.stage)} ": " {bytes_words(loading)}</div>
    }
}
