//! The ladders of this server: one runs, the others wait in the order that they came in. What goes on is in memory and
//! in the database, written before the act; what has stopped is in the database alone, and can be resumed from there.

mod climb;
mod profiles;
mod rows;

pub use climb::LadderRunner;
pub use profiles::{PROFILE_BYTES, Profiles};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use phi3::api::{ErrorObject, EventKind, Ladder, LadderState, RungState};
use phi3::ladder::Profile;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::rows::Rows;
use crate::attempts::now_ms;
use crate::events::Hub;
use crate::store::{Store, StoreError};

/// Ladders that may wait; more are refused.
const QUEUE: usize = 16;

/// All ladders.
#[derive(Debug)]
pub struct Ladders {
    live: Mutex<Live>,
    rows: Rows,
    hub: Arc<Hub>,
    /// Held while a ladder joins the queue, so that ids and the queue have one order.
    joining: tokio::sync::Mutex<()>,
    /// Wakes whoever runs them.
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Live {
    /// By their turn.
    open: BTreeMap<u64, Open>,
    next_turn: u64,
    closed: bool,
}

/// A ladder that waits or runs.
#[derive(Debug)]
struct Open {
    ladder: Ladder,
    profile: Arc<Profile>,
    cancel: CancellationToken,
    /// Its turn has come: whoever runs it sees to its end.
    taken: bool,
}

/// A ladder whose turn has come.
#[derive(Debug)]
struct Taken {
    turn: u64,
    ladder: Ladder,
    profile: Arc<Profile>,
    cancel: CancellationToken,
}

impl Ladders {
    /// The ladders of a database; changes go to `hub`. Those that a dead server left open are interrupted from here on.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn open(store: Arc<Store>, hub: Arc<Hub>) -> Result<Self, StoreError> {
        let rows = Rows(store);
        for mut ladder in rows.open_ones().await? {
            tracing::warn!(ladder = ladder.id, "interrupted: the server died");
            let reason = interrupted("died", ladder.state);
            stop(&mut ladder, LadderState::Interrupted, reason);
            rows.write(&ladder).await?;
        }
        Ok(Self {
            live: Mutex::default(),
            rows,
            hub,
            joining: tokio::sync::Mutex::default(),
            arrived: Notify::new(),
        })
    }

    /// Keeps a ladder and puts it at the end of the queue. One that goes on for the same model with the same profile is
    /// that ladder.
    ///
    /// # Errors
    /// `queue_full`, `shutting_down`, or it cannot be written.
    pub async fn start(&self, model: String, profile: Profile, note: String) -> Result<u64, ErrorObject> {
        let _one_at_a_time = self.joining.lock().await;
        let alike = |open: &Open| {
            open.ladder.model == model && *open.profile == profile && !open.cancel.is_cancelled()
        };
        if let Some(open) = self.lock().open.values().find(|open| alike(open)) {
            return Ok(open.ladder.id);
        }
        self.has_room()?;
        let mut ladder = Ladder::new(model, &profile, note, now_ms());
        ladder.position = Some(self.lock().open.len());
        ladder.id = self.rows.add(&ladder, &profile).await?;
        let id = ladder.id;
        self.join(ladder, profile);
        Ok(id)
    }

    /// Puts a ladder that was stopped at the end of the queue; it goes on with the rung that it stopped at.
    ///
    /// # Errors
    /// `no_such_ladder`; `ladder_ended`: every rung has its end; `ladder_going_on`; or as [`Ladders::start`].
    pub async fn resume(&self, id: u64) -> Result<Ladder, ErrorObject> {
        let _one_at_a_time = self.joining.lock().await;
        let mut ladder = self.get(id).await?;
        if !ladder.state.can_resume() {
            let state = ladder.state.name();
            return Err(match ladder.finished_ms {
                Some(_) => {
                    ErrorObject::new("ladder_ended", format!("ladder {id} is {state}: nothing is left to do"))
                }
                None => {
                    ErrorObject::new("ladder_going_on", format!("ladder {id} is {state}: it goes on already"))
                }
            });
        }
        self.has_room()?;
        let profile = self.rows.profile(id).await?.ok_or_else(|| unknown(id))?;
        ladder.state = LadderState::Queued;
        ladder.reason.clear();
        ladder.finished_ms = None;
        ladder.position = Some(self.lock().open.len());
        self.rows.write(&ladder).await?;
        self.join(ladder.clone(), profile);
        Ok(ladder)
    }

    /// Asks for the end of a ladder; one that has stopped stays as it is.
    ///
    /// # Errors
    /// `no_such_ladder`, or it cannot be written.
    pub async fn cancel(&self, id: u64) -> Result<Ladder, ErrorObject> {
        let waiting = {
            let live = self.lock();
            let found = live.open.iter().find(|(_, open)| open.ladder.id == id);
            found.and_then(|(turn, open)| {
                open.cancel.cancel();
                (!open.taken).then(|| (*turn, open.ladder.clone()))
            })
        };
        if let Some((turn, mut ladder)) = waiting {
            stop(&mut ladder, LadderState::Cancelled, "cancelled on request while it waited");
            self.keep(turn, &ladder).await?;
        }
        self.get(id).await
    }

