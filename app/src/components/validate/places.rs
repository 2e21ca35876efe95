//! Where a validation runs, and of what in this browser.

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::api::Kept;
use phi3::api::worker::Validate;
use phi3::dtype::DType;
use phi3::inspect::Support;
use phi3::validate::ProbeSet;

use super::kept::{KeepButton, KeptProgress};
use crate::components::Choice;
use crate::platform::files::{self, HandOver, Picked};
use crate::platform::gpu::{self, Adapter};
use crate::platform::page;
use crate::state::in_browser::{Asked, Count, MAX_NEW_TOKENS, Subject, TINY_PROMPT, USUAL_TOKENS};
use crate::state::{Ask, InBrowser, Place, Server, Store, Validation};
use crate::text::{self, in_browser as words, validate};

/// Formats that both engines of this browser hold weights in.
const FORMATS: [DType; 5] = [DType::F32, DType::Bf16, DType::F16, DType::Q8_0, DType::Q4_0];
const PROBES: [ProbeSet; 4] = [ProbeSet::None, ProbeSet::Window, ProbeSet::Long, ProbeSet::All];

/// The choice of the place.
#[component]
pub fn Places() -> impl IntoView {
    let validation = Validation::here();
    let adapter = RwSignal::new(None::<Option<Adapter>>);
    spawn_local(async move {
        let found = gpu::adapter().await;
        let _ = adapter.try_set(Some(found));
    });
    let gpu = move || match adapter.get() {
        None => words::ASKING_GPU.to_owned(),
        Some(None) => words::NO_GPU.to_owned(),
        Some(Some(adapter)) => {
            let name = if adapter.name.is_empty() { words::UNNAMED_GPU.to_owned() } else { adapter.name };
            if adapter.is_software { format!("{name}, {}", words::SOFTWARE) } else { name }
        }
    };
    let server = move || match validation.server.get() {
        Server::Checking => validate::CHECKING.to_owned(),
        Server::Absent => words::NO_SERVER.to_owned(),
        Server::Present(None) => words::NO_MODEL.to_owned(),
        Server::Present(Some(model)) => validation.told.name(&model.id),
    };
    let option = move |place: Place| {
        let about = move || match place {
            Place::Cpu => words::wasm(validation.browser.asked.with(|asked| asked.subject.threads())),
            Place::WebGpu => gpu(),
            Place::Both => words::BOTH.to_owned(),
            Place::Server => server(),
        };
        view! {
            <label class="task">
                <input
                    type="radio"
                    name="place"
                    data-place=place.name()
                    prop:checked=move || validation.place.get() == Some(place)
                    disabled=move || validation.is_live()
                    on:change=move |_| validation.choose(place)
                />
                <span><b>{words::place(place)}</b> <span class="sub">{about}</span></span>
            </label>
        }
    };
    view! {
        <fieldset class="tasks places">
            <legend class="sr">{words::PLACES}</legend>
            {Place::ALL.into_iter().map(option).collect_view()}
        </fieldset>
    }
}

