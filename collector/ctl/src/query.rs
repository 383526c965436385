//! `query`: SQL over what the collector has, as a table, as JSON or as CSV.
//!
//! # Invariants
//!
//! - Rows are printed as they come; a table holds at most [`WIDE`] of them back, to know how wide its columns are.
//! - Text of hosts is escaped on a terminal, and cannot begin a formula in CSV.

use std::io::{self, IsTerminal, Read, Write};

use picket_proto::v1;
use picket_proto::v1::query_cell::Value as Cell;
use picket_proto::v1::query_reply::Reply;
use serde_json::{Map, Value};

use crate::cli::QueryArgs;
use crate::client::{self, Collector, QUERY};
use crate::failure::{Exit, Failure};
use crate::operator::Operator;
use crate::output::{Output, note};
use crate::table::Widths;
use crate::unread;

/// `query`.
pub(crate) async fn run(operator: &Operator, args: QueryArgs) -> Result<(), Failure> {
    let limit = args.limit;
    let form = match (args.json, args.csv) {
        (true, _) => Form::Json,
        (_, true) => Form::Csv,
        _ => Form::Table(Widths::default()),
    };
    let sql = if args.sql == "-" {
        from_stdin()?
    } else {
        args.sql
    };
    let request = v1::QueryRequest { sql, limit };
    let stream = Collector::open(operator).await?.query(request).await;
    let mut stream = stream.map_err(with_hint)?;
    let mut printer = Printer::new(form);
    while let Some(reply) = client::next(&mut stream, QUERY).await.map_err(|failure| {
        printer.progress.clear();
        with_hint(failure)
    })? {
        match reply.reply {
            Some(Reply::Columns(columns)) => printer.columns(columns.names)?,
            Some(Reply::Rows(rows)) => printer.rows(rows.rows)?,
            Some(Reply::Progress(progress)) => printer.progress.show(progress.events),
            Some(Reply::End(end)) => return printer.end(&end),
            Some(Reply::Failure(_)) | None => {}
        }
    }
    printer.progress.clear();
    Err(Failure::new(
        Exit::Failed,
        "failed to answer the query: the answer ended early",
    ))
}

fn from_stdin() -> Result<String, Failure> {
    let mut sql = String::new();
    let read = io::stdin()
        .lock()
        .take(LONGEST_SQL)
        .read_to_string(&mut sql);
    read.map_err(|source| Failure::new(Exit::Failed, source))?;
    Ok(sql)
}

fn with_hint(failure: Failure) -> Failure {
    if failure.is_usage() {
        return failure.hint(
            "tables: picketctl query 'SELECT * FROM tables'; columns: picketctl query \"SELECT name, type, meaning FROM columns WHERE table_name = 'process'\"",
        );
    }
    if failure.says("query_bounds") {
        return failure.hint("narrow it by time, host or kind, or have the collector's owner raise [query] in its configuration");
    }
    failure
}

enum Form {
    Table(Widths),
    Json,
    Csv,
}

struct Printer {
    out: Output,
    form: Form,
    names: Vec<String>,
    /// Rows of a table whose widths are not settled.
    held: Vec<Vec<String>>,
    progress: Progress,
}

impl Printer {
    fn new(form: Form) -> Self {
        Self {
            out: Output::stdout(),
            form,
            names: Vec::new(),
            held: Vec::new(),
            progress: Progress::of_stderr(),
        }
    }

    fn columns(&mut self, names: Vec<String>) -> Result<(), Failure> {
        self.names = told_apart(names);
        match &self.form {
            Form::Csv => {
                let names = self.names.iter().map(|name| csv_text(name));
                self.out.csv(&names.collect::<Vec<_>>().join(","))
            }
            Form::Table(_) => {
                self.held.push(self.names.clone());
                Ok(())
            }
            Form::Json => Ok(()),
        }
    }

    fn rows(&mut self, rows: Vec<v1::QueryRow>) -> Result<(), Failure> {
        self.progress.clear();
        for row in rows {
            match &mut self.form {
                Form::Json => self.out.json(&json_row(&self.names, row))?,
                Form::Csv => {
                    let cells = row.cells.into_iter().map(csv_cell);
                    self.out.csv(&cells.collect::<Vec<_>>().join(","))?;
                }
                Form::Table(_) => self.held.push(row.cells.into_iter().map(shown).collect()),
            }
        }
        if self.held.len() > WIDE {
            self.print_held()?;
        }
        self.out.flush()
    }

