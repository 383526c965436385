//! What events are told of the time before them, and how the baseline is kept.

use picket_event::{Detail, Namespaces, Process, ProcessUid};

use super::*;

const MODE: u32 = 0o100_644;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn known(text: &str) -> Known {
    Known {
        state: None,
        sha256: Some(digest(text)),
        mode: MODE,
        uid: 1,
        gid: 2,
    }
}

/// A baseline of `/watched` in which some files are known by a text.
fn baseline(files: &[(&str, &str)]) -> SharedBaseline {
    let baseline = Baseline::new(Set::new(&["/watched"]));
    for (path, text) in files {
        lock(&baseline).insert(Text::from(*path), known(text));
    }
    baseline
}

fn written(path: &str, text: &str) -> File {
    File {
        path: Text::from(path),
        mode: Some(MODE),
        sha256_after: Some(digest(text)),
        hash_status: Some(HashStatus::Ok),
        ..File::default()
    }
}

fn told(baseline: &SharedBaseline, kind: Kind, file: File) -> File {
    let mut event = Event::new(kind, UnixNanos(1), Source::Ebpf).with(Detail::File(file));
    note(baseline, &mut event);
    event.file().unwrap().clone()
}

#[test]
fn each_change_has_what_was_before_it() {
    let baseline = baseline(&[("/watched/a", "one"), ("/watched/b", "other")]);
    let before = |kind, file| told(&baseline, kind, file).sha256_before;
    let modified = before(Kind::FileModify, written("/watched/a", "two"));
    assert_eq!(modified, Some(digest("one")));
    let modified = before(Kind::FileModify, written("/watched/a", "three"));
    assert_eq!(modified, Some(digest("two")), "that of the earlier event");
    let mut renamed = written("/watched/a", "three");
    renamed.new_path = Text::from("/watched/b");
    let over = before(Kind::FileRename, renamed);
    assert_eq!(over, Some(digest("other")), "what it took the place of");
    let removed = before(Kind::FileDelete, written("/watched/b", ""));
    assert_eq!(removed, Some(digest("three")));
    assert_eq!(before(Kind::FileDelete, written("/watched/a", "")), None);

    let mut late = written("/watched/c", "");
    (late.sha256_after, late.hash_status) = (None, Some(HashStatus::Late));
    assert_eq!(before(Kind::FileCreate, late), None);
    let after = before(Kind::FileModify, written("/watched/c", "four"));
    assert_eq!(after, None, "what was not read is not known");
    let again: Vec<_> = lock(&baseline).again.iter().cloned().collect();
    assert!(again.contains(&(Text::from("/watched/c"), true)));
}

#[test]
fn a_change_of_mode_has_the_mode_before() {
    let baseline = baseline(&[("/watched/a", "one")]);
    let mode = |mode| File {
        path: Text::from("/watched/a"),
        change: "mode".to_owned(),
        mode: Some(mode),
        ..File::default()
    };
    assert_eq!(
        told(&baseline, Kind::FileAttr, mode(0o600)).mode_before,
        Some(MODE)
    );
    let second = told(&baseline, Kind::FileAttr, mode(0o100_755));
    assert_eq!(second.mode_before, Some(0o100_600));
}

#[test]
fn other_files_and_files_of_other_mounts_are_left_alone() {
    let baseline = baseline(&[("/watched/a", "one")]);
    let other = told(&baseline, Kind::FileModify, written("/watch", "x"));
    assert_eq!(other.sha256_before, None);
    assert!(lock(&baseline).again.is_empty());

    let mut process = Process::new(ProcessUid::new([1; 16]), 1);
    process.ns = Some(Namespaces {
        mnt: 1,
        ..Namespaces::default()
    });
    let file = written("/watched/a", "of a container");
    let mut event = Event::new(Kind::FileModify, UnixNanos(1), Source::Ebpf)
        .by(process)
        .with(Detail::File(file));
    note(&baseline, &mut event);
    assert_eq!(event.file().unwrap().sha256_before, None);
    let path = Text::from("/watched/a");
    assert_eq!(lock(&baseline).files[&path], known("one"));
    assert_eq!(
        lock(&baseline).again,
        [(path, true)],
        "ours may be the same file"
    );
}

