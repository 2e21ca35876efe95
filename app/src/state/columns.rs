//! The columns of the table of attempts, and which of them are shown: kept in this browser.

use leptos::prelude::*;

use crate::platform::page;

/// Where the browser keeps them.
const KEY: &str = "preflight.attempts.columns";

/// A column; what rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Its id, and so its time.
    Id,
    /// Where it stands.
    State,
    /// The model.
    Model,
    /// What differs from the parent.
    Change,
    /// The device asked for.
    Device,
    /// How long it took.
    Duration,
    /// How long the load took.
    Load,
    /// Time to first token.
    Ttft,
    /// Decode rate.
    Rate,
    /// Memory measured.
    Memory,
    /// The note.
    Note,
}

impl Column {
    /// In the order of the table.
    pub const ALL: [Self; 11] = [
        Self::Id,
        Self::State,
        Self::Model,
        Self::Change,
        Self::Device,
        Self::Duration,
        Self::Load,
        Self::Ttft,
        Self::Rate,
        Self::Memory,
        Self::Note,
    ];

    /// The name that is kept and that stands in an address.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::State => "state",
            Self::Model => "model",
            Self::Change => "change",
            Self::Device => "device",
            Self::Duration => "duration",
            Self::Load => "load",
            Self::Ttft => "ttft",
            Self::Rate => "rate",
            Self::Memory => "memory",
            Self::Note => "note",
        }
    }

    /// The column of a name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.name() == name)
    }

    /// Its width in the table's grid.
    #[must_use]
    pub fn width(self) -> &'static str {
        match self {
            Self::Id => "146px",
            Self::State => "minmax(184px, 1.2fr)",
            Self::Model | Self::Device => "minmax(90px, 1fr)",
            Self::Change => "minmax(120px, 2.2fr)",
            Self::Load | Self::Ttft => "72px",
            Self::Duration | Self::Rate | Self::Memory => "92px",
            Self::Note => "minmax(90px, 1.4fr)",
        }
    }

    /// Whether it is shown where nothing was chosen.
    fn is_usual(self) -> bool {
        !matches!(self, Self::Device | Self::Load | Self::Ttft | Self::Memory)
    }
}

/// The columns of a text that was kept; the usual ones where there is none, and an attempt's id always.
fn read(kept: Option<&str>) -> Vec<Column> {
    let Some(kept) = kept else { return Column::ALL.into_iter().filter(|c| c.is_usual()).collect() };
    let names: Vec<&str> = kept.split(',').collect();
    Column::ALL.into_iter().filter(|c| *c == Column::Id || names.contains(&c.name())).collect()
}

/// Handle to the columns that are shown.
#[derive(Clone, Copy)]
pub struct Columns {
    /// In the order of the table.
    pub shown: RwSignal<Vec<Column>>,
}

impl Columns {
    /// As this browser has kept them.
    #[must_use]
    pub fn kept() -> Self {
        Self { shown: RwSignal::new(read(page::kept_for_good(KEY).as_deref())) }
    }

    /// Shows a column, or hides it; an attempt's id stays.
    pub fn toggle(self, column: Column) {
        let mut names: Vec<&str> =
            self.shown.with_untracked(|shown| shown.iter().map(|c| c.name()).collect());
        match names.iter().position(|name| *name == column.name()) {
            Some(at) => {
                names.remove(at);
            }
            None => names.push(column.name()),
        }
        let text = names.join(",");
        page::keep_for_good(KEY, &text);
        self.shown.set(read(Some(&text)));
    }

    /// The table's grid: the mark, then the columns.
    #[must_use]
    pub fn grid(self) -> String {
        self.shown.with(|shown| {
            let widths = shown.iter().map(|column| column.width());
            std::iter::once("26px").chain(widths).collect::<Vec<_>>().join(" ")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn columns_come_back_in_the_tables_order() {
        assert!(Column::ALL.into_iter().all(|column| Column::find(column.name()) == Some(column)));
        assert_eq!(read(Some("rate,model,nothing")), [Column::Id, Column::Model, Column::Rate]);
        assert_eq!(read(Some("")), [Column::Id]);
        assert_eq!(read(None).len(), 7);
    }
}
