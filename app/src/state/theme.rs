//! Dark or light: as the system says, unless something was chosen here.

use crate::platform::page;

/// Attribute of the page that the style sheet reads; the frame sets it before the first paint (`index.html`).
const ATTRIBUTE: &str = "data-theme";
/// Where the browser keeps it.
const KEY: &str = "preflight.theme";
/// Told in the tab when another one was chosen.
pub const CHANGED: &str = "preflight-theme";

/// What was chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Theme {
    /// As the system says.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// In the order of the page.
    pub const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    /// The name that is kept; empty for the system's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// What holds now.
    #[must_use]
    pub fn now() -> Self {
        let name = page::attribute(ATTRIBUTE);
        Self::ALL.into_iter().find(|theme| theme.name() == name).unwrap_or_default()
    }

    /// Makes it hold, on every page of this origin from now on.
    pub fn choose(self) {
        page::set_attribute(ATTRIBUTE, self.name());
        page::keep_for_good(KEY, self.name());
        page::tell(CHANGED);
    }
}