#[test]
fn a_star_is_any_one_name_and_a_link_is_known_by_what_it_stands_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let path = |rest: &str| root.join(rest);
    for name in ["a", "b"] {
        std::fs::create_dir_all(path(&format!("home/{name}/.ssh"))).unwrap();
        std::fs::write(path(&format!("home/{name}/.ssh/keys")), name).unwrap();
    }
    std::os::unix::fs::symlink(path("home"), path("link")).unwrap();
    let text = |rest: &str| Text::from(path(rest).to_str().unwrap());
    let set = Set::new(&[path("home/*/.ssh/keys"), path("link/a")]);
    assert_eq!(
        set.name(&text("home/a/.ssh/keys")),
        Some(text("home/a/.ssh/keys"))
    );
    assert_eq!(set.name(&text("link/a/x")), Some(text("home/a/x")));
    assert_eq!(set.name(&text("home/b/.ssh/other")), None);
    assert_eq!(set.name(&text("home/.ssh/keys")), None);
    assert_eq!(set.name(&Text::from("home/a/.ssh/keys")), None);
    let mut walked = Vec::new();
    set.walk(&mut |path| {
        walked.push(Text::from(path.to_str().unwrap()));
        true
    });
    walked.dedup();
    walked.sort();
    assert!(
        walked.contains(&text("home/a/.ssh/keys")) && walked.contains(&text("home/b/.ssh/keys"))
    );
}

#[test]
fn a_path_is_meant_by_the_first_that_means_it_whatever_it_begins_with() {
    let set = Set::new(&["/nowhere/a", "/*/b", "/nowhere/c", "/elsewhere"]);
    let name = |path: &str| set.name(&Text::from(path));
    for meant in [
        "/nowhere/a",
        "/nowhere/b/x",
        "/any/b",
        "/nowhere/c/d",
        "/elsewhere",
    ] {
        assert_eq!(name(meant), Some(Text::from(meant)));
    }
    for other in [
        "/nowhere",
        "/nowhere/ab",
        "/any/c",
        "/elsewher",
        "/elsewhere2",
        "/",
        "elsewhere",
        "",
    ] {
        assert_eq!(name(other), None, "{other}");
    }
    assert_eq!(
        Set::new(&["/"]).name(&Text::from("/any")),
        Some(Text::from("/any"))
    );
}

/// Some files with and without state and hash.
fn kept() -> HashMap<Text, Known> {
    let state = FileKey {
        dev: 1,
        inode: 2,
        size: 3,
        mtime_ns: 4,
        ctime_ns: 5,
    };
    let read = Known {
        state: Some(state),
        ..known("read")
    };
    let large = Known {
        sha256: None,
        ..read.clone()
    };
    let files = [("/a", read), ("/b", large), ("/\u{fc}", known("told"))];
    files.map(|(path, known)| (Text::from(path), known)).into()
}

#[test]
fn what_is_kept_is_read_back_and_a_flipped_or_torn_byte_is_refused() {
    let bytes = disk::encode(&kept(), UnixNanos(-7));
    assert_eq!(disk::decode(&bytes), Ok((kept(), UnixNanos(-7))));
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        assert!(disk::decode(&flipped).is_err(), "byte {place}");
        assert!(disk::decode(&bytes[..place]).is_err(), "{place} bytes");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_break_the_reader(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        summed in proptest::bool::ANY,
        headed in proptest::bool::ANY,
    ) {
        let mut content = if headed { b"picket-baseline-1\n".to_vec() } else { Vec::new() };
        content.extend(bytes);
        if summed {
            let sum = Digest::of(&content);
            content.extend_from_slice(sum.as_bytes());
        }
        if let Ok((files, built)) = disk::decode(&content) {
            // An order of its own, and nothing else, may differ.
            proptest::prop_assert_eq!(disk::encode(&files, built).len(), content.len());
        }
    }
}