/// What is run in this browser.
#[component]
pub fn Controls() -> impl IntoView {
    let (validation, store) = (Validation::here(), Store::here());
    let browser = validation.browser;
    let asked = browser.asked;
    let change = move |change: &dyn Fn(&mut Asked)| asked.update(change);
    let models = Signal::derive(move || {
        let chosen = browser.chosen.with(|files| {
            let bytes = files.iter().map(Picked::size).sum();
            (!files.is_empty()).then(|| (Subject::Chosen, words::chosen(&browser.chosen_name(), bytes)))
        });
        let kept = |(id, kept): &(String, Kept)| (Subject::Kept(id.clone()), text::kept::choice(kept));
        let kept = browser.kept.shelf.with(|shelf| shelf.models().iter().map(kept).collect::<Vec<_>>());
        let runs = store.stranger.with(Option::is_none) && store.model.with(|m| m.support == Support::Run);
        let made_up = runs.then(|| (Subject::MadeUp, words::made_up(&store.title())));
        let tiny = (Subject::Tiny, words::TINY.to_owned());
        let all = std::iter::once(tiny).chain(chosen).chain(kept).chain(made_up);
        all.map(|(subject, name)| (subject.key(), name)).collect::<Vec<_>>()
    });
    let references = vec![
        ("true".to_owned(), words::REFERENCE_CPU.to_owned()),
        ("false".to_owned(), words::REFERENCE_NONE.to_owned()),
    ];
    let subject = Memo::new(move |_| asked.with(|asked| asked.subject.clone()));
    let hint = Signal::derive(move || match subject.get() {
        Subject::Tiny => TINY_PROMPT,
        Subject::Chosen | Subject::Kept(_) => phi3::validate::DEFAULT_PROMPT,
        Subject::MadeUp => words::PROMPT_MADE_UP,
    });
    let choose_files = move |ev| {
        let picked = files::from_input(&event_target(&ev));
        if !picked.is_empty() {
            HandOver::of_tab().files(&picked);
            page::tell(Ask::Read.event());
        }
    };
    view! {
        <p class="dim prose">{move || words::subject_why(&subject.get())}</p>
        <fieldset class="plain-set" disabled=move || validation.is_live()>
            <div class="controls">
                <Choice
                    label=words::MODEL
                    testid="validate-model"
                    width="w3"
                    options=models
                    value=Signal::derive(move || subject.get().key())
                    on_choose=move |key| {
                        browser.refused.set(None);
                        change(&|asked| asked.subject = Subject::of(&key));
                    }
                />
                <Choice
                    label=words::REFERENCE
                    testid="validate-reference"
                    width="w3"
                    options=references
                    value=Signal::derive(move || asked.with(|asked| asked.reference.to_string()))
                    on_choose=move |yes| change(&|asked| asked.reference = yes == "true")
                />
                <RunFields hint usual=USUAL_TOKENS has_prompt=Signal::derive(move || subject.get() != Subject::MadeUp)/>
            </div>
            <div class="row">
                <label class="btn small">
                    {words::FOLDER}
                    <input type="file" data-testid="validate-folder" prop:webkitdirectory=true on:change=choose_files/>
                </label>
                <span class="faint small-text">{words::DROP}</span>
                <Show when=move || subject.get() == Subject::Chosen><KeepButton/></Show>
            </div>
        </fieldset>
        <KeptProgress/>
    }
}

/// What is run on the server.
#[component]
pub fn ServerControls() -> impl IntoView {
    let validation = Validation::here();
    let models = Signal::derive(move || validation.told.choices());
    let model = Signal::derive(move || match validation.server.get() {
        Server::Present(Some(model)) => model.id,
        _ => String::new(),
    });
    let hint = Signal::stored(phi3::validate::DEFAULT_PROMPT);
    view! {
        <fieldset class="plain-set" disabled=move || validation.is_live()>
            <div class="controls">
                <Choice label=words::MODEL testid="validate-server-model" width="w4" options=models value=model on_choose=move |id| validation.choose_model(&id)/>
                <RunFields hint usual=Validate::MAX_NEW_TOKENS has_prompt=Signal::stored(true)/>
            </div>
        </fieldset>
    }
}

