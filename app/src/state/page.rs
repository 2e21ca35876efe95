//! The pages, by the names that stand in an address.

/// One page of the dashboard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Page {
    /// What a config says.
    Inspect,
    /// What it needs, and whether that fits.
    #[default]
    Estimate,
    /// The load config.
    Plan,
    /// A short run that proves a load.
    Validate,
    /// Models of the server.
    Models,
    /// What was tried.
    Attempts,
    /// Profiles run rung after rung.
    Ladder,
    /// A conversation with a loaded model.
    Playground,
    /// Memory as it is now.
    Devices,
    /// Theme, the server's token.
    Settings,
}

impl Page {
    /// Every page, in the order of the navigation.
    pub const ALL: [Self; 10] = [
        Self::Inspect,
        Self::Estimate,
        Self::Plan,
        Self::Validate,
        Self::Models,
        Self::Attempts,
        Self::Ladder,
        Self::Playground,
        Self::Devices,
        Self::Settings,
    ];

    /// The name in an address.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Estimate => "estimate",
            Self::Plan => "plan",
            Self::Validate => "validate",
            Self::Models => "models",
            Self::Attempts => "attempts",
            Self::Ladder => "ladder",
            Self::Playground => "playground",
            Self::Devices => "devices",
            Self::Settings => "settings",
        }
    }

    /// The page of a name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.name() == name)
    }

    /// Whether the first program draws it; the others come with the second, when first opened.
    #[must_use]
    pub fn is_first(self) -> bool {
        self == Self::Estimate
    }

    /// Whether it is about the model that is shown; the others are about a server or this browser.
    #[must_use]
    pub fn is_about_model(self) -> bool {
        matches!(self, Self::Inspect | Self::Estimate | Self::Plan | Self::Validate)
    }

    /// Whether it shows nothing where no server is.
    #[must_use]
    pub fn needs_server(self) -> bool {
        matches!(self, Self::Models | Self::Attempts | Self::Ladder | Self::Playground)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn names_come_back() {
        assert!(Page::ALL.into_iter().all(|page| Page::find(page.name()) == Some(page)));
        assert_eq!(Page::find("nowhere"), None);
    }
}
