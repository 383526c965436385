//! What others do to the agent is refused where BPF LSM is active, and told. The agent is a child of the test, and so are those
//! who attack it: only that agent, and files below a folder of the test, are ever refused anything.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use picket_event::{Detail, Event, HookState};
use picket_sensor::{Guarded, Sensor};

use super::rig::{is_before, patience};

/// What an attacker does as a shell, with `$AGENT` the agent's number, in the folder of the scene; and the event of it.
const ATTACKS: &[(&str, &str)] = &[
    ("kill -TERM $AGENT", "signal"),
    ("kill -KILL $AGENT", "signal"),
    ("kill -STOP $AGENT", "signal"),
    ("exec 3</proc/$AGENT/mem", "ptrace"),
    ("echo more >>settings", "file_open"),
    (": >settings", "file_open"),
    ("echo more >>state/kept", "file_open"),
    ("chmod 600 settings", "file_attr"),
    ("chown 0:0 state/kept", "file_attr"),
    ("rm settings", "file_delete"),
    ("rm state/kept", "file_delete"),
    ("rmdir state/empty", "file_delete"),
    ("mv settings elsewhere", "file_rename"),
    ("mv other settings", "file_rename"),
    ("mv state elsewhere", "file_rename"),
    ("mv ../in ../elsewhere", "file_rename"),
    ("ln settings elsewhere", "file_link"),
    ("ln -s /etc state/link", "file_create"),
    ("mkdir state/new", "file_create"),
    ("echo new >state/new", "file_create"),
    ("mount --bind . state", "mount"),
];

/// What does the agent no harm.
const HARMLESS: &[&str] = &[
    "kill -0 $AGENT",
    "kill -CONT $AGENT",
    "kill -WINCH $AGENT",
    "cat /proc/$AGENT/status >/dev/null",
    "cat settings state/kept >/dev/null",
    "ls -l . state >/dev/null",
    "echo more >>other",
    "mkdir beside && rmdir beside",
    "unshare -m sh -c 'mount -t tmpfs none state'",
];

