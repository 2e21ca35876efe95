//! The engines of the browser, in a Web Worker of their own: a page that only looks at configs never fetches them.
//!
//! The page posts `{run, files}`: a [`BrowserRun`] as JSON, and the files that a person chose. Back come
//! [`BrowserEvent`]s, each as JSON. The page ends a run by ending this worker: all memory is back at once, whatever it
//! was doing. Before it may post `{rehearse}`, the run that it expects: nothing comes back of that.

mod scope;
mod files;
mod model;
mod session;

use phi3::api::{BrowserEvent, BrowserRun, ErrorObject};

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
        let read = |run: &str| serde_json::from_str::<BrowserRun>(run);
        let (run, files) = match asked {
            scope::Asked::Run(run, files) => (run, files),
            scope::Asked::Rehearsal(run) => {
                // What goes wrong there is told by the run itself.
                if let Ok(run) = read(&run) {
                    session::rehearse(&run).await.ok();
                }
                return;
            }
        };
        let result = match read(&run) {
            Ok(run) => session::run(&run, files).await,
            Err(error) => Err(ErrorObject::new("internal", format!("the page asked for {run}: {error}"))),
        };
        tell(&match result {
            Ok(()) => BrowserEvent::Finished,
            Err(error) => BrowserEvent::Failed { error },
        });
    });
    scope::post(scope::READY);
}
