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
}

impl Page {
    /// Every page, in the order of the navigation.
    pub const ALL: [Self; 6] =
        [Self::Inspect, Self::Estimate, Self::Plan, Self::Validate, Self::Models, Self::Attempts];

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

    /// Whether it is about a server.
    #[must_use]
    pub fn needs_server(self) -> bool {
        matches!(self, Self::Models | Self::Attempts)
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