#[test]
fn what_others_do_to_the_agent_is_refused_and_told() {
    let scene = Scene::set();
    let Some(mut agent) = Agent::start(&scene) else {
        return;
    };
    let mut acted = Vec::new();
    let mut wrong = Vec::new();
    for (attack, kind) in ATTACKS {
        if attack.starts_with("chown") && is_before(6, 1) {
            eprintln!("SKIPPED: {attack}: before 6.1 the verifier refuses that hook");
            continue;
        }
        let (pid, done) = scene.act(attack, &agent);
        if done {
            wrong.push(format!("`{attack}` was done"));
        }
        acted.push((pid, *attack, *kind));
    }
    assert!(agent.lives(), "{wrong:?}");
    let (pid, descriptors) = scene.take_programs(&agent);
    acted.push((pid, "a descriptor of a program", "bpf_load"));
    assert_eq!(descriptors, 0, "programs of the agent's");
    let refused = agent.end();
    for (pid, attack, kind) in acted {
        let line = format!("refused {pid} {kind}");
        if !refused.contains(&line) {
            let own = refused
                .iter()
                .filter(|line| line.contains(&pid.to_string()));
            let own: Vec<_> = own.collect();
            wrong.push(format!("`{attack}` is no event: {own:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(
        fs::read_to_string(scene.path("settings")).unwrap(),
        "settings\n"
    );
}

#[test]
fn what_does_no_harm_is_not_refused() {
    let scene = Scene::set();
    let Some(mut agent) = Agent::start(&scene) else {
        return;
    };
    for deed in HARMLESS {
        let (_, done) = scene.act(deed, &agent);
        assert!(done, "`{deed}` was refused");
    }
    // Who started the agent may do anything.
    fs::write(scene.path("settings"), "settings\n").unwrap();
    fs::write(scene.path("state/new"), "").unwrap();
    assert!(agent.lives());
    agent.end();
}

#[test]
fn the_end_of_the_agent_lifts_everything() {
    let scene = Scene::set();
    let Some(mut agent) = Agent::start(&scene) else {
        return;
    };
    let write = "echo more >>settings && mkdir state/new && rmdir state/new";
    assert!(!scene.act(write, &agent).1, "guarded");
    agent.say("off");
    assert!(scene.act(write, &agent).1, "switched off");
    agent.say("on");
    assert!(!scene.act(write, &agent).1, "guarded again");
    // As any crash would; only its starter can.
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    let begun = Instant::now();
    while !scene.act(write, &agent).1 {
        assert!(
            begun.elapsed() < patience(10),
            "still guarded after the end"
        );
    }
}

/// A folder with what is guarded and what is not.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn set() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(scene.path("state/empty")).unwrap();
        for name in ["settings", "other", "state/kept"] {
            fs::write(scene.path(name), "settings\n").unwrap();
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder
            .path()
            .canonicalize()
            .unwrap()
            .join("in")
            .join(name)
    }

    /// A shell does this. Gives its number, and whether it succeeded.
    fn act(&self, script: &str, agent: &Agent) -> (u32, bool) {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", script])
            .current_dir(self.path(""))
            .env("AGENT", agent.child.id().to_string())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let succeeded = shell.wait().unwrap().success();
        // Some programs are children of the shell, and the shell itself then says nothing.
        (shell.id(), succeeded)
    }

    /// Another process asks for a descriptor of each program. Gives its number, and how many of the agent's it got.
    fn take_programs(&self, agent: &Agent) -> (u32, usize) {
        let mut taker = again("taker")
            .env("PICKET_TAKE", self.path("taken"))
            .spawn()
            .unwrap();
        assert!(taker.wait().unwrap().success());
        let taken = fs::read_to_string(self.path("taken")).unwrap();
        let own = fs::read_to_string(self.path("programs")).unwrap();
        let own: Vec<&str> = own.lines().collect();
        assert!(!own.is_empty() && agent.child.id() > 0);
        let taken = taken.lines().filter(|id| own.contains(id)).count();
        (taker.id(), taken)
    }
}

/// The test program once more, as one of the parts below.
fn again(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = format!("privileged::protect::{part}");
    command
        .args(["--exact", &name, "--ignored", "--nocapture"])
        .stdout(Stdio::null());
    command
}

/// An agent that protects itself, in a process of its own.
struct Agent {
    child: Child,
    orders: ChildStdin,
    said: Receiver<String>,
}

impl Agent {
    /// `None` with a word about why this proves nothing here.
    fn start(scene: &Scene) -> Option<Self> {
        let mut command = again("agent");
        command.env("PICKET_GUARDED", scene.path(""));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let out = child.stdout.take().unwrap();
        let (tell, said) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.for_each(|line| drop(tell.send(line)));
        });
        let agent = Self {
            child,
            orders,
            said,
        };
        let answer = agent.answer(&["on", "SKIPPED"]);
        if answer.starts_with("SKIPPED") {
            eprintln!("{answer}");
            return None;
        }
        Some(agent)
    }

    /// The next line that begins with one of these words.
    fn answer(&self, words: &[&str]) -> String {
        loop {
            let line = self.said.recv_timeout(patience(60)).unwrap();
            if words.iter().any(|word| line.starts_with(word)) {
                return line;
            }
        }
    }

    /// Gives an order and waits until it is carried out.
    fn say(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
        self.answer(&[order]);
    }

    fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it in order. Gives what it told.
    fn end(mut self) -> Vec<String> {
        writeln!(self.orders, "end").unwrap();
        let lines = self.said.iter().collect();
        assert!(self.child.wait().unwrap().success());
        lines
    }
}

