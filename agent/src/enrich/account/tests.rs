//! What changed files of accounts are told as.

use picket_event::{Detail, File, Kind, Source, UnixNanos};
use proptest::prelude::*;

use super::*;

fn change_of(path: &str) -> Change {
    let file = File {
        path: Text::from(path),
        ..File::default()
    };
    let event = Event::new(Kind::FileModify, UnixNanos(1), Source::Ebpf).with(Detail::File(file));
    change(&event).unwrap_or_else(|| panic!("{path} has no accounts"))
}

fn said(change: &Change, content: &str) -> Note {
    note(change.form, content.as_bytes(), || b"ada".to_vec())
}

/// Action, object, account, before and after of each change.
fn told(path: &str, before: &str, after: &str) -> Vec<[String; 5]> {
    let change = change_of(path);
    let differences = differences(&change, &said(&change, before), &said(&change, after));
    let texts = differences.into_iter().map(|it| {
        let lossy = |text: &Text| text.lossy().into_owned();
        [
            it.action.clone(),
            it.object.clone(),
            lossy(&it.account),
            lossy(&it.before),
            lossy(&it.after),
        ]
    });
    texts.collect()
}

fn as_text(told: &[[String; 5]]) -> Vec<[&str; 5]> {
    told.iter()
        .map(|it| it.each_ref().map(String::as_str))
        .collect()
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000::/home/ada:/bin/sh\n";

#[test]
fn a_new_user_has_all_fields_and_a_changed_one_only_those_that_differ() {
    let more = format!("{PASSWD}bob:x:0:0::/home/bob:/bin/sh\n");
    let created = "password=elsewhere uid=0 gid=0 home=/home/bob shell=/bin/sh";
    assert_eq!(
        as_text(&told("/etc/passwd", PASSWD, &more)),
        [["created", "user", "bob", "", created]]
    );
    let other = PASSWD.replace("ada:x:1000", "ada:x:0");
    assert_eq!(
        as_text(&told("/etc/passwd", PASSWD, &other)),
        [["changed", "user", "ada", "uid=1000", "uid=0"]]
    );
    let gone = PASSWD.replace("ada:", "adb:");
    let told = told("/etc/passwd", PASSWD, &gone);
    let actions: Vec<_> = told.iter().map(|it| (&*it[0], &*it[2])).collect();
    assert_eq!(actions, [("removed", "ada"), ("created", "adb")]);
}

#[test]
fn a_password_is_told_by_its_state_and_never_by_its_hash() {
    let shadow = |password: &str| format!("ada:{password}:20000:0:99999:7:::\n");
    let first = "$y$j9T$abcdefghij$klmnopqrstuv";
    let cases = [
        (first, "$y$j9T$abcdefghij$wxyz", "", "password=another"),
        (
            first,
            "!$y$j9T$abcdefghij$klmnopqrstuv",
            "password=yescrypt",
            "password=locked,yescrypt password=another",
        ),
        (
            first,
            "",
            "password=yescrypt",
            "password=empty password=another",
        ),
        (
            "*",
            "$6$salt$hash",
            "password=none",
            "password=sha512crypt password=another",
        ),
        ("!", "!!", "", ""),
        (
            "x1y2descrypt.",
            "$1$a$b",
            "password=descrypt",
            "password=md5crypt password=another",
        ),
    ];
    for (before, after, was, is) in cases {
        let told = told("/etc/shadow", &shadow(before), &shadow(after));
        let expected: &[[&str; 5]] = &[["changed", "password", "ada", was, is]];
        let expected = if is.is_empty() { &[] } else { expected };
        assert_eq!(as_text(&told), expected, "{before} {after}");
        assert!(!format!("{told:?}").contains("abcdefghij"), "{told:?}");
    }
}

#[test]
fn who_joins_a_group_is_told() {
    assert_eq!(
        as_text(&told(
            "/etc/group",
            "sudo:x:27:ada\n",
            "sudo:x:27:ada,bob\n"
        )),
        [["changed", "group", "sudo", "members=ada", "members=ada,bob"]]
    );
    assert_eq!(
        as_text(&told("/etc/gshadow", "sudo:*::ada\n", "sudo:*:bob:ada\n")),
        [[
            "changed",
            "group_password",
            "sudo",
            "",
            "administrators=bob"
        ]]
    );
}

#[test]
fn a_rule_of_sudo_is_told_whole_and_comments_are_not() {
    let before = "# ada may\n%sudo ALL=(ALL:ALL) ALL\nDefaults env_reset\n";
    let after = "Defaults  env_reset # as ever\n%sudo\tALL=(ALL:ALL) \\\n ALL\n\
                 bob ALL=(ALL) NOPASSWD: ALL\n#1000 ALL=(ALL) /bin/ls\nDefaults !authenticate\n";
    let told = told("/etc/sudoers.d/picket", before, after);
    let rules: Vec<_> = told.iter().map(|it| [&*it[0], &*it[2], &*it[4]]).collect();
    assert_eq!(
        rules,
        [
            ["created", "#1000", "rule=#1000 ALL=(ALL) /bin/ls"],
            ["created", "", "rule=Defaults !authenticate"],
            ["created", "bob", "rule=bob ALL=(ALL) NOPASSWD: ALL"],
        ]
    );
}

#[test]
fn a_key_is_told_by_its_fingerprint() {
    // Made with ssh-keygen(1), which gave the fingerprint too.
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8m0C2mWQ4gGGmLJBZzsVnH4eCkMkwzZ7ZzrS4TnGmq";
    let line =
        format!("from=\"192.0.2.0/24\",command=\"echo \\\"a b\\\"\" {key} ada@host of work\n");
    let told = told("/home/ada/.ssh/authorized_keys", "# none\n", &line);
    let [[action, object, account, _, after]] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(
        [&**action, &**object, &**account],
        ["created", "ssh_key", "ada"]
    );
    assert!(after.starts_with("fingerprint=SHA256:"), "{after}");
    assert!(
        after.contains(" type=ssh-ed25519 comment=ada@host of work options=from="),
        "{after}"
    );
}

#[test]
fn names_that_nobody_reads_have_no_accounts() {
    for path in [
        "/etc/passwd-",
        "/etc/passwd+",
        "/etc/sudoers.d/x.dpkg-new",
        "/etc/sudoers.d/x~",
        "/etc/sudoers.d/",
        "/home/ada/.ssh/known_hosts",
        "/srv/etc/passwd",
    ] {
        assert_eq!(place::of(path.as_bytes()), None, "{path}");
    }
}

#[test]
fn of_a_flood_the_first_are_told_and_the_rest_counted() {
    let line = |number| format!("u{number}:x:{number}:1::/:/bin/sh\n");
    let lines: Vec<String> = (0..MAX_TOLD + 5).map(line).collect();
    let many = lines.concat();
    let told = told("/etc/passwd", "", &many);
    assert_eq!(told.len(), MAX_TOLD + 1);
    assert_eq!(told[MAX_TOLD][4], "and 5 more");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(inputs()))]
    #[test]
    fn any_bytes_are_read_and_the_same_bytes_change_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for form in [Form::Passwd, Form::Shadow, Form::Group, Form::Gshadow, Form::Sudoers, Form::Keys] {
            let read = note(form, &bytes, || b"ada".to_vec());
            let change = Change { path: Text::from("/x"), form, what: What::Written };
            prop_assert!(differences(&change, &read, &read).is_empty());
        }
    }
}

/// How many inputs; set `PICKET_MUTATIONS` for more.
fn inputs() -> u32 {
    let asked = std::env::var("PICKET_MUTATIONS").ok();
    asked.map_or(256, |asked| asked.parse().unwrap())
}
