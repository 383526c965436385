//! A recording of a small shell script, made with `Settings::recording` and cut down to its processes.

use picket_event::{BootId, Detail, Exit, Text};

use super::*;

const RECORDING: &[u8] = include_bytes!("recording.bin");

fn settings() -> Settings {
    Settings::new(BootId::new([7; 16]))
}

#[test]
fn a_recording_gives_the_story_it_was_made_of() {
    let events = events(&settings(), RECORDING);
    let story: Vec<String> = events
        .iter()
        .map(|event| {
            let process = event.process.as_ref().unwrap();
            let what = match &event.detail {
                Some(Detail::File(file)) => format!("{:?} {:?}", file.path, file.new_path),
                Some(Detail::Memfd(memfd)) => format!("{:?}", memfd.name),
                Some(Detail::Network(network)) => format!("{}", network.remote_ip.unwrap()),
                Some(Detail::Exit(Exit { code, .. })) => format!("{code:?}"),
                Some(Detail::Fork(_)) => String::new(),
                _ => format!("{:?} {}", process.exe, process.argc),
            };
            format!("{} {}", event.kind, what)
        })
        .collect();
    assert_eq!(story, STORY);
}

#[test]
fn arguments_in_a_recording_are_the_bytes_that_were_given() {
    let events = events(&settings(), RECORDING);
    let process = events[8].process.as_ref().unwrap();
    let argv: Vec<&[u8]> = process.argv.iter().map(Text::as_bytes).collect();
    assert_eq!(argv, [&b"/bin/true"[..], b"", b"two\nlines", b"\xff"]);
    let names: Vec<&[u8]> = process.env.iter().map(|var| var.name.as_bytes()).collect();
    assert_eq!(names, [&b"LD_LIBRARY_PATH"[..], b"PATH"]);
    assert_eq!(process.cwd.as_bytes(), b"/tmp/story");
}

#[test]
fn a_recording_that_ends_in_the_middle_gives_what_is_whole() {
    let whole = events(&settings(), RECORDING).len();
    for end in (0..RECORDING.len()).step_by(7) {
        let part = &RECORDING[..end];
        assert!(events(&settings(), part).len() <= whole);
    }
}

#[test]
fn a_recording_with_flipped_bytes_never_panics() {
    for at in 0..RECORDING.len().min(4_000) {
        let mut bytes = RECORDING.to_vec();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 0xff;
        }
        events(&settings(), &bytes);
    }
}

const STORY: &[&str] = &[
    "exec \"/usr/bin/python3.11\" 3",
    "memfd \"dropper\"",
    "file_open \"/tmp/story/.ssh/id_ed25519\" \"\"",
    "file_create \"/tmp/story/a\" \"\"",
    "file_modify \"/tmp/story/a\" \"\"",
    "file_rename \"/tmp/story/a\" \"/tmp/story/b\"",
    "file_delete \"/tmp/story/b\" \"\"",
    "net_connect 127.0.0.1",
    "exec \"/usr/bin/true\" 4",
    "exit Some(0)",
    "exec \"/usr/bin/dash\" 3",
    "exit Some(3)",
];