    /// Ends everything, so that it can be resumed, and takes no more.
    pub async fn close(&self) {
        let waiting: Vec<(u64, Ladder)> = {
            let mut live = self.lock();
            live.closed = true;
            live.open.values().for_each(|open| open.cancel.cancel());
            let waiting = live.open.iter().filter(|(_, open)| !open.taken);
            waiting.map(|(turn, open)| (*turn, open.ladder.clone())).collect()
        };
        for (turn, mut ladder) in waiting {
            let reason = interrupted("was shut down", ladder.state);
            stop(&mut ladder, LadderState::Interrupted, reason);
            if let Err(error) = self.keep(turn, &ladder).await {
                // That it waited is written: with the next start it is interrupted.
                tracing::error!(ladder = ladder.id, %error, "its end cannot be written");
            }
        }
        self.arrived.notify_one();
    }

    /// One ladder as it is now.
    ///
    /// # Errors
    /// `no_such_ladder`, or it cannot be read.
    pub async fn get(&self, id: u64) -> Result<Ladder, ErrorObject> {
        let live =
            self.lock().open.values().find(|open| open.ladder.id == id).map(|open| open.ladder.clone());
        match live {
            Some(ladder) => Ok(ladder),
            None => self.rows.get(id).await?.ok_or_else(|| unknown(id)),
        }
    }

    /// Ladders as they are now, newest first, at most `limit`: of one model, and older than one, where that is said.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn list(
        &self,
        model: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Ladder>, ErrorObject> {
        let mut ladders = self.rows.list(model, before, limit).await?;
        let live = self.lock();
        for ladder in &mut ladders {
            if let Some(open) = live.open.values().find(|open| open.ladder.id == ladder.id) {
                ladder.clone_from(&open.ladder);
            }
        }
        Ok(ladders)
    }

    /// Those that wait or run, in the order of their turns.
    #[must_use]
    pub fn going_on(&self) -> Vec<Ladder> {
        self.lock().open.values().map(|open| open.ladder.clone()).collect()
    }

    fn has_room(&self) -> Result<(), ErrorObject> {
        let live = self.lock();
        if live.closed {
            return Err(ErrorObject::new("shutting_down", "the server is shutting down"));
        }
        if live.open.len() > QUEUE {
            let message = format!("{QUEUE} ladders wait already; try again when one has ended");
            return Err(ErrorObject::new("queue_full", message));
        }
        Ok(())
    }

    fn join(&self, ladder: Ladder, profile: Profile) {
        self.tell(&ladder);
        let cancel = CancellationToken::new();
        let open = Open { ladder, profile: Arc::new(profile), cancel, taken: false };
        {
            let mut live = self.lock();
            if live.closed {
                open.cancel.cancel();
            }
            let turn = live.next_turn;
            live.next_turn += 1;
            live.open.insert(turn, open);
        }
        self.arrived.notify_one();
    }

    /// The ladder whose turn it is. Only one caller takes ladders, one at a time.
    fn take_next(&self) -> Option<Taken> {
        let mut live = self.lock();
        let (turn, open) = live.open.iter_mut().find(|(_, open)| !open.taken)?;
        open.taken = true;
        Some(Taken {
            turn: *turn,
            ladder: open.ladder.clone(),
            profile: Arc::clone(&open.profile),
            cancel: open.cancel.clone(),
        })
    }

    /// Writes how far a ladder is, then tells it.
    async fn keep(&self, turn: u64, ladder: &Ladder) -> Result<(), StoreError> {
        self.rows.write(ladder).await?;
        {
            let mut live = self.lock();
            if ladder.state.goes_on() {
                if let Some(open) = live.open.get_mut(&turn) {
                    open.ladder.clone_from(ladder);
                }
            } else {
                live.open.remove(&turn);
            }
        }
        self.tell(ladder);
        self.tell_positions();
        Ok(())
    }

    /// Those that wait have moved up.
    fn tell_positions(&self) {
        let mut live = self.lock();
        let mut moved = Vec::new();
        for (ahead, open) in live.open.values_mut().enumerate() {
            if !open.taken && open.ladder.position != Some(ahead) {
                open.ladder.position = Some(ahead);
                moved.push(open.ladder.clone());
            }
        }
        for ladder in &moved {
            self.tell(ladder);
        }
    }

    fn tell(&self, ladder: &Ladder) {
        self.hub.publish(EventKind::Ladder { ladder: Box::new(ladder.clone()) });
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Live> {
        // Every change is complete before anything in here can panic.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a ladder stopped with its server.
fn interrupted(how: &str, state: LadderState) -> String {
    let did = if state == LadderState::Queued { "waited" } else { "went on" };
    format!("the server {how} while it {did}; it can be resumed")
}

/// It goes on no more. A rung that ran has its turn again when the ladder is resumed.
fn stop(ladder: &mut Ladder, state: LadderState, reason: impl Into<String>) {
    ladder.state = state;
    ladder.position = None;
    ladder.reason = reason.into();
    ladder.finished_ms = Some(now_ms());
    for rung in ladder.rungs.iter_mut().filter(|rung| rung.state == RungState::Running) {
        rung.break_off();
    }
}

fn unknown(id: u64) -> ErrorObject {
    ErrorObject::new("no_such_ladder", format!("there is no ladder {id}"))
}
