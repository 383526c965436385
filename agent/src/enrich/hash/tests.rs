//! What a hash stands for, and what it does not.

use super::*;

fn read(job: &HashJob) -> HashDone {
    hash(job, &mut HashCache::default())
}

fn job(id: JobId, exe: &Path) -> HashJob {
    HashJob::executable(id, u32::MAX, Text::from(exe.to_str().unwrap()))
}

#[test]
fn a_file_in_the_state_that_the_sensor_saw_has_a_hash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, b"abc").unwrap();
    let key = FileKey::of(&std::fs::metadata(&path).unwrap());
    settle();
    let done = read(&job(JobId::File(key), &path));
    assert_eq!(done.hashed.sha256, Some(Digest::of(b"abc")));
    assert_eq!(
        (done.hashed.status, done.key),
        (Some(HashStatus::Ok), Some(key))
    );
}

#[test]
fn a_file_that_changed_since_is_raced_and_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, b"abc").unwrap();
    let key = FileKey::of(&std::fs::metadata(&path).unwrap());
    std::fs::write(&path, b"abcd").unwrap();
    let done = read(&job(JobId::File(key), &path));
    assert_eq!(
        (done.hashed.status, done.hashed.sha256),
        (Some(HashStatus::Raced), None)
    );
    assert_eq!(done.key, None);
}

#[test]
fn a_name_alone_is_not_believed_and_a_device_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, b"abc").unwrap();
    let id = JobId::Process(ProcessUid::new([0; 16]));
    let anything = job(id, &path);
    assert_eq!(read(&anything).hashed.status, Some(HashStatus::Gone));
    assert!(hash_file(Path::new("/dev/zero"), &anything).is_err());
    assert!(hash_file(dir.path(), &anything).is_err());
}

#[test]
fn a_running_process_is_hashed_by_what_it_runs() {
    let own = std::env::current_exe().unwrap();
    let id = JobId::Process(ProcessUid::new([0; 16]));
    let job = HashJob::executable(id, std::process::id(), Text::from("/nonexistent"));
    let expected = Digest::of(&std::fs::read(own).unwrap());
    assert_eq!(read(&job).hashed.sha256, Some(expected));
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_asked_for() {
    let mut cache = HashCache::default();
    let key = |inode| FileKey {
        dev: 1,
        inode,
        size: 1,
        mtime_ns: 1,
        ctime_ns: 1,
    };
    let hashed = Hashed::without(HashStatus::Ok);
    cache.insert(key(0), hashed);
    for inode in 1..50_000 {
        cache.insert(key(inode), hashed);
        assert!(cache.get(&key(0)).is_some());
        assert!(cache.young.len() + cache.old.len() <= MAX_CACHED + 1);
    }
    assert!(cache.get(&key(1)).is_none());
}

/// Lets the file become older than a tick of the kernel's clock.
fn settle() {
    std::thread::park_timeout(std::time::Duration::from_millis(25));
}

fn written(id: JobId, path: &Path, named: Option<i64>) -> HashJob {
    HashJob {
        named: named.map(UnixNanos),
        max_bytes: 100,
        ..job(id, path)
    }
}

#[test]
fn a_file_that_has_just_changed_has_a_hash_that_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, b"abc").unwrap();
    let key = FileKey::of(&std::fs::metadata(&path).unwrap());
    let done = read(&written(JobId::Written(key), &path, None));
    assert_eq!(done.hashed, Hashed::ok(Digest::of(b"abc")));
    assert_eq!(done.key, None, "a write in the same tick would not show");
}

#[test]
fn a_written_file_is_not_looked_for_behind_a_link_and_not_beyond_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("x"), dir.path().join("l"));
    std::fs::write(&path, [7; 101]).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let key = FileKey::of(&std::fs::metadata(&path).unwrap());
    let status = |path: &Path| {
        read(&written(JobId::Written(key), path, None))
            .hashed
            .status
    };
    assert_eq!(status(&path), Some(HashStatus::TooLarge));
    assert_eq!(status(&link), Some(HashStatus::Gone));
}

#[test]
fn a_new_name_is_hashed_only_if_the_file_changed_with_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    std::fs::write(&old, b"abc").unwrap();
    settle();
    std::fs::rename(&old, &new).unwrap();
    let changed = FileKey::of(&std::fs::metadata(&new).unwrap())
        .ctime_ns
        .cast_signed();
    let at = |moment| read(&written(JobId::Named(1), &new, Some(moment))).hashed;
    assert_eq!(at(changed + 1_000), Hashed::ok(Digest::of(b"abc")));
    let raced = Hashed::without(HashStatus::Raced);
    assert_eq!(at(changed - 2 * CLOCK_NS), raced, "changed after the event");
    assert_eq!(
        at(changed + 3 * RENAME_NS),
        raced,
        "another file of that name"
    );
}

#[test]
fn a_folder_or_a_link_that_was_renamed_has_no_hash_and_no_excuse() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("l");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    for path in [dir.path(), &link] {
        let done = read(&written(
            JobId::Named(1),
            path,
            Some(now_ns().cast_signed()),
        ));
        assert_eq!((done.hashed.sha256, done.hashed.status), (None, None));
    }
}

#[test]
fn a_script_is_hashed_once_per_state_and_raced_if_it_changed_after_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script");
    std::fs::write(&path, b"echo one").unwrap();
    settle();
    let started = |moment: u64| HashJob {
        named: Some(UnixNanos(moment.cast_signed())),
        ..job(JobId::Script(1), &path)
    };
    let mut known = HashCache::default();
    let first = hash(&started(now_ns()), &mut known);
    let hashed = Hashed::ok(Digest::of(b"echo one"));
    assert_eq!((first.hashed, first.bytes), (hashed, 8));
    let key = FileKey::of(&std::fs::metadata(&path).unwrap());
    assert_eq!(known.get(&key), Some(hashed));
    // What is remembered is what is answered, so the file was not read again.
    let marked = Hashed::ok(Digest::of(b"remembered"));
    known.insert(key, marked);
    assert_eq!(hash(&started(now_ns()), &mut known).hashed, marked);
    let before = now_ns();
    settle();
    std::fs::write(&path, b"echo two").unwrap();
    let raced = Hashed::without(HashStatus::Raced);
    assert_eq!(hash(&started(before), &mut known).hashed, raced);
}