    fn print_held(&mut self) -> Result<(), Failure> {
        if let Form::Table(widths) = &mut self.form {
            let held = std::mem::take(&mut self.held);
            widths.settle(&held);
            for row in &held {
                self.out.line(&widths.line(row))?;
            }
        }
        Ok(())
    }

    fn end(mut self, end: &v1::QueryEnd) -> Result<(), Failure> {
        self.progress.clear();
        self.print_held()?;
        self.out.flush()?;
        if end.cut {
            note(&format!(
                "these are the first {} rows of more; --limit N shows more",
                end.rows
            ));
        }
        unread::end(&end.unread)
    }
}

/// How many events were looked at, on a terminal, until there is something better to show.
struct Progress {
    on: bool,
    shown: bool,
}

impl Progress {
    fn of_stderr() -> Self {
        Self {
            on: io::stderr().is_terminal(),
            shown: false,
        }
    }

    fn show(&mut self, events: u64) {
        if self.on {
            let unheard = write!(io::stderr().lock(), "\r{events} events looked at");
            drop(unheard);
            self.shown = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let unheard = write!(io::stderr().lock(), "\r{:40}\r", "");
            drop(unheard);
        }
    }
}

/// Columns of the same name get a number, so that no value hides another.
fn told_apart(names: Vec<String>) -> Vec<String> {
    let mut apart: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let mut new = name.clone();
        let mut number = 2;
        while apart.contains(&new) {
            new = format!("{name}_{number}");
            number += 1;
        }
        apart.push(new);
    }
    apart
}

fn json_row(names: &[String], row: v1::QueryRow) -> Value {
    let cells = row.cells.into_iter().map(|cell| match cell.value {
        None => Value::Null,
        Some(Cell::Integer(integer)) => integer.into(),
        Some(Cell::Real(real)) => real.into(),
        Some(Cell::Text(text)) => text.into(),
        Some(Cell::Blob(blob)) => hex::encode(blob).into(),
    });
    let pairs = names.iter().cloned().zip(cells);
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn shown(cell: v1::QueryCell) -> String {
    match cell.value {
        None => String::new(),
        Some(Cell::Text(text)) => text,
        Some(Cell::Integer(integer)) => integer.to_string(),
        Some(Cell::Real(real)) => real.to_string(),
        Some(Cell::Blob(blob)) => hex::encode(blob),
    }
}

fn csv_cell(cell: v1::QueryCell) -> String {
    match cell.value {
        Some(Cell::Text(text)) => csv_text(&text),
        other => shown(v1::QueryCell { value: other }),
    }
}

/// As RFC 4180 has it. What a spreadsheet would take for a formula gets an apostrophe before it.
fn csv_text(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let before = if formula { "'" } else { "" };
    let quoted = text.is_empty() || text.contains([',', '"', '\n', '\r']);
    if !quoted {
        return format!("{before}{text}");
    }
    format!("\"{before}{}\"", text.replace('"', "\"\""))
}

/// Rows after which a table's columns keep their widths.
const WIDE: usize = 1_000;

/// In bytes; the collector takes no longer one.
const LONGEST_SQL: u64 = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_what_needs_it_and_starts_no_formula() {
        assert_eq!(csv_text("a b"), "a b");
        assert_eq!(csv_text("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
        assert_eq!(csv_text("=cmd|' /C calc'!A0"), "'=cmd|' /C calc'!A0");
        assert_eq!(csv_text(""), "\"\"");
        assert_eq!(csv_cell(v1::QueryCell { value: None }), "");
        let minus = Some(Cell::Integer(-5));
        assert_eq!(csv_cell(v1::QueryCell { value: minus }), "-5");
    }

    #[test]
    fn columns_of_one_name_are_told_apart() {
        let names = ["n", "n", "n_2", "n"].map(str::to_owned).to_vec();
        assert_eq!(told_apart(names), ["n", "n_2", "n_2_2", "n_3"]);
    }
}