#[test]
#[ignore = "not a test: the agent that protects itself"]
fn agent() {
    let Some(folder) = std::env::var_os("PICKET_GUARDED").map(PathBuf::from) else {
        return;
    };
    let guarded = Guarded {
        files: vec![folder.join("settings")],
        trees: vec![folder.join("state")],
    };
    let Some(mut sensor) = super::rig::sensor(|settings| settings.protect = Some(guarded)) else {
        return println!("\nSKIPPED: no kernel sensor here");
    };
    let hook = sensor
        .hooks()
        .into_iter()
        .find(|hook| hook.name == "protect");
    let hook = hook.unwrap();
    if hook.state == HookState::Unavailable {
        return println!("\nSKIPPED: no protection here: {}", hook.detail);
    }
    write_own_programs(&folder.join("programs"));
    let guard = sensor.guard().unwrap().clone();
    println!("\non");
    let orders = orders();
    let mut events = Vec::new();
    loop {
        match orders.try_recv() {
            Ok(order) if order == "end" => break,
            Ok(order) => {
                guard.set(order == "on").unwrap();
                println!("{order}");
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => break,
        }
        sensor.poll(Duration::from_millis(20), &mut events).unwrap();
    }
    // What was done before the order is in the rings.
    let begun = Instant::now();
    while begun.elapsed() < patience(1) {
        sensor.poll(Duration::from_millis(20), &mut events).unwrap();
    }
    sensor.stop(&mut events).unwrap();
    super::rig::assert_balanced(&sensor.ledger());
    for event in events.iter().filter(|event| result_of(event) == Some(-1)) {
        let process = event.process.as_ref().unwrap();
        println!("refused {} {}", process.pid, event.kind.name());
        println!("refused {} {}", process.ppid, event.kind.name());
    }
}

fn orders() -> Receiver<String> {
    let (tell, orders) = channel();
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        lines.for_each(|line| drop(tell.send(line)));
    });
    orders
}

fn result_of(event: &Event) -> Option<i32> {
    match event.detail.as_ref()? {
        Detail::File(file) => file.result,
        Detail::Signal(signal) => signal.result,
        Detail::Ptrace(ptrace) => ptrace.result,
        Detail::Bpf(bpf) => bpf.result,
        Detail::Mount(mount) => mount.result,
        _ => None,
    }
}

/// The numbers of the programs that this process holds, as the kernel tells them of its descriptors.
fn write_own_programs(path: &Path) {
    let mut own = String::new();
    for entry in fs::read_dir("/proc/self/fdinfo").unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let is_program = text.contains("prog_type:") && !text.contains("link_type:");
        let id = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        if let Some(id) = id.filter(|_| is_program) {
            own.push_str(id.trim());
            own.push('\n');
        }
    }
    fs::write(path, own).unwrap();
}

#[test]
#[ignore = "not a test: the process that asks for descriptors of all programs"]
fn taker() {
    let Some(out) = std::env::var_os("PICKET_TAKE") else {
        return;
    };
    let mut taken = Vec::new();
    let (mut id, mut tried) = (0, 0);
    while let Some(next) = next_program(id) {
        id = next;
        tried += 1;
        if take_program(id) {
            taken.push(id.to_string());
        }
    }
    assert!(tried > 0, "programs are there");
    fs::write(out, taken.join("\n")).unwrap();
}

const BPF_PROG_GET_NEXT_ID: libc::c_int = 11;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;

fn next_program(id: u32) -> Option<u32> {
    let mut attributes = [id, 0, 0, 0];
    (bpf(BPF_PROG_GET_NEXT_ID, &mut attributes) == 0).then_some(attributes[1])
}

fn take_program(id: u32) -> bool {
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut [id, 0, 0, 0]);
    if fd >= 0 {
        // SAFETY: the descriptor was just given and nobody else has it.
        #[expect(unsafe_code, reason = "no library for this call")]
        unsafe {
            libc::close(i32::try_from(fd).unwrap())
        };
    }
    fd >= 0
}

fn bpf(command: libc::c_int, attributes: &mut [u32; 4]) -> i64 {
    let size = size_of_val(attributes);
    // SAFETY: the attributes are this large and live through the call.
    #[expect(unsafe_code, reason = "no library for this call")]
    unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size)
    }
}
