//! What files schedule, and what a change of them changed.

use std::fs;
use std::path::Path;

use picket_event::{Detail, File, Kind, Source, UnixNanos};

use super::*;

fn place(path: &str) -> Place {
    place::of(path.as_bytes()).unwrap_or_else(|| panic!("{path} schedules nothing"))
}

/// Schedule, user and command of each entry.
fn said(path: &str, content: &str) -> Vec<[String; 3]> {
    let note = note(&place(path), &Text::from(path), content.as_bytes(), true);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let entries = note.entries.iter();
    entries
        .map(|entry| [&entry.schedule, &entry.user, &entry.command].map(|bytes| text(bytes)))
        .collect()
}

fn event(kind: Kind, file: File) -> Event {
    Event::new(kind, UnixNanos(1), Source::Ebpf).with(Detail::File(file))
}

fn written(path: &str) -> Change {
    let file = File {
        path: Text::from(path),
        ..File::default()
    };
    change(&event(Kind::FileModify, file)).unwrap()
}

/// Notes that are told of a file's content again and again.
struct Told {
    notes: Memory<Note>,
    change: Change,
    runs: bool,
}

impl Told {
    fn of(path: &str) -> Self {
        Self {
            notes: Memory::default(),
            change: written(path),
            runs: true,
        }
    }

    fn say(&mut self, content: &str) -> Option<ScheduledJob> {
        let change = self.change.clone();
        let now = note(&change.place, &change.path, content.as_bytes(), self.runs);
        let key = (0, change.path.clone());
        compare(&mut self.notes, key, &change, Some(now))
    }

    fn remove(&mut self) -> Option<ScheduledJob> {
        let mut change = self.change.clone();
        change.what = What::Removed;
        let key = (0, change.path.clone());
        compare(&mut self.notes, key, &change, None)
    }
}

#[test]
fn every_name_is_a_place_or_none() {
    let system = Form::Unit { system: true };
    let user = Form::Unit { system: false };
    let places = [
        ("/etc/crontab", Form::SystemTable),
        ("/etc/cron.d/job", Form::SystemTable),
        ("/etc/anacrontab", Form::Anacron),
        ("/etc/cron.daily/job", Form::RunParts("@daily")),
        ("/etc/cron.yearly/job", Form::RunParts("@yearly")),
        (
            "/var/spool/cron/crontabs/ada",
            Form::UserTable(b"ada".into()),
        ),
        ("/var/spool/cron/tabs/ada", Form::UserTable(b"ada".into())),
        ("/var/spool/cron/ada", Form::UserTable(b"ada".into())),
        ("/var/spool/cron/atjobs/a0000f01c2b3d4", Form::At),
        ("/var/spool/at/a0000f01c2b3d4", Form::At),
        ("/etc/systemd/system/a.service", system.clone()),
        ("/usr/lib/systemd/system/a.timer", system.clone()),
        ("/etc/systemd/system/a.socket", system.clone()),
        ("/etc/systemd/system/a.path", system.clone()),
        ("/etc/systemd/system/a.service.d/b.conf", system),
        ("/etc/systemd/user/a.service", user.clone()),
        ("/home/ada/.config/systemd/user/a.timer", user),
        (
            "/etc/systemd/system/multi-user.target.wants/a.service",
            Form::Wanted(b"multi-user.target".into()),
        ),
    ];
    for (path, form) in places {
        assert_eq!(place(path).form, form, "{path}");
    }
}

#[test]
fn names_that_nobody_reads_schedule_nothing() {
    for path in [
        "",
        "/",
        "/etc/crontab.bak",
        "/etc/cron.d/.hidden",
        "/etc/cron.d/job.dpkg-new",
        "/etc/cron.d/job~",
        "/etc/cron.d/",
        "/etc/cron.d/folder/job",
        "/etc/cron.often/job",
        "/var/spool/cron/crontabs/tmp.x1",
        "/var/spool/cron/atjobs/.SEQ",
        "/var/spool/at/a0000f01c2b3dz",
        "/etc/systemd/system/a.mount",
        "/etc/systemd/system/.a.service",
        "/etc/systemd/system/a.service.d/.b.conf",
        "/etc/systemd/system/a.target.d/b.conf",
        "/etc/systemd/system.conf",
        "/home/ada/a.service",
    ] {
        assert_eq!(place::of(path.as_bytes()), None, "{path}");
    }
}

