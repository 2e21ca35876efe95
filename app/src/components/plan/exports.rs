//! The load config in the words of what people deploy with.

use leptos::prelude::*;
use phi3::export::{self, Export, Loss, Model, Subject, Target};

use super::form::shown;
use crate::components::bits::{arrows, badge};
use crate::state::{Plan, Store, devices};
use crate::text::{self, plan as words};

/// The menu and the text.
#[component]
pub fn Exports() -> impl IntoView {
    let (plan, store) = (Plan::here(), Store::here());
    let target = Memo::new(move |_| {
        store
            .sift
            .with(|name| Target::ALL.into_iter().find(|target| target.name() == name))
            .unwrap_or(Target::FromPretrained)
    });
    let written = Memo::new(move |_| {
        let load_config = plan.config.get().ok()?;
        let model = plan.hub_name().map_or_else(|| Model::Unplaced(store.title()), Model::Hub);
        let config = plan.model_config();
        let nominal =
            |name: String| phi3::devices::find(&name).ok().map(phi3::devices::Device::nominal_bytes);
        let device = store.device.get().filter(|name| name != devices::BROWSER);
        let subject = Subject {
            model: &model,
            config: config.as_ref(),
            load_config: &load_config,
            context: store.options.with(|o| o.context),
            kv_dtype: store.options.with(|o| o.kv_dtype),
            device_memory: device.and_then(nominal).or(store.memory.get()),
        };
        Some(export::export(&subject, target.get()))
    });
    let tab = move |of: Target| {
        let chosen = move || target.get() == of;
        view! {
            <button type="button" role="tab" class="tab" aria-selected=move || chosen().to_string() data-target=of.name() on:click=move |_| store.sift.set(of.name().to_owned())>
                {text::plan::target(of)}
            </button>
        }
    };
    let missing = |export: &Export| {
        let row = |lost: &export::Unexpressed| {
            let mark = match lost.loss {
                Loss::Dropped => badge("warn", words::DROPPED),
                Loss::Approximated => badge("acc", words::APPROXIMATED),
            };
            view! { <li>{mark} " " <code>{lost.path.clone()}</code> " " <span class="mono">{shown(&lost.value)}</span> " " <span class="dim">{lost.reason.clone()}</span></li> }
        };
        export.unexpressed.iter().map(row).collect_view()
    };
    let copy = move |_| {
        if let Some(export) = written.get_untracked() {
            store.copy(export.text, text::plan::target(export.target));
        }
    };
    let body = move || written.with(|w| w.as_ref().map(|e| (e.text.clone(), missing(e))));
    view! {
        <section class="card c12" aria-labelledby="plan-export" data-testid="plan-export">
            <div class="card-head">
                <h2 id="plan-export">{words::EXPORT}</h2>
                <button type="button" class="btn small" on:click=copy>{words::COPY}</button>
            </div>
            <div class="tabs" role="tablist" aria-label=words::EXPORT on:keydown=arrows>{Target::ALL.into_iter().map(tab).collect_view()}</div>
            {move || match body() {
                None => view! { <p class="dim">{words::NOT_SIZED}</p> }.into_any(),
                Some((text, missing)) => view! {
                    <pre class="log" data-testid="export-text" tabindex="0">{text}</pre>
                    <ul class="plain losses">{missing}</ul>
                }
                .into_any(),
            }}
        </section>
    }
}
