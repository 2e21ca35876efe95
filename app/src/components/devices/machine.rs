//! The machine that a server runs on.

use leptos::prelude::*;
use phi3::api::Environment;
use phi3::units::format_bytes;

use crate::components::bits::copies;
use crate::text::devices as words;

/// System, processor, driver, and what else matters.
#[component]
pub fn Machine(
    /// As the server tells it.
    environment: Environment,
) -> impl IntoView {
    let row = |name: &'static str, value: String| {
        let value = if value.is_empty() { words::UNKNOWN.to_owned() } else { value };
        view! { <tr><th scope="row">{name}</th><td>{copies(value)}</td></tr> }
    };
    let Environment { build, os, kernel, cpu, cores, memory_bytes, driver, notes, .. } = environment;
    view! {
        <section class="card c6" data-testid="machine">
            <h2>{words::MACHINE}</h2>
            <table class="about">
                <tbody>
                    {row(words::BUILD, build)}
                    {row(words::SYSTEM, os)}
                    {row(words::KERNEL, kernel)}
                    {row(words::PROCESSOR, cpu)}
                    {row(words::CORES, cores.to_string())}
                    {row(words::MEMORY, format_bytes(memory_bytes))}
                    {row(words::GPU_DRIVER, driver.unwrap_or_else(|| words::NONE.to_owned()))}
                </tbody>
            </table>
            <ul class="plain prose">{notes.into_iter().map(|note| view! { <li>{crate::text::capitalised(&note)} "."</li> }).collect_view()}</ul>
        </section>
    }
}