#[test]
fn a_table_of_the_system_has_times_users_and_commands() {
    let table = "# comment\nPATH=/usr/bin\n\n*/5 1-3 * * mon  root  run --it  now\n@reboot ada x\nnonsense here\n-0 1 * * * bin y\n* * * * * root\n";
    assert_eq!(
        said("/etc/cron.d/job", table),
        [
            ["", "", "PATH=/usr/bin"],
            ["*/5 1-3 * * mon", "root", "run --it  now"],
            ["@reboot", "ada", "x"],
            ["0 1 * * *", "bin", "y"],
        ]
    );
}

#[test]
fn a_table_of_a_user_and_a_folder_of_programs_say_as_whom() {
    assert_eq!(
        said("/var/spool/cron/crontabs/ada", "0 4 * * * run it\n"),
        [["0 4 * * *", "ada", "run it"]]
    );
    let program = "/etc/cron.hourly/job";
    assert_eq!(said(program, "#!/bin/sh\n"), [["@hourly", "root", program]]);
    assert!(said(program, "").is_empty());
}

#[test]
fn anacrons_table_has_periods_and_delays() {
    let table =
        "START_HOURS_RANGE=3-22\n1 5 cron.daily nice run\n@monthly 45 x monthly it\n1 5\nx y z w\n";
    assert_eq!(
        said("/etc/anacrontab", table),
        [
            ["", "", "START_HOURS_RANGE=3-22"],
            ["1 5", "root", "nice run"],
            ["@monthly 45", "root", "monthly it"],
        ]
    );
}

/// As at writes it.
const AT: &str = "#!/bin/sh\n# atrun uid=1000 gid=1000\n# mail ada 0\numask 22\nHOME=/home/ada; export HOME\ncd /home/ada || {\n\t echo 'Execution directory inaccessible' >&2\n\t exit 1\n}\n";

#[test]
fn a_job_of_at_says_when_in_its_name_and_who_and_what_inside() {
    let path = "/var/spool/cron/atjobs/a0000f01c2b3d4";
    let plain = format!("{AT}run it\n");
    let wrapped =
        format!("{AT}${{SHELL:-/bin/sh}} << 'marcinDELIMITER1'\nrun it\n\nmarcinDELIMITER1\n");
    for content in [plain, wrapped] {
        assert_eq!(
            said(path, &content),
            [["2026-02-27T23:16:00Z", "1000", "run it"]]
        );
    }
    assert!(said(path, "").is_empty(), "not written yet");
}

#[test]
fn the_time_of_a_job_of_at_is_the_one_in_its_name() {
    let minutes = 1_800_000_000 / 60;
    let name = format!("/var/spool/at/b00001{minutes:08x}");
    assert_eq!(said(&name, "x")[0][0], "2027-01-15T08:00:00Z");
}

#[test]
fn a_service_says_what_it_runs_as_whom_and_what_wants_it() {
    let unit = "[Unit]\nDescription=x\n[Service]\nExecStartPre=/bin/a\nExecStart=\nExecStart=/bin/b \\\n  # comment\n  --c\n; comment\n[Install]\nWantedBy=multi-user.target\nAlias=z.service\n";
    assert_eq!(
        said("/etc/systemd/system/x.service", unit),
        [["WantedBy=multi-user.target", "root", "/bin/a; /bin/b --c"]]
    );
    let user = format!("{unit}[Service]\nUser=ada\n");
    assert_eq!(said("/etc/systemd/system/x.service", &user)[0][1], "ada");
    assert_eq!(said("/etc/systemd/user/x.service", unit)[0][1], "");
    let wanted = "/etc/systemd/system/timers.target.wants/x.service";
    assert_eq!(
        said(wanted, ""),
        [["WantedBy=timers.target", "", "x.service"]]
    );
}

#[test]
fn a_timer_says_when_and_which_unit() {
    let timer = "[Timer]\nOnCalendar=daily\nOnBootSec=5min\nPersistent=true\n";
    let path = "/etc/systemd/system/x.timer";
    let when = "OnCalendar=daily; OnBootSec=5min";
    assert_eq!(said(path, timer), [[when, "", "x.service"]]);
    let other = format!("{timer}Unit=y.service\n");
    assert_eq!(said(path, &other), [[when, "", "y.service"]]);
}

#[test]
fn a_socket_and_a_path_say_on_what_they_start_which_unit() {
    let socket = "[Socket]\nListenStream=22\nListenDatagram=/run/x\nBacklog=5\n";
    let path = "/etc/systemd/system/x.socket";
    let when = "ListenStream=22; ListenDatagram=/run/x";
    assert_eq!(said(path, socket), [[when, "", "x.service"]]);
    let each = format!("{socket}Accept=yes\n");
    assert_eq!(said(path, &each), [[when, "", "x@.service"]]);
    let other = format!("{each}Service=y.service\n");
    assert_eq!(said(path, &other), [[when, "", "y.service"]]);
    let watched = "[Path]\nPathChanged=/srv/in\nDirectoryNotEmpty=/srv/out\nMakeDirectory=yes\n";
    assert_eq!(
        said("/etc/systemd/system/x.path", watched),
        [[
            "PathChanged=/srv/in; DirectoryNotEmpty=/srv/out",
            "",
            "x.service"
        ]]
    );
}

