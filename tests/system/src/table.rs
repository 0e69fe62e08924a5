//! Columns of text that line up.

/// Rows of cells; the first column is left-aligned, the others are figures.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()] }
    }

    /// One more row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table, each line ended.
    #[must_use]
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        self.rows.iter().map(|row| line(row, &widths)).collect()
    }
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, &width))| {
        if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    });
    format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
}

/// Bytes as MiB with one digit.
#[must_use]
pub fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// Bytes per second as MiB/s; a dash when no time went by.
#[must_use]
pub fn rate(bytes: u64, seconds: f64) -> String {
    if seconds > 0.0 {
        format!("{:.0}", bytes as f64 / f64::from(1 << 20) / seconds)
    } else {
        "-".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_right_aligned() {
        let mut table = Table::new(&["STEP", "MiB"]);
        table.row(["full".to_owned(), mib(1536 << 10)]);
        table.row(["incremental".to_owned(), mib(0)]);
        assert_eq!(table.text(), "STEP         MiB\nfull         1.5\nincremental  0.0\n");
        assert_eq!(rate(10 << 20, 2.0), "5");
        assert_eq!(rate(1, 0.0), "-");
    }
}
