//! Profiles by name: the product's own, and those that somebody saved.

use std::sync::Arc;

use phi3::api::{ErrorObject, ProfileEntry};
use phi3::ladder::Profile;
use sqlx::Row as _;

use crate::attempts::now_ms;
use crate::store::Store;
use crate::toml_text::Document;

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
    /// `profile_invalid`: what is wrong, in which line, and what is allowed there.
    pub fn parse(toml: &str) -> Result<Profile, ErrorObject> {
        let refuse = |reason: String| ErrorObject::new("profile_invalid", reason).at("toml");
        if toml.len() > PROFILE_BYTES {
            return Err(refuse(format!("longer than {PROFILE_BYTES} bytes")));
        }
        let document = Document::parse(toml).map_err(refuse)?;
        let profile: Profile = document.read().map_err(refuse)?;
        profile.check().map_err(|error| refuse(document.at(&error.path, &error.to_string())))?;
        Ok(profile)
    }

    /// The product's own.
    ///
    /// # Panics
    /// Never: a test reads it.
    #[must_use]
    pub fn standard() -> Profile {
        #[expect(clippy::expect_used, reason = "a file of ours, read by a test")]
        Self::parse(Profile::STANDARD).expect("the product's own profile is a good one")
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
        let mut writer = self.store.writer().await?;
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
        let mut writer = self.store.writer().await?;
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
    entry(Profiles::standard(), Profile::STANDARD.to_owned(), true)
}

fn entry(profile: Profile, toml: String, built_in: bool) -> ProfileEntry {
    let Profile { name, description, steps, .. } = profile;
    ProfileEntry { name, description, built_in, steps, toml }
}

fn unknown(name: &str) -> ErrorObject {
    ErrorObject::new("no_such_profile", format!("there is no profile `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_with_their_line_and_what_is_allowed() {
        let step = "[[steps]]\nid = \"a\"\naction = \"load\"\n";
        for (text, says) in [
            ("name = 3", "line 1, column 1: `name` is 3, expected a string"),
            ("steps = []", "`name` is missing, and must be given"),
            ("name = \"x\"\nsteps = []", "line 2, column 1: steps: has 0, expected 1 to 100"),
            (
                &format!("name = \"x\"\n{step}overides = {{}}"),
                "line 5, column 1: `steps[0].overides` is not known, expected one of `id`",
            ),
            (
                &format!("name = \"x\"\n{step}device = \"fpga\""),
                "line 5, column 1: `steps[0].device`: `fpga` is no device: write gpu, auto",
            ),
            (&format!("name = \"x\"\n{step}action = \"fly\""), "line 5, column 1: `action` stands twice"),
            (
                &format!("name = \"x\"\n{step}after = [\"bored\"]"),
                "line 5, column 10: `steps[0].after[0]` is `bored`, expected one of `passed`",
            ),
            (
                &format!("name = \"x\"\n{step}branch = \"yes\""),
                "line 5, column 1: `steps[0].branch` is `yes`, expected true or false",
            ),
            (
                &format!("name = \"x\"\n{step}overrides = {{ dtyp = \"f16\" }}"),
                "line 2, column 1: steps[0] (a): ",
            ),
            (
                &format!("name = \"x\"\n\n{step}\n{step}"),
                "line 7, column 1: steps[1] (a): the id stands twice",
            ),
            (
                "name = \"x\"\n[[steps]]\naction = \"load\"",
                "line 2, column 1: `steps[0].id` is missing, and must be given",
            ),
        ] {
            let error = Profiles::parse(text).expect_err(text);
            assert_eq!((error.code.as_str(), error.path.as_deref()), ("profile_invalid", Some("toml")));
            assert!(error.message.contains(says) && !error.message.contains('\n'), "{text}\n{error}");
        }
        assert_eq!(Profiles::standard().steps.len(), 8);
    }
}
