//! Profiles by name: the product's own, and those that somebody saved.

use std::sync::Arc;

use phi3::api::{ErrorObject, ProfileEntry};
use phi3::ladder::Profile;
use sqlx::Row as _;

use crate::attempts::now_ms;
use crate::store::Store;

/// Longest text of a profile, in bytes.
pub const PROFILE_BYTES: usize = 256 << 10;

/// Longest name of a profile that is kept.
const NAME_BYTES: usize = 96;

/// Profiles that ladders can be started with.
#[derive(Debug)]
pub struct Profiles {
    store: Arc<Store>,
}

impl Profiles {
    /// Those in a database, and the product's own.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Reads a profile's text and checks all of it.
    ///
    /// # Errors
    /// `profile_invalid`: what is wrong, and where.
    pub fn parse(toml: &str) -> Result<Profile, ErrorObject> {
        let refuse = |reason: String| ErrorObject::new("profile_invalid", reason).at("toml");
        if toml.len() > PROFILE_BYTES {
            return Err(refuse(format!("longer than {PROFILE_BYTES} bytes")));
        }
        Profile::parse(toml).map_err(|error| refuse(error.to_string()))
    }

    /// Every profile: the product's own first, then by name.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn list(&self) -> Result<Vec<ProfileEntry>, ErrorObject> {
        let rows = sqlx::query("SELECT toml FROM profiles ORDER BY name").fetch_all(self.store.readers());
        let rows = rows.await.map_err(|error| self.store.fail(error))?;
        let mut entries = vec![standard()];
        for row in &rows {
            let toml: String = row.try_get("toml").map_err(|error| self.store.fail(error))?;
            match Self::parse(&toml) {
                Ok(profile) => entries.push(entry(profile, toml, false)),
                // Saved by another build: it hides no other, and asking for it tells what is wrong.
                Err(error) => tracing::warn!(%error, "a profile cannot be read"),
            }
        }
        Ok(entries)
    }

    /// One profile.
    ///
    /// # Errors
    /// `no_such_profile`, or it cannot be read.
    pub async fn get(&self, name: &str) -> Result<ProfileEntry, ErrorObject> {
        if name == standard().name {
            return Ok(standard());
        }
        let found: Option<String> = sqlx::query_scalar("SELECT toml FROM profiles WHERE name = ?")
            .bind(name)
            .fetch_optional(self.store.readers())
            .await
            .map_err(|error| self.store.fail(error))?;
        let toml = found.ok_or_else(|| unknown(name))?;
        Ok(entry(Self::parse(&toml)?, toml, false))
    }

    /// Saves a profile under the name that stands in it; tells whether that name is new.
    ///
    /// # Errors
    /// `profile_invalid`, `profile_built_in`, or it cannot be written.
    pub async fn save(&self, toml: String) -> Result<(ProfileEntry, bool), ErrorObject> {
        let profile = Self::parse(&toml)?;
        let name = profile.name.clone();
        let plain = |c: char| !c.is_control() && c != '/';
        if name.is_empty() || name.len() > NAME_BYTES || !name.chars().all(plain) {
            let message = format!("a name has 1 to {NAME_BYTES} bytes, without `/` and control characters");
            return Err(ErrorObject::new("profile_invalid", message).at("toml.name"));
        }
        self.changeable(&name)?;
        let is_new = matches!(self.get(&name).await, Err(error) if error.code == "no_such_profile");
        let mut writer = self.store.writer().await;
        sqlx::query(
            "INSERT INTO profiles (name, toml, updated_ms) VALUES (?1, ?2, ?3) \
             ON CONFLICT (name) DO UPDATE SET toml = ?2, updated_ms = ?3",
        )
        .bind(&name)
        .bind(&toml)
        .bind(i64::try_from(now_ms()).unwrap_or(i64::MAX))
        .execute(&mut *writer)
        .await
        .map_err(|error| self.store.fail(error))?;
        Ok((entry(profile, toml, false), is_new))
    }

    /// Forgets a profile. Ladders that were started with it keep theirs.
    ///
    /// # Errors
    /// `no_such_profile`, `profile_built_in`, or it cannot be written.
    pub async fn remove(&self, name: &str) -> Result<(), ErrorObject> {
        self.changeable(name)?;
        let mut writer = self.store.writer().await;
        let deleted = sqlx::query("DELETE FROM profiles WHERE name = ?").bind(name).execute(&mut *writer);
        match deleted.await.map_err(|error| self.store.fail(error))?.rows_affected() {
            0 => Err(unknown(name)),
            _ => Ok(()),
        }
    }

    fn changeable(&self, name: &str) -> Result<(), ErrorObject> {
        if name != standard().name {
            return Ok(());
        }
        let message = format!("the profile `{name}` is the product's own: give yours another name");
        Err(ErrorObject::new("profile_built_in", message))
    }
}

fn standard() -> ProfileEntry {
    entry(Profile::standard(), Profile::STANDARD.to_owned(), true)
}

fn entry(profile: Profile, toml: String, built_in: bool) -> ProfileEntry {
    let Profile { name, description, steps, .. } = profile;
    ProfileEntry { name, description, built_in, steps, toml }
}

fn unknown(name: &str) -> ErrorObject {
    ErrorObject::new("no_such_profile", format!("there is no profile `{name}`"))
}
