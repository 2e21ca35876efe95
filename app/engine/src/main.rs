//! The engines of the browser, in a Web Worker of their own: a page that only looks at configs never fetches them.
//!
//! The page posts `{run, files}`: a [`BrowserRun`] as JSON, and the files that a person chose. Back come
//! [`BrowserEvent`]s, each as JSON. The page ends a run by ending this worker: all memory is back at once, whatever it
//! was doing, and its threads, which are workers that it started, with it. Before a run the page may post `{rehearse}`, the
//! run that it expects: nothing comes back of that. `{kept, files}` is a [`KeptTask`], in a worker of its own.

mod scope;
mod kept;
mod files;
mod model;
mod session;

use phi3::api::{BrowserEvent, BrowserRun, ErrorObject, KeptTask};
use phi3::candle_engine::team;

/// Tells the page how a run goes.
fn tell(event: &BrowserEvent) {
    scope::post(&serde_json::to_string(event).unwrap_or_default());
}

fn main() {
    // A panic ends the module; the page must hear of it, or it would wait for ever.
    std::panic::set_hook(Box::new(|panic| {
        tell(&BrowserEvent::Failed { error: ErrorObject::new("internal", panic.to_string()) });
    }));
    scope::on_message(|asked| async move {
        let result = match asked {
            scope::Asked::Run(run, files) => match serde_json::from_str::<BrowserRun>(&run) {
                Ok(run) => session::run(&run, files).await,
                Err(error) => Err(unread(&run, &error)),
            },
            scope::Asked::Kept(task, files) => match serde_json::from_str::<KeptTask>(&task) {
                Ok(task) => kept::run(&task, files).await,
                Err(error) => Err(unread(&task, &error)),
            },
            // It ends with the worker that started it: a hand that closes itself just as that one is ended may stay for good.
            scope::Asked::Hand(number, board) => return team::serve(&board, number),
            scope::Asked::Rehearsal(run) => {
                // What goes wrong there is told by the run itself.
                if let Ok(run) = serde_json::from_str(&run) {
                    session::rehearse(&run).await.ok();
                }
                return;
            }
        };
        tell(&match result {
            Ok(()) => BrowserEvent::Finished,
            Err(error) => BrowserEvent::Failed { error },
        });
    });
    scope::post(scope::READY);
}

fn unread(asked: &str, error: &serde_json::Error) -> ErrorObject {
    ErrorObject::new("internal", format!("the page asked for {asked}: {error}"))
}
