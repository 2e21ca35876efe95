//! Text for people: headings, aligned columns, wrapped sentences, colour where the terminal wants it.

use anstyle::{AnsiColor, Style};

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default().bold();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Widest text; longer lines are hard to read.
const WIDEST: usize = 110;

/// A page that grows from top to bottom. Styles are escape codes that printing takes away where they do not belong.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

/// One cell of a table.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    style: Style,
    right: bool,
}

impl Cell {
    /// Flush left.
    pub(super) fn left(text: impl Into<String>) -> Self {
        Self { text: plain(&text.into()), style: Style::new(), right: false }
    }

    /// Flush right, for numbers.
    pub(super) fn right(text: impl Into<String>) -> Self {
        Self { right: true, ..Self::left(text) }
    }

    /// The same in a style.
    pub(super) fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

impl Page {
    /// A line of its own.
    pub(super) fn line(&mut self, style: Style, text: &str) {
        self.text += &format!("{style}{}{style:#}\n", plain(text));
    }

    /// An empty line and a heading.
    pub(super) fn heading(&mut self, text: &str) {
        self.text.push('\n');
        self.line(BOLD, text);
    }

    /// Sentences, wrapped and indented.
    pub(super) fn sentences(&mut self, indent: usize, style: Style, text: &str) {
        for line in wrap(text, width().saturating_sub(indent)) {
            self.line(style, &format!("{:indent$}{line}", ""));
        }
    }

    /// Rows of cells, indented by two; columns as wide as their widest cell, the last one wrapped.
    pub(super) fn table(&mut self, rows: &[Vec<Cell>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        // A column is as wide as its widest cell: one that a stranger made long would push the rest out of sight.
        let clipped = |(column, cell): (usize, &Cell)| match column + 1 == columns && !cell.right {
            true => cell.clone(),
            false => Cell { text: clip(&cell.text), ..cell.clone() },
        };
        let rows: Vec<Vec<Cell>> =
            rows.iter().map(|row| row.iter().enumerate().map(clipped).collect()).collect();
        let width_of = |column: usize| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.text.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width_of).collect();
        for row in &rows {
            let mut line = String::new();
            let mut used = 0;
            for (column, cell) in row.iter().enumerate() {
                let Cell { text, style, right } = cell;
                let is_last = column + 1 == columns;
                let pad = widths[column] - text.chars().count();
                if is_last && !right {
                    let room = width().saturating_sub(used + 2).max(24);
                    let hang = format!("\n{:1$}", "", used + 2);
                    line += &format!("  {style}{}{style:#}", wrap(text, room).join(&hang));
                } else if *right {
                    line += &format!("  {:pad$}{style}{text}{style:#}", "");
                } else {
                    line += &format!("  {style}{text}{style:#}{:pad$}", "");
                }
                used += 2 + widths[column];
            }
            self.text += line.trim_end();
            self.text.push('\n');
        }
    }

