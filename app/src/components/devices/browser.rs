//! What this browser grants a page.

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::units::format_bytes;

use crate::components::bits::copies;
use crate::platform::gpu::{self, Adapter};
use crate::platform::page;
use crate::state::devices::WASM_BYTES;
use crate::text::devices as words;

/// The card.
#[component]
pub fn Browser() -> impl IntoView {
    let adapter = RwSignal::new(None::<Option<Adapter>>);
    spawn_local(async move {
        let found = gpu::adapter().await;
        let _ = adapter.try_set(Some(found));
    });
    let row = |name: &'static str, value: String| view! { <tr><th scope="row">{name}</th><td>{copies(value)}</td></tr> };
    let limits = page::limits();
    let memory = limits.memory_gib.map_or_else(|| words::UNKNOWN.to_owned(), |gib| format!("{gib} GiB"));
    let isolated = if limits.is_isolated { words::ISOLATED_YES } else { words::ISOLATED_NO };
    let webgpu = move || match adapter.get() {
        None => row(words::WEBGPU, words::WEBGPU_ASKING.to_owned()).into_any(),
        Some(None) => row(words::WEBGPU, words::WEBGPU_NONE.to_owned()).into_any(),
        Some(Some(adapter)) => {
            let named = if adapter.name.is_empty() { words::WEBGPU_UNNAMED } else { &adapter.name };
            let software =
                if adapter.is_software { format!(", {}", words::WEBGPU_SOFTWARE) } else { String::new() };
            view! {
                {row(words::WEBGPU, format!("{named}{software}"))}
                {row(words::BUFFER, format_bytes(adapter.max_buffer_bytes))}
                {row(words::BINDING, format_bytes(adapter.max_binding_bytes))}
                {row(words::F16, if adapter.has_f16 { words::YES } else { words::NO }.to_owned())}
            }
            .into_any()
        }
    };
    view! {
        <section class="card c6" data-testid="this-browser">
            <h2>{words::BROWSER}</h2>
            <table class="about">
                <tbody>
                    {row(words::WASM, format_bytes(WASM_BYTES))}
                    <tr title=words::DEVICE_MEMORY_WHY><th scope="row">{words::DEVICE_MEMORY}</th><td>{memory}</td></tr>
                    {row(words::THREADS, limits.threads.map_or_else(|| words::UNKNOWN.to_owned(), |n| n.to_string()))}
                    {row(words::ISOLATED, isolated.to_owned())}
                    {webgpu}
                </tbody>
            </table>
            <p class="dim below-table">{words::BROWSER_WHY}</p>
        </section>
    }
}
