//! What is found, listed and told, with a kernel of paper: it refuses nothing and remembers what it was told.

use std::fs;
use std::path::PathBuf;
use std::process::{Command as Program, Stdio};
use std::sync::mpsc::{Sender, sync_channel};

use picket_event::command::Action;

use super::super::files::tests::Paper;
use super::super::{Gate, told};
use super::*;
use crate::enrich::hash::Hashed;
use crate::respond::Responder;
use crate::respond::tests::{Ask, Bench, command};

/// A host on which one content is blocked, and a file of it.
struct Scene {
    bench: Bench,
    responder: Responder,
    paper: Paper,
    dir: tempfile::TempDir,
    content: Digest,
}

impl Scene {
    fn set() -> Self {
        let bench = Bench::new();
        let mut responder = bench.responder();
        let paper = Paper::default();
        responder.blocklist().files().arm(Box::new(paper.clone()));
        let dir = tempfile::tempdir().unwrap();
        let content = Digest::of(b"bad content");
        fs::write(dir.path().join("bad"), b"bad content").unwrap();
        responder.ask(&bench.sign(&command(1, Action::BlockHash(content))));
        Self {
            bench,
            responder,
            paper,
            dir,
            content,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn state(&self, name: &str) -> FileKey {
        FileKey::of(&fs::metadata(self.path(name)).unwrap())
    }

    fn text(&self, name: &str) -> Text {
        Text::from(self.path(name).to_str().unwrap())
    }

    fn finder(&self) -> Finder {
        let boot = crate::clock::boot_id();
        let protection = Protection::new(boot, vec![self.path("needed")]);
        Finder::new(self.responder.blocklist(), protection, boot)
    }

    fn gate(&self) -> (Gate, Sender<Refusal>, Receiver<Input>) {
        let teller = self.paper.teller();
        let (inputs, answers) = sync_channel(64);
        let boot = crate::clock::boot_id();
        let protection = Protection::new(boot, Vec::new());
        let gate = Gate::open(self.responder.blocklist(), protection, boot, inputs);
        (gate.unwrap(), teller, answers)
    }

    fn list(&self, name: &str) {
        let file = Listed {
            state: self.state(name),
            sha256: self.content,
            path: self.text(name),
        };
        self.finder().list_file(file);
    }

    fn refusal(&self, name: &str) -> Refusal {
        Refusal {
            file: self.state(name),
            pid: std::process::id(),
            start_ns: 1,
            uid: 0,
            given: self.text(name),
        }
    }

    fn done(&self, name: &str, key: Option<FileKey>) -> HashDone {
        let state = self.state(name);
        HashDone {
            job: JobId::Written(state),
            key,
            state: Some(state),
            path: self.text(name),
            bytes: state.size,
            hashed: Hashed::ok(self.content),
        }
    }
}

fn soon(mut is_so: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        if is_so() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    false
}

#[test]
fn a_file_is_refused_once_its_content_was_read_and_free_once_that_may_start_again() {
    let mut scene = Scene::set();
    let (gate, _teller, _answers) = scene.gate();
    let state = scene.state("bad");
    gate.learn(&[scene.done("bad", Some(state))]);
    assert!(soon(|| scene.paper.refuses(&state)));
    let list = scene.responder.blocklist();
    assert_eq!(list.refused_files(scene.content), Some(1));
    let undo = command(2, Action::UnblockHash(scene.content));
    let undone = scene.responder.ask(&scene.bench.sign(&undo)).unwrap();
    assert!(undone.verified, "{undone:?}");
    assert!(!scene.paper.refuses(&state));
    gate.learn(&[scene.done("bad", Some(state))]);
    std::thread::park_timeout(Duration::from_millis(100));
    assert!(!scene.paper.refuses(&state), "what may start is not listed");
}

#[test]
fn a_program_that_runs_when_its_content_is_blocked_is_found() {
    use std::os::unix::fs::PermissionsExt;
    let mut scene = Scene::set();
    let mut bytes = fs::read("/bin/sleep").unwrap();
    bytes.extend_from_slice(scene.dir.path().as_os_str().as_bytes());
    fs::write(scene.path("running"), &bytes).unwrap();
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(scene.path("running"), mode).unwrap();
    let mut child = Program::new(scene.path("running"))
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let (_gate, _teller, _answers) = scene.gate();
    let block = command(3, Action::BlockHash(Digest::of(&bytes)));
    scene.responder.ask(&scene.bench.sign(&block));
    let found = soon(|| scene.paper.refuses(&scene.state("running")));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(found);
}

#[test]
fn what_was_hashed_before_is_found_when_its_content_is_blocked() {
    let scene = Scene::set();
    let (mut gate, _teller, _answers) = scene.gate();
    let (state, other) = (
        scene.state("bad"),
        FileKey {
            inode: 1,
            ..scene.state("bad")
        },
    );
    let hashes = [(state, scene.content), (other, Digest::of(b"good"))];
    gate.remember(hashes.iter().map(|(key, digest)| (key, *digest)));
    assert!(soon(|| scene.paper.refuses(&state)));
    assert!(!scene.paper.refuses(&other));
}

#[test]
fn a_refused_start_is_told_by_whom_and_of_what() {
    let scene = Scene::set();
    let (_gate, teller, answers) = scene.gate();
    scene.list("bad");
    teller.send(scene.refusal("bad")).unwrap();
    let Ok(Input::Outcome(told)) = answers.recv_timeout(Duration::from_secs(20)) else {
        panic!("nothing was told");
    };
    assert_eq!(
        (told.state, told.reason.as_str(), told.verified),
        (ReceiptState::Partial, "prevented", true)
    );
    assert_eq!(told.command_id, picket_event::CommandId::new([1; 16]));
    let affected = &told.affected[0];
    assert_eq!(
        (affected.pid, affected.outcome.as_str()),
        (std::process::id(), "refused")
    );
    assert_eq!(affected.object, scene.text("bad"));
    assert!(told.effect.contains("has the blocked content"), "{told:?}");
}

#[test]
fn of_many_refused_starts_the_first_are_told_and_the_others_counted() {
    let scene = Scene::set();
    scene.list("bad");
    let mut finder = scene.finder();
    let all: Vec<_> = (0..25)
        .filter_map(|_| finder.refused(&scene.refusal("bad")))
        .collect();
    assert_eq!(all.len(), usize::try_from(told::MOST).unwrap());
    assert!(finder.counted(Instant::now()).is_empty());
    let counted = finder.counted(Instant::now() + Duration::from_mins(1));
    assert_eq!(counted.len(), 1);
    assert!(
        counted[0].effect.contains("15 further starts"),
        "{counted:?}"
    );
    assert!(counted[0].affected.is_empty());
}

#[test]
fn what_nobody_blocked_is_not_told() {
    let scene = Scene::set();
    assert_eq!(scene.finder().refused(&scene.refusal("bad")), None);
}

#[test]
fn a_renamed_file_is_read_again_and_stays_refused() {
    let scene = Scene::set();
    scene.list("bad");
    fs::rename(scene.path("bad"), scene.path("renamed")).unwrap();
    let mode = fs::metadata(scene.path("renamed")).unwrap().permissions();
    fs::set_permissions(scene.path("renamed"), mode).unwrap();
    let told = scene.finder().refused(&scene.refusal("renamed")).unwrap();
    assert_eq!(told.reason, "prevented");
    assert!(told.effect.contains("it has the blocked content"));
    assert!(scene.paper.refuses(&scene.state("renamed")));
}

#[test]
fn a_file_that_was_changed_and_set_back_is_refused_once() {
    let scene = Scene::set();
    scene.list("bad");
    let before = fs::metadata(scene.path("bad")).unwrap().modified().unwrap();
    std::thread::park_timeout(Duration::from_millis(30));
    fs::write(scene.path("bad"), b"new content").unwrap();
    let file = fs::File::options().write(true).open(scene.path("bad"));
    file.unwrap().set_modified(before).unwrap();
    let told = scene.finder().refused(&scene.refusal("bad")).unwrap();
    assert_eq!(told.reason, "changed");
    assert!(!scene.paper.refuses(&scene.state("bad")));
}

#[test]
fn a_file_that_may_have_changed_and_cannot_be_read_is_refused_no_more() {
    let scene = Scene::set();
    scene.list("bad");
    let mut refusal = scene.refusal("bad");
    refusal.file.ctime_ns += 1;
    let state = scene.state("bad");
    fs::remove_file(scene.path("bad")).unwrap();
    let told = scene.finder().refused(&refusal).unwrap();
    assert!(told.effect.contains("could not be read again"), "{told:?}");
    assert!(!scene.paper.refuses(&state));
}

#[test]
fn so_young_a_file_that_a_change_would_leave_no_trace_is_read_again_when_it_is_refused() {
    let scene = Scene::set();
    let list = scene.responder.blocklist();
    let Some(Note::Found(young)) = Note::of(&scene.done("bad", None), &list) else {
        panic!("its content is blocked");
    };
    assert_eq!(young.state.ctime_ns, UNSURE);
    scene.finder().list_file(young);
    fs::write(scene.path("bad"), b"new content").unwrap();
    let told = scene.finder().refused(&scene.refusal("bad")).unwrap();
    assert_eq!(told.reason, "changed");
}

#[test]
fn a_restart_refuses_again_what_was_known_as_far_as_it_is_still_blocked() {
    let scene = Scene::set();
    let kept = scene.path("blocked-files");
    let list = scene.responder.blocklist();
    list.arm_with(Box::new(scene.paper.clone()), &kept);
    scene.list("bad");
    list.keep();
    for is_blocked in [true, false] {
        let (again, paper) = (Blocklist::default(), Paper::default());
        again.arm_with(Box::new(paper.clone()), &kept);
        assert!(
            paper.refuses(&scene.state("bad")),
            "before anything is read"
        );
        let by = list.by(scene.content).filter(|_| is_blocked);
        again.set(by.map(|by| (scene.content, by)).into_iter().collect());
        assert_eq!(paper.refuses(&scene.state("bad")), is_blocked);
    }
}

#[test]
fn what_the_host_needs_is_not_listed_whatever_its_content() {
    let scene = Scene::set();
    fs::hard_link(scene.path("bad"), scene.path("needed")).unwrap();
    scene.list("bad");
    assert!(!scene.paper.refuses(&scene.state("bad")));
    fs::remove_file(scene.path("needed")).unwrap();
    scene.list("bad");
    assert!(scene.paper.refuses(&scene.state("bad")));
    // It takes the place of what is needed, as a package manager or an attacker might do it.
    fs::hard_link(scene.path("bad"), scene.path("needed")).unwrap();
    let (notes, told) = sync_channel(1);
    drop::<SyncSender<Note>>(notes);
    scene.finder().work(&told, &sync_channel(1).0);
    assert!(!scene.paper.refuses(&scene.state("bad")));
}
