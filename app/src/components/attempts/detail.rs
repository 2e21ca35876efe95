//! One attempt: how it ended, predicted and measured, its load config with origins, its log, its note.

use leptos::prelude::*;
use phi3::api::{AttemptRecord, AttemptState};
use phi3::load_config::{OutcomeClass, Proposal};

use super::Tree;
use super::table::standing_badge;
use crate::components::bits::{badge, bytes, copies};
use crate::components::loading::bar;
use crate::components::log::Log;
use crate::components::report::{memory_table, report};
use crate::format::{Unit, duration};
use crate::state::Attempts;
use crate::state::lineage::next_run;
use crate::state::notes::Stand;
use crate::text::{self, attempts as words};

/// Why a note is not with its attempt, below its field.
fn not_kept(attempts: Attempts, id: u64) -> impl IntoView {
    let stand = Memo::new(move |_| attempts.notes.stand(id));
    move || {
        match stand.get() {
        Stand::Written => ().into_any(),
        Stand::Unsent(why) => {
            view! { <p class="problem" role="status" data-testid="note-unsent">{words::unsent(&why)}</p> }.into_any()
        }
        Stand::Changed(theirs) => view! {
            <div class="notice warn" role="alert" data-testid="note-changed">
                <div>
                    <b>{words::NOTE_CHANGED}</b> " " {words::note_now(&theirs)}
                    <div class="dim">{words::NOTE_YOURS}</div>
                </div>
                <div class="row">
                    <button type="button" class="btn small" data-testid="note-mine" on:click=move |_| attempts.notes.insist(id)>{words::KEEP_MINE}</button>
                    <button type="button" class="btn small" data-testid="note-theirs" on:click=move |_| attempts.take_theirs(id)>{words::TAKE_THEIRS}</button>
                </div>
            </div>
        }
        .into_any(),
    }
    }
}

/// The whole record.
#[component]
pub fn Detail(
    /// The record.
    record: AttemptRecord,
) -> impl IntoView {
    let attempts = Attempts::here();
    let whole = StoredValue::new(record.clone());
    let AttemptRecord { attempt, evidence } = record;
    let id = attempt.id;
    let plan = move |_| attempts.plan_from(whole.get_value());
    let leaf = |leaf: &phi3::load_config::Leaf| {
        let value = leaf.value.as_str().map_or_else(|| leaf.value.to_string(), str::to_owned);
        view! { <tr><td class="mono">{leaf.path.clone()}</td><td class="mono">{copies(value)}</td><td>{badge("", leaf.origin.words())}</td></tr> }
    };
    let next = move |proposal: &Proposal| {
        let value = proposal.value.as_str().map_or_else(|| proposal.value.to_string(), str::to_owned);
        let (change, can_run) =
            (proposal.clone(), whole.with_value(|record| next_run(&record.attempt, proposal).is_some()));
        let take = move |_| whole.with_value(|record| attempts.try_next(&record.attempt, &change));
        view! {
            <li class="change">
                <p><code>{proposal.key.clone()}</code> " → " <b class="mono">{value}</b> " " <span class="dim">{proposal.reason.clone()}</span></p>
                {can_run.then(|| view! { <button type="button" class="quiet" data-try=proposal.key.clone() on:click=take>{words::TRY}</button> })}
            </li>
        }
    };
    let files = |file: &phi3::api::FileFact| {
        let hash = file.sha256.clone().unwrap_or_default();
        view! { <tr><td class="mono">{file.name.clone()}</td><td class="num">{bytes(file.bytes, Unit::of(file.bytes), "")}</td><td class="mono clip" title=hash.clone()>{copies(hash.clone())}</td></tr> }
    };
    let measured = evidence
        .memory
        .filter(|_| attempt.report.is_none())
        .map(|pair| memory_table(pair.predicted, pair.measured));
    // An error says what the report says.
    let why = attempt.report.as_ref().filter(|_| attempt.error.is_none()).map(|report| report.reason.clone());
    // One failure has one name, here and in the table.
    let class = attempt.outcome.map(OutcomeClass::name);
    let code =
        class.or(attempt.error.as_ref().map(|error| error.code.as_str())).unwrap_or_default().to_owned();
    let took = attempt
        .started_ms
        .zip(attempt.finished_ms)
        .map(|(from, to)| duration(to.saturating_sub(from) as f64));
    let base = attempt.note.clone();
    let note = attempts.notes.of(id).unwrap_or_else(|| base.clone());
    let written = move |ev| attempts.notes.write(id, event_target_value(&ev), &base);
    let log = attempt.log.join("\n");
    let is_ready = attempt.state == AttemptState::Ready;
    let is_live = !attempt.state.is_final() && !is_ready;
    let loaded = StoredValue::new(attempt.model.clone());
    let model_id = attempt.model.clone();
    let model = move || attempts.told.name(&model_id);
    view! {
        <section class="card detail" data-testid="attempt" data-id=id.to_string()>
            <div class="card-head">
                <h2>{format!("#{id} ")} {model} " " {standing_badge(attempt.state, attempt.standing())} " " <span class="faint">{attempt.kind.name()} " " {took}</span></h2>
                <div class="row">
                    <Show when=move || is_ready><button type="button" class="btn small" data-testid="unload" on:click=move |_| attempts.unload(loaded.get_value())>{words::UNLOAD}</button></Show>
                    <Show when=move || is_live><button type="button" class="btn small" on:click=move |_| attempts.cancel(id)>{words::CANCEL}</button></Show>
                    <button type="button" class="btn small" on:click=plan>{words::PLAN_FROM}</button>
                    <button type="button" class="btn small" on:click=move |_| attempts.close()>{words::CLOSE}</button>
                </div>
            </div>
            {move || attempts.loads.of(id).map(bar)}
            {why.map(|why| view! { <p>{text::capitalised(&why)} "."</p> })}
            {attempt.error.map(|error| view! {
                <div class="notice"><div><b title=code.clone()>{text::outcome::heading(&code)}</b> {error.path.map(|path| view! { " " {text::problem::AT} " " <code>{path}</code> })} <div>{text::outcome::told(&error.message)}</div></div></div>
            })}
            {(!evidence.next.is_empty()).then(|| view! { <h3>{words::NEXT}</h3> <ul class="plain">{evidence.next.iter().map(next).collect_view()}</ul> })}
            {evidence.advice.map(|advice| view! { <p class="dim">{text::capitalised(&advice)} "."</p> })}
            <label class="note"><span class="sr">{words::NOTE}</span>
                <textarea rows="2" placeholder=words::NOTE_HINT data-testid="note" prop:value=note on:input=written on:blur=move |_| attempts.notes.keep(id)></textarea>
            </label>
            {not_kept(attempts, id)}
            <Tree id/>
            {Some(attempt.text).filter(|text| !text.is_empty()).map(|text| view! { <div class="tokens" aria-label=text::validate::OUTPUT>{text}</div> })}
            {attempt.report.map(report)}
            {measured}
            {evidence.unload.and_then(|unload| words::given_back(&unload)).map(|words| view! { <p class="dim">{words}</p> })}
            <details><summary>{words::LOAD_CONFIG}</summary><table><tbody>{evidence.resolved.iter().map(leaf).collect_view()}</tbody></table></details>
            {(!evidence.files.is_empty()).then(|| view! { <details><summary>{words::FILES}</summary><table><tbody>{evidence.files.iter().map(files).collect_view()}</tbody></table></details> })}
            {(!log.is_empty()).then(|| view! { <details open=true><summary>{words::LOG}</summary><Log log/></details> })}
        </section>
    }
}