#[test]
fn only_what_changed_is_told_and_what_went_is_told_as_removed() {
    let mut told = Told::of("/etc/crontab");
    let of = |job: Option<ScheduledJob>| {
        let job = job?;
        let text = |text: &Text| text.as_str().unwrap().to_owned();
        Some((job.action.clone(), text(&job.schedule), text(&job.command)))
    };
    let (one, two) = ("1 1 * * * root one\n", "2 2 * * * root two\n");
    let expect = |action: &str, schedule: &str, command: &str| {
        Some((action.to_owned(), schedule.to_owned(), command.to_owned()))
    };
    // Of a file that was there before we were, all of it counts.
    assert_eq!(of(told.say(one)), expect("changed", "1 1 * * *", "one"));
    assert_eq!(of(told.say(one)), None);
    assert_eq!(of(told.say(&format!("# x\n{one}"))), None);
    let both = format!("{one}{two}");
    assert_eq!(of(told.say(&both)), expect("changed", "2 2 * * *", "two"));
    assert_eq!(of(told.say(two)), expect("removed", "1 1 * * *", "one"));
    assert_eq!(of(told.remove()), expect("removed", "2 2 * * *", "two"));
    assert_eq!(of(told.say("")), None);
    assert_eq!(
        of(told.say(&both)),
        expect("created", "1 1 * * *\n2 2 * * *", "one\ntwo"),
        "several are told line by line"
    );
}

#[test]
fn a_program_that_is_rewritten_has_changed_although_time_and_name_stay() {
    let mut told = Told::of("/etc/cron.daily/job");
    told.say("#!/bin/sh\none\n");
    let second = told.say("#!/bin/sh\ntwo\n").unwrap();
    assert_eq!(
        (&*second.action, second.schedule.as_str()),
        ("changed", Some("@daily"))
    );
    assert!(told.say("#!/bin/sh\ntwo\n").is_none());
    told.runs = false;
    assert!(
        told.say("#!/bin/sh\ntwo\n").is_some(),
        "it may not run any more"
    );
}

#[test]
fn a_look_reads_the_file_itself() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/systemd/user");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("x.service");
    let mut notes = Memory::default();
    let mut told_of = |what: Kind, path: &Path| {
        let file = File {
            path: Text::from(path.to_str().unwrap()),
            ..File::default()
        };
        let change = change(&event(what, file)).unwrap();
        let told = look(&mut notes, 0, Eyes::OWN, &change);
        told.map(|job| (job.action, job.command))
    };
    fs::write(&path, "[Service]\nExecStart=/bin/a\n").unwrap();
    let told = told_of(Kind::FileCreate, &path);
    assert_eq!(told, Some(("created".to_owned(), Text::from("/bin/a"))));
    assert_eq!(told_of(Kind::FileModify, &path), None);
    fs::remove_file(&path).unwrap();
    assert_eq!(told_of(Kind::FileModify, &path), None, "gone already");
    let told = told_of(Kind::FileDelete, &path);
    assert_eq!(told, Some(("removed".to_owned(), Text::NONE)));
}

proptest::proptest! {
    #[test]
    fn no_content_breaks_a_parser_and_every_text_is_bounded(
        place in 0_usize..7,
        lines in proptest::collection::vec("[ -~\n\\\\\\[\\]=]{0,40}", 0..60),
        raw in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        times in 1_usize..200,
    ) {
        let path = [
            "/etc/crontab",
            "/var/spool/cron/crontabs/ada",
            "/etc/anacrontab",
            "/etc/cron.daily/job",
            "/var/spool/at/a0000f01c2b3d4",
            "/etc/systemd/system/x.service",
            "/etc/systemd/system/x.target.wants/x.timer",
        ][place];
        let change = written(path);
        for content in [lines.join("\n").repeat(times).into_bytes(), raw] {
            let now = note(&change.place, &change.path, &content, true);
            proptest::prop_assert!(now.entries.len() <= MAX_ENTRIES);
            let told = tell(&change, "changed", &now.entries);
            for text in [&told.schedule, &told.user, &told.command] {
                proptest::prop_assert!(text.as_bytes().len() <= MAX_TEXT);
            }
        }
    }
}