/// What is asked of a run wherever it is: formats, boundaries, how much of which text.
#[component]
fn RunFields(
    /// What is continued where nothing is asked.
    hint: Signal<&'static str>,
    /// How many ids are generated where nobody says.
    usual: usize,
    /// Whether a prompt can be given.
    has_prompt: Signal<bool>,
) -> impl IntoView {
    let InBrowser { asked, is_count_wrong: is_wrong, .. } = Validation::here().browser;
    let change = move |change: &dyn Fn(&mut Asked)| asked.update(change);
    let formats = std::iter::once((String::new(), words::AS_STORED.to_owned()))
        .chain(FORMATS.map(|dtype| (dtype.to_string(), dtype.to_string())));
    let formats: Vec<_> = formats.collect();
    let probes: Vec<_> =
        PROBES.iter().enumerate().map(|(at, set)| (at.to_string(), words::probes(*set).to_owned())).collect();
    // What stands in the field is told of while it stands there, and nothing runs meanwhile. Too much comes to what can be.
    let refused = RwSignal::new(None::<String>);
    is_wrong.set(false);
    on_cleanup(move || is_wrong.set(false));
    let field = NodeRef::<leptos::html::Input>::new();
    let holds = move || asked.with(|asked| asked.max_new_tokens);
    let takes = move |tokens: Option<usize>| change(&|asked| asked.max_new_tokens = tokens);
    let typed = move |ev| {
        // What is no number at all is not told to a page: such a field looks empty.
        let text = event_target_value(&ev);
        let why = match if page::is_bad_input(&ev) { Count::None } else { Count::of(&text) } {
            Count::Usual => {
                takes(None);
                None
            }
            Count::So(tokens) => {
                takes(Some(tokens));
                None
            }
            Count::TooMany => Some(words::too_many(MAX_NEW_TOKENS)),
            Count::None => Some(words::no_count(MAX_NEW_TOKENS)),
        };
        is_wrong.set(why.is_some());
        refused.set(why);
    };
    // Written only where it changes: what is being typed may be on its way to another number.
    let shown = Memo::new(move |_| holds().map_or_else(String::new, |tokens| tokens.to_string()));
    // The reason stays until something else is typed.
    let left = move |_| {
        let Some(field) = field.get_untracked() else { return };
        if Count::of(&field.value()) == Count::TooMany {
            takes(Some(MAX_NEW_TOKENS));
            is_wrong.set(false);
        }
        if !is_wrong.get_untracked() {
            field.set_value(&shown.get_untracked());
        }
    };
    view! {
                <Choice
                    label=words::WEIGHTS
                    testid="validate-dtype"
                    width="w2"
                    options=formats
                    value=Signal::derive(move || asked.with(|a| a.dtype.map_or_else(String::new, |d| d.to_string())))
                    on_choose=move |name| change(&|asked| asked.dtype = name.parse().ok())
                />
                <Choice
                    label=words::PROBES
                    testid="validate-probes"
                    width="w2"
                    options=probes
                    value=Signal::derive(move || {
                        let set = asked.with(|asked| asked.probe);
                        PROBES.iter().position(|probe| *probe == set).unwrap_or_default().to_string()
                    })
                    on_choose=move |at| {
                        let set = at.parse::<usize>().ok().and_then(|at| PROBES.get(at).copied());
                        change(&|asked| asked.probe = set.unwrap_or_default());
                    }
                />
                <div class="ctl w2">
                    <label for="validate-count">{words::NEW_TOKENS}</label>
                    <input
                        id="validate-count"
                        data-testid="validate-count"
                        type="number"
                        min="1"
                        max=MAX_NEW_TOKENS.to_string()
                        placeholder=usual.to_string()
                        node_ref=field
                        aria-invalid=move || is_wrong.get().then_some("true")
                        aria-describedby=move || refused.with(Option::is_some).then_some("validate-count-problem")
                        prop:value=move || shown.get()
                        on:input=typed
                        on:blur=left
                    />
                </div>
                {move || refused.get().map(|why| view! {
                    <div class="ctl wide-field"><span class="problem" role="alert" id="validate-count-problem" data-testid="validate-count-problem">{why}</span></div>
                })}
                <div class="ctl wide-field">
                    <label for="validate-prompt">{words::PROMPT}</label>
                    <input
                        id="validate-prompt"
                        data-testid="validate-prompt"
                        type="text"
                        autocomplete="off"
                        placeholder=move || hint.get()
                        disabled=move || !has_prompt.get()
                        prop:value=move || asked.with(|asked| asked.prompt.clone())
                        on:input=move |ev| {
                            let text = event_target_value(&ev);
                            asked.update(|asked| asked.prompt = text);
                        }
                        // Blanks are nothing to continue: the field shows what is.
                        on:change=move |_| asked.update(|asked| if asked.prompt().is_none() { asked.prompt.clear() })
                    />
                </div>
    }
}
