//! Whether the server lets this page in. A token is shown once; the server answers with a cookie that no script can
//! read, so that the page keeps no secret and no link can hold one.

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::{Presence, ServerWatch};
use crate::api::{self, ApiError};
use crate::text::settings as words;

/// Handle to it.
#[derive(Clone, Copy)]
pub struct Access {
    /// Whether the server asks for a token that it has not been shown.
    pub is_locked: RwSignal<bool>,
    /// What came of the last token that was shown.
    pub told: RwSignal<Option<Result<&'static str, String>>>,
}

impl Access {
    /// Asks whenever a server is found.
    #[must_use]
    pub fn follow(watch: ServerWatch) -> Self {
        let access = Self { is_locked: RwSignal::new(false), told: RwSignal::new(None) };
        Effect::new(move |_| {
            if watch.presence.get() == Presence::Present {
                access.look();
            }
        });
        access
    }

    /// The access of this program.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }

    fn look(self) {
        spawn_local(async move {
            let locked = matches!(api::models().await, Err(ApiError::Refused(e)) if e.code == "unauthorized");
            if self.is_locked.get_untracked() != locked {
                self.is_locked.set(locked);
            }
        });
    }

    /// Shows the server a token.
    pub fn show(self, token: String) {
        spawn_local(async move {
            let told = match api::session(&token).await {
                Ok(true) => Ok(words::LET_IN),
                Ok(false) => Ok(words::NO_TOKEN_ASKED),
                Err(error) => Err(error.to_string()),
            };
            self.told.set(Some(told));
            self.look();
        });
    }
}
