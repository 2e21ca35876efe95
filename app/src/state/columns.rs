//! The columns of the table of attempts, and which of them are shown: kept in this browser.

use leptos::prelude::*;

use crate::platform::page;

/// Where the browser keeps them.
const KEY: &str = "preflight.attempts.columns";
/// Widths of the mark and of the gap between two columns in CSS pixels; the style sheet has the same.
const MARK_PX: u32 = 26;
const GAP_PX: u32 = 12;

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

    /// Its least width in CSS pixels, and its share of what is left of the table's.
    fn width(self) -> (u32, &'static str) {
        match self {
            Self::Id => (146, ""),
            Self::State => (170, "1.2fr"),
            Self::Model | Self::Device => (90, "1fr"),
            Self::Change => (150, "2.2fr"),
            Self::Load | Self::Ttft => (72, ""),
            Self::Duration | Self::Rate | Self::Memory => (92, ""),
            Self::Note => (100, "1.8fr"),
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

    /// The table's grid, the mark and then the columns, and the least width that it needs: what is wider than the page is
    /// scrolled sideways.
    #[must_use]
    pub fn style(self) -> String {
        self.shown.with(|shown| {
            let (mut grid, mut least) = (format!("{MARK_PX}px"), MARK_PX);
            for (px, share) in shown.iter().map(|column| column.width()) {
                least += GAP_PX + px;
                grid +=
                    &if share.is_empty() { format!(" {px}px") } else { format!(" minmax({px}px, {share})") };
            }
            format!("--columns:{grid};--least:{least}px")
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
