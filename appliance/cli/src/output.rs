//! What the user sees: text or one JSON document, and the exit status.

use crate::error::Error;
use serde::Serialize;
use std::io::{self, Write};
use std::process::ExitCode;

/// What a command brought.
pub(crate) struct Outcome {
    /// For people; lines, each ended.
    pub(crate) text: String,
    /// For programs.
    pub(crate) json: serde_json::Value,
    /// False when something that was asked for failed.
    pub(crate) succeeded: bool,
    /// Everything was written already, as it came.
    printed: bool,
}

impl Outcome {
    /// A success, given as text and as a value of the API.
    pub(crate) fn new(text: String, value: &impl Serialize) -> Self {
        let json = serde_json::to_value(value).expect("the API's types are JSON");
        Self { text, json, succeeded: true, printed: false }
    }

    /// The result was too long to be kept, and was written as it came.
    pub(crate) fn printed(succeeded: bool) -> Self {
        let (text, json) = (String::new(), serde_json::Value::Null);
        Self { text, json, succeeded, printed: true }
    }

    pub(crate) fn succeeded(self, succeeded: bool) -> Self {
        Self { succeeded, ..self }
    }
}

/// How the user wants to see it.
#[derive(Clone, Copy)]
pub(crate) struct Show {
    pub(crate) json: bool,
}

impl Show {
    pub(crate) fn outcome(self, outcome: &Outcome) -> ExitCode {
        let written = if outcome.printed {
            Ok(())
        } else if self.json {
            print(&format!("{:#}\n", outcome.json))
        } else {
            print(&outcome.text)
        };
        let succeeded = outcome.succeeded && written.is_ok();
        if let Err(error) = written {
            complain(&format!("holdfast: writing the result: {error}\n"));
        }
        if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    pub(crate) fn error(self, error: &Error) -> ExitCode {
        let problem = error.problem();
        if self.json {
            let text = serde_json::to_string_pretty(&problem).expect("a problem is JSON");
            if let Err(error) = print(&format!("{text}\n")) {
                complain(&format!("holdfast: writing the problem: {error}\n"));
            }
        } else {
            let field = |text: &str| clean(text);
            let mut text = format!("holdfast: {}\n", field(&problem.title));
            for line in [&problem.detail, &problem.next_step] {
                if !line.is_empty() {
                    text.push_str(&format!("  {}\n", field(line)));
                }
            }
            complain(&text);
        }
        ExitCode::from(error.exit_status())
    }
}

/// A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Standard output for a result that is written as it comes.
pub(crate) struct Lines {
    out: io::BufWriter<io::StdoutLock<'static>>,
    /// The reader has seen enough and is gone.
    gone: bool,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self { out: io::BufWriter::new(io::stdout().lock()), gone: false }
    }

    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        self.bytes(text.as_bytes()).map(drop)
    }

    /// False when nobody reads any more.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let written = if self.gone { Ok(()) } else { self.out.write_all(bytes) };
        self.judge(written)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let flushed = if self.gone { Ok(()) } else { self.out.flush() };
        self.judge(flushed).map(drop)
    }

    fn judge(&mut self, written: io::Result<()>) -> io::Result<bool> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.gone = true,
            other => other?,
        }
        Ok(!self.gone)
    }
}

/// Standard error is the last resort: when it is gone, there is nobody to tell.
pub(crate) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Names come from an inventory that others write: no control character reaches the terminal.
pub(crate) fn clean(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
    };
    text.chars().map(escape).collect()
}

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// Bytes for people: three digits or so, and the unit.
pub(crate) fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 99.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Seconds for people: the two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    let (hours, minutes, left) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{left} s"),
        (0, _) => format!("{minutes} min {left} s"),
        _ => format!("{hours} h {minutes} min"),
    }
}

/// Columns of text, padded to the widest cell.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: &'static [usize],
}

impl Table {
    /// `right` are the columns of figures.
    pub(crate) fn new(heads: &[&str], right: &'static [usize]) -> Self {
        Self { rows: vec![heads.iter().map(|&head| head.into()).collect()], right }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    pub(crate) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width_of = |column| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width_of).collect();
        self.rows.iter().map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, &width))| {
            if self.right.contains(&column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_well() {
        let sizes = [0, 1023, 1024, 1 << 20, 102_348 << 10, (1 << 30) * 100, u64::MAX].map(size);
        let wanted = ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "99.9 MiB", "100 GiB", "16384 PiB"];
        assert_eq!(sizes, wanted.map(String::from));
        assert_eq!(
            [5, 65, 3665].map(duration),
            ["5 s", "1 min 5 s", "1 h 1 min"].map(String::from)
        );
    }

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(clean("web\u{1b}[2J\u{9b}01 ü"), "web\\u{1b}[2J\\u{9b}01 ü");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", "SIZE"], &[1]);
        table.row(["a".into(), "1 B".into()]);
        table.row(["long name".into(), "1023 B".into()]);
        assert_eq!(table.text(), "NAME         SIZE\na             1 B\nlong name  1023 B\n");
    }
}
