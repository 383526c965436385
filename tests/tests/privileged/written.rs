//! Written files have the hash of what was written, or the reason why not.

use std::path::Path;
use std::time::Duration;

use picket_tests::rig::PATIENCE;
use picket_tests::service::Service;
use picket_tests::{wait, watch};
use serde_json::Value;

/// SHA-256 of `abc`, as FIPS 180-4 gives it.
const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// SHA-256 of nothing.
const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn a_file_that_is_made_written_and_renamed_has_its_hash_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut watch) = watched(folder.path(), "") else {
        return;
    };
    let pause = Duration::from_millis(300);
    act(folder.path(), ": > a");
    wait::pause(pause);
    act(folder.path(), "printf abc > a");
    wait::pause(pause);
    act(folder.path(), "mv a b");
    let renamed = file_event(&mut watch, "file_rename", "/a");
    assert_eq!(hash(&renamed), (OF_ABC.to_owned(), "ok".to_owned()));
    let modified = file_event(&mut watch, "file_modify", "/a");
    assert_eq!(hash(&modified), (OF_ABC.to_owned(), "ok".to_owned()));
    let created = file_event(&mut watch, "file_create", "/a");
    assert_eq!(hash(&created), (OF_NOTHING.to_owned(), "ok".to_owned()));
    watch.stop(PATIENCE).unwrap();
}

#[test]
fn a_file_that_is_gone_or_too_large_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut watch) = watched(folder.path(), "hash_file_bytes = 100\n") else {
        return;
    };
    act(folder.path(), "printf abc > short; rm short");
    act(folder.path(), "printf '%200s' x > large");
    let large = file_event(&mut watch, "file_modify", "/large");
    assert_eq!(hash(&large), (String::new(), "too_large".to_owned()));
    let short = file_event(&mut watch, "file_modify", "/short");
    assert_eq!(hash(&short), (String::new(), "gone".to_owned()));
    watch.stop(PATIENCE).unwrap();
}

/// The agent, watching one folder with the kernel sensor.
fn watched(folder: &Path, more: &str) -> Option<Service> {
    let started = watch::folder(&folder.canonicalize().unwrap(), more).unwrap();
    started
        .inspect_err(|said| eprintln!("SKIPPED: no kernel sensor here: {said}"))
        .ok()
}

fn act(folder: &Path, script: &str) {
    watch::shell(folder, script).unwrap();
}

fn file_event(watch: &mut Service, kind: &str, name: &str) -> Value {
    let found = watch.line(PATIENCE, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let path = event["file"]["path"].as_str()?;
        (event["kind"] == kind && path.ends_with(name)).then_some(event)
    });
    found.unwrap()
}

fn hash(event: &Value) -> (String, String) {
    let text = |name: &str| event["file"][name].as_str().unwrap_or_default().to_owned();
    (text("sha256_after"), text("hash_status"))
}
