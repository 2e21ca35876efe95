//! Whether the numbers of a run are numbers: what each layer put out, and the likeliest tokens.

use leptos::prelude::*;
use phi3::validate::{LayerCheck, Report, TopLogit};

use crate::text::numbers as words;

/// What of a report says so; nothing of one that an older build made.
pub(super) fn numbers(report: &Report) -> impl IntoView + use<> {
    let map = (!report.layers.is_empty()).then(|| map(&report.layers));
    let top = (!report.top_logits.is_empty()).then(|| top(&report.top_logits));
    (map.is_some() || top.is_some()).then(|| view! { <div class="halves"><div>{map}</div> {top}</div> })
}

/// The place of a layer in words; the logits come last.
fn place(at: usize, layers: &[LayerCheck]) -> String {
    if at + 1 == layers.len() { words::LOGITS.to_owned() } else { words::layer(at) }
}

/// What the map says as a whole.
fn summary(layers: &[LayerCheck]) -> String {
    match layers.iter().position(|layer| layer.nan + layer.inf > 0) {
        None => words::all_finite(layers.len().saturating_sub(1)),
        Some(first) => words::first_bad(&place(first, layers)),
    }
}

/// One field a layer: which of them put out what is no number.
fn map(layers: &[LayerCheck]) -> impl IntoView + use<> {
    let field = |(at, layer): (usize, &LayerCheck)| {
        let says = words::check(&place(at, layers), layer.nan, layer.inf);
        let class = match (layer.nan, layer.inf) {
            (0, 0) => "",
            (0, _) => "inf",
            _ => "nan",
        };
        let label = if at + 1 == layers.len() { words::LOGITS_SHORT.to_owned() } else { at.to_string() };
        view! { <li class=class title=says.clone()><span aria-hidden="true">{label}</span><span class="sr">{says.clone()}</span></li> }
    };
    view! {
        <h3>{words::MAP}</h3>
        <p class="dim" data-testid="nan-summary">{summary(layers)}</p>
        <ol class="nanmap" data-testid="nan-map">{layers.iter().enumerate().map(field).collect_view()}</ol>
    }
}

fn top(tokens: &[TopLogit]) -> impl IntoView + use<> {
    let (most, least) = tokens
        .iter()
        .fold((f32::MIN, f32::MAX), |(most, least), token| (most.max(token.logit), least.min(token.logit)));
    let row = |token: &TopLogit| {
        // The best stands at full width; the others by how far they lie below it, within what is shown.
        let share = if most > least { (token.logit - least) / (most - least) } else { 1.0 };
        let width = format!("width:{:.1}%", 8.0 + share * 92.0);
        let text =
            if token.text.is_empty() { words::NO_TEXT.to_owned() } else { format!("{:?}", token.text) };
        view! {
            <tr>
                <td class="mono">{text}</td>
                <td class="num mono faint">{token.token}</td>
                <td class="wide hide-narrow"><div class="bar" aria-hidden="true"><i style=width></i></div></td>
                <td class="num">{format!("{:.3}", token.logit)}</td>
            </tr>
        }
    };
    view! {
        <div>
            <h3>{words::TOP}</h3>
            <table class="top-logits" data-testid="top-logits">
                <thead><tr><th>{words::TOKEN}</th><th class="num">{words::ID}</th><td class="hide-narrow"></td><th class="num">{words::LOGIT}</th></tr></thead>
                <tbody>{tokens.iter().map(row).collect_view()}</tbody>
            </table>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn the_first_that_is_no_number_is_named() {
        let fine = LayerCheck { nan: 0, inf: 0 };
        let bad = LayerCheck { nan: 3, inf: 1 };
        assert!(summary(&[fine, fine, fine]).contains("2 layers"));
        assert!(summary(&[fine, bad, fine]).contains("layer 1"));
        assert!(summary(&[fine, fine, bad]).contains("logits"));
    }
}
