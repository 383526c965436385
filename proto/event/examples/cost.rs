//! What one event costs in each form: `cargo run --release -p picket-event --example cost -- FILE`
//!
//! The file has events as `picket-agent watch --json` prints them. They go round again and again;
//! printed are microseconds and bytes per event of the best round. The figures depend on the build
//! profile.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::hint::black_box;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use picket_event::{BootId, Event, Origin, json, ocsf};
use picket_proto::v1;
use prost::Message;

/// Events are put in each form in rounds; the best one is shown.
const ROUNDS: usize = 200;

fn main() -> io::Result<()> {
    let path = env::args_os().nth(1).ok_or(io::ErrorKind::InvalidInput)?;
    let text = fs::read_to_string(path)?;
    let lines: Vec<&str> = text.lines().collect();
    let read = |line: &&str| json::from_str(line).map(|line| line.event);
    let events: Vec<Event> = lines
        .iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)?;
    let origin = Origin {
        host: None,
        boot: BootId::new([0; 16]),
    };
    println!("{} events of {} bytes", events.len(), size_of::<Event>());
    show("JSON", &events, |event| {
        json::to_string(event, &origin).len()
    });
    show("from JSON", &lines, |line| {
        usize::from(read(line).is_ok()) * line.len()
    });
    show("OCSF", &events, |event| {
        ocsf::to_string(event, &origin, None).len()
    });
    show("copy", &events, |event| size_of_val(&event.clone()));
    show("wire", &events, |event| {
        v1::Event::from(event.clone()).encode_to_vec().len()
    });
    Ok(())
}

fn show<T>(form: &str, items: &[T], put: impl Fn(&T) -> usize) {
    let (mut best, mut bytes) = (Duration::MAX, 0);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        bytes = items.iter().map(|item| black_box(put(item))).sum();
        best = best.min(start.elapsed());
    }
    let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
    let each = best.as_secs_f64() * 1e6 / f64::from(count);
    let size = bytes / items.len().max(1);
    println!("{form:<10} {each:>8.2} us {size:>7} bytes");
}