    /// Rows of cells in full, flush left: after the first column, which names them, those that are wider than their share
    /// of a line are wrapped, also within a word.
    pub(super) fn side_by_side(&mut self, rows: &[Vec<Cell>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
        let widest = |column| cells(column).map(|cell| cell.text.chars().count()).max().unwrap_or(0);
        let room = width().saturating_sub(2 * columns);
        let names = widest(0).min(room / 2);
        let values: Vec<usize> = (1..columns).map(widest).collect();
        let widths: Vec<usize> = std::iter::once(names).chain(shares(&values, room - names)).collect();
        for row in rows {
            let folded: Vec<Vec<String>> =
                row.iter().zip(&widths).map(|(cell, width)| fold(&cell.text, *width)).collect();
            for at in 0..folded.iter().map(Vec::len).max().unwrap_or(0) {
                let mut line = String::new();
                for ((cell, lines), width) in row.iter().zip(&folded).zip(&widths) {
                    let text = lines.get(at).map_or("", String::as_str);
                    let pad = width.saturating_sub(text.chars().count());
                    line += &format!("  {style}{text}{style:#}{:pad$}", "", style = cell.style);
                }
                self.text += line.trim_end();
                self.text.push('\n');
            }
        }
    }

    /// The whole text, with escape codes.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

fn width() -> usize {
    terminal_size::terminal_size().map_or(100, |(columns, _)| usize::from(columns.0)).clamp(60, WIDEST)
}

/// A text from a file as a terminal may see it: control characters could move its cursor or paint over what is true,
/// and marks of direction could turn it round.
pub(super) fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control() || TURNS.contains(&c), " ")
}

/// Unicode's marks that change the direction of what follows.
const TURNS: [char; 12] = [
    '\u{061c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
    '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

/// Longest cell of a column that others follow.
const WIDEST_CELL: usize = 72;

fn clip(text: &str) -> String {
    match text.chars().count() > WIDEST_CELL {
        true => text.chars().take(WIDEST_CELL - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// Narrowest column that is wrapped: a line may be longer where many stand side by side.
const NARROWEST: usize = 16;

/// Widths of columns in so much room: those that need less than an equal share get what they need, the others share the rest.
fn shares(needed: &[usize], room: usize) -> Vec<usize> {
    let mut most = 0;
    loop {
        let wide = needed.iter().filter(|width| **width > most).count();
        let rest = room.saturating_sub(needed.iter().filter(|width| **width <= most).sum());
        let share = rest.checked_div(wide).map_or(most, |share| share.max(NARROWEST));
        if share <= most {
            return needed.iter().map(|width| (*width).min(most.max(NARROWEST))).collect();
        }
        most = share;
    }
}

/// Breaks at spaces; words that are longer than a line at their commas, else wherever the line ends.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    for line in wrap(text, width) {
        let chars: Vec<char> = line.chars().collect();
        let mut rest = chars.as_slice();
        while rest.len() > width.max(1) {
            let (most, _) = rest.split_at(width.max(1));
            let cut = most.iter().rposition(|c| *c == ',').map_or(most.len(), |comma| comma + 1);
            let (piece, left) = rest.split_at(cut);
            pieces.push(piece.iter().collect());
            rest = left;
        }
        pieces.push(rest.iter().collect());
    }
    pieces
}

/// Breaks at spaces; a word longer than a line stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let len = word.chars().count();
        if used > 0 && used + 1 + len > width {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += len;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_wider_than_a_line() {
        let mut page = Page::default();
        page.table(&[vec![Cell::left("k".repeat(70_000)), Cell::right("9".repeat(70_000)), Cell::left("v")]]);
        let plain = anstream::adapter::strip_str(&page.into_text()).to_string();
        assert!(plain.chars().count() < 200 && plain.ends_with("…  v\n"), "{plain}");
    }

    #[test]
    fn columns_align_and_sentences_wrap() {
        let mut page = Page::default();
        page.table(&[
            vec![Cell::left("a"), Cell::right("1.00 GiB"), Cell::left("x ".repeat(60).trim())],
            vec![Cell::left("long name"), Cell::right("2 B"), Cell::left("y")],
        ]);
        let plain = anstream::adapter::strip_str(&page.into_text()).to_string();
        let lines: Vec<_> = plain.lines().collect();
        assert_eq!(lines.len(), 3, "{plain}");
        assert!(lines[0].starts_with("  a          1.00 GiB  x x"), "{plain}");
        assert!(lines[1].starts_with(&" ".repeat(23)), "{plain}");
        assert_eq!(lines[2], "  long name       2 B  y");
    }

    #[test]
    fn columns_share_a_line() {
        assert_eq!(shares(&[10, 20], 100), [10, 20]);
        assert_eq!(shares(&[10, 200, 30], 100), [10, 60, 30]);
        assert_eq!(shares(&[300, 200], 100), [50, 50]);
        assert_eq!(shares(&[30; 10], 100), [16; 10]);
        assert_eq!(fold("aa bbbbbbbb c [12,34]", 4), ["aa", "bbbb", "bbbb", "c", "[12,", "34]"]);
        let mut page = Page::default();
        let long = "v".repeat(150);
        page.side_by_side(&[vec![Cell::left("k"), Cell::left(long.clone()), Cell::left("w")]]);
        let plain = anstream::adapter::strip_str(&page.into_text()).to_string();
        assert_eq!(plain.matches('v').count(), 150, "{plain}");
        assert!(
            plain.lines().next().is_some_and(|line| line.starts_with("  k  vvv") && line.ends_with("v  w")),
            "{plain}"
        );
    }

    #[test]
    fn what_a_file_says_does_not_steer_the_terminal() {
        let mut page = Page::default();
        page.line(Style::new(), "a\x1b[2Jb");
        page.sentences(2, Style::new(), "c\rd\u{9b}e");
        page.table(&[vec![Cell::left("f\ng"), Cell::right("h\x1b]0;x\x07")]]);
        assert!(!page.into_text().contains(['\x1b', '\r', '\u{9b}', '\x07']));
    }

    #[test]
    fn words_longer_than_a_line_stay_whole() {
        assert_eq!(wrap("aa bbbbbbbb c", 4), ["aa", "bbbbbbbb", "c"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
