//! Aligned columns for people.
//!
//! # Invariants
//!
//! - Every cell is escaped here, so no text of a host reaches the terminal as it came.
//! - A row is one line, whatever its cells hold.

use picket_event::Text;

/// A table with a heading, printed once it is complete.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let heading = headings.iter().map(|text| (*text).to_owned()).collect();
        Self {
            rows: vec![heading],
        }
    }

    /// Adds a row; each cell is cut to [`CELL`] characters.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows
            .push(cells.iter().map(|cell| shown(cell)).collect());
    }

    /// Its lines, the heading first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        self.rows.iter().map(|row| aligned(row, &widths)).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

/// Columns whose number is known only when they come. The last is never cut.
#[derive(Debug, Default)]
pub(crate) struct Widths(Vec<usize>);

impl Widths {
    /// Makes the columns as wide as these rows need, where they are not wider already.
    pub(crate) fn settle(&mut self, rows: &[Vec<String>]) {
        for row in rows {
            self.0.resize(self.0.len().max(row.len()), 0);
            for (width, cell) in self.0.iter_mut().zip(row) {
                *width = (*width).max(shown(cell).chars().count());
            }
        }
    }

    /// A row as a line.
    pub(crate) fn line(&self, row: &[String]) -> String {
        let last = row.len().saturating_sub(1);
        let cells = row.iter().enumerate().map(|(at, cell)| {
            if at == last && !cell.is_empty() {
                Text::from(cell.as_str()).for_terminal()
            } else {
                shown(cell)
            }
        });
        aligned(&cells.collect::<Vec<_>>(), &self.0)
    }
}

/// Text of a host for one place on a line: escaped, and cut to `most` characters with `…`.
pub(crate) fn cut(text: &Text, most: usize) -> String {
    let escaped = text.for_terminal();
    match escaped.char_indices().nth(most) {
        None => escaped,
        Some((end, _)) => format!("{}…", escaped.get(..end).unwrap_or_default()),
    }
}

fn shown(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    cut(&Text::from(cell), CELL)
}

fn aligned(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths);
    let padded: Vec<String> = cells
        .map(|(cell, width)| format!("{cell:<width$}"))
        .collect();
    padded.join("  ").trim_end().to_owned()
}

/// Widest cell, in characters.
const CELL: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["HOST", "LINK"]);
        table.row(["web-1".to_owned(), "up".to_owned()]);
        table.row([String::new(), "down".to_owned()]);
        assert_eq!(table.lines(), ["HOST   LINK", "web-1  up", "-      down"]);
    }

    #[test]
    fn a_hostile_name_stays_in_its_cell() {
        let mut table = Table::new(&["HOST"]);
        table.row(["\u{1b}]0;pwned\u{7}\nroot  up \u{202e}".to_owned()]);
        let lines = table.lines();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], "\\u{1b}]0;pwned\\u{7}\\nroot  up \\u{202e}");
    }

    #[test]
    fn a_long_cell_is_cut_where_it_can_be_seen() {
        let mut table = Table::new(&["A"]);
        table.row(["é".repeat(500)]);
        assert_eq!(table.lines()[1], format!("{}…", "é".repeat(CELL)));
    }
}
