//! Which file is the script, and which is not.

use picket_event::ProcessUid;

use super::*;

fn started(exe: &str, argv: &[&str]) -> Process {
    let mut process = Process::new(ProcessUid::new([1; 16]), 1);
    process.exe = Text::from(exe);
    process.cwd = Text::from("/srv");
    process.argv = argv.iter().map(|word| Text::from(*word)).collect();
    process
}

fn script(exe: &str, argv: &[&str]) -> Option<String> {
    let found = of(&started(exe, argv))?;
    Some(found.path.as_str().unwrap().to_owned())
}

#[test]
fn a_file_that_the_kernel_gave_to_an_interpreter_is_the_script() {
    let mut process = started("/usr/bin/awk", &["awk", "-f", "./tool", "x"]);
    process.script = Text::from("./tool");
    let found = of(&process).unwrap();
    assert_eq!(found.path, Text::from("/srv/tool"));
    assert_eq!(found.interpreter, Text::from("/usr/bin/awk"));
}

#[test]
fn the_first_argument_that_is_no_option_is_the_script() {
    let cases: &[(&str, &[&str], &str)] = &[
        ("/bin/sh", &["sh", "job.sh", "-c", "x"], "/srv/job.sh"),
        (
            "/bin/bash",
            &["-bash", "-eu", "-o", "pipefail", "/a//b"],
            "/a/b",
        ),
        ("/bin/bash", &["bash", "-euo", "pipefail", "b"], "/srv/b"),
        (
            "/bin/bash",
            &["bash", "+x", "--rcfile", "rc", "b"],
            "/srv/b",
        ),
        ("/bin/sh", &["sh", "--", "-b"], "/srv/-b"),
        (
            "/usr/bin/python3.13",
            &["python3", "-I", "-Wd", "-X", "dev", "t.py"],
            "/srv/t.py",
        ),
        (
            "/usr/bin/perl",
            &["perl", "-w", "-I", "lib", "-Mstrict", "./t.pl"],
            "/srv/t.pl",
        ),
        (
            "/usr/bin/ruby3.1",
            &["ruby", "-rset", "-I", "lib", "t.rb"],
            "/srv/t.rb",
        ),
        (
            "/usr/bin/node",
            &["node", "--require", "r.js", "t.js"],
            "/srv/t.js",
        ),
        (
            "/usr/bin/php8.2",
            &["php", "-d", "x=1", "-f", "t.php"],
            "/srv/t.php",
        ),
        ("/usr/bin/php", &["php", "-ft.php"], "/srv/t.php"),
        (
            "/usr/bin/lua5.4",
            &["lua", "-l", "m", "-e", "x=1", "t.lua"],
            "/srv/t.lua",
        ),
        ("/usr/bin/expect", &["expect", "-f", "t.exp"], "/srv/t.exp"),
        ("/bin/busybox", &["sh", "job.sh"], "/srv/job.sh"),
        ("/bin/busybox", &["busybox", "ash", "job.sh"], "/srv/job.sh"),
        ("/bin/sh", &["sh", "../job.sh"], "/srv/../job.sh"),
    ];
    for (exe, argv, expected) in cases {
        assert_eq!(script(exe, argv).as_deref(), Some(*expected), "{argv:?}");
    }
}

#[test]
fn a_program_text_a_module_and_standard_input_are_no_script() {
    let cases: &[(&str, &[&str])] = &[
        ("/bin/sh", &["sh", "-c", "echo x"]),
        ("/bin/sh", &["sh", "-ec", "echo x"]),
        ("/bin/sh", &["sh"]),
        ("/bin/sh", &["sh", "-s", "x"]),
        ("/bin/sh", &["sh", "-"]),
        ("/bin/bash", &["bash", "-o"]),
        ("/bin/bash", &["bash", "--version"]),
        ("/usr/bin/python3", &["python3", "-m", "http.server"]),
        ("/usr/bin/python3", &["python3", "-ic", "x"]),
        ("/usr/bin/perl", &["perl", "-ne", "print", "file"]),
        ("/usr/bin/node", &["node", "--eval", "x", "y"]),
        ("/usr/bin/php", &["php", "-r", "x"]),
        ("/bin/busybox", &["busybox"]),
        ("/bin/busybox", &["ls", "job.sh"]),
        ("/bin/ls", &["ls", "job.sh"]),
        ("/bin/sh", &["sh", ""]),
        ("/bin/12", &["12", "x"]),
    ];
    for (exe, argv) in cases {
        assert_eq!(script(exe, argv), None, "{argv:?}");
    }
}

#[test]
fn without_a_working_directory_the_name_stays_as_it_was_given() {
    let mut process = started("/bin/sh", &["sh", "./job.sh"]);
    process.cwd = Text::NONE;
    assert_eq!(of(&process).unwrap().path, Text::from("./job.sh"));
    process.argv = ["sh", "/a/./job.sh"].map(Text::from).into();
    assert_eq!(of(&process).unwrap().path, Text::from("/a/job.sh"));
}

proptest::proptest! {
    #[test]
    fn whatever_the_arguments_are_the_script_is_one_of_them_or_a_part_of_one(
        program in proptest::sample::select(vec![
            "sh", "bash", "python3", "perl", "ruby", "node", "php", "lua", "expect", "Rscript", "busybox", "cat",
        ]),
        argv in proptest::collection::vec(
            proptest::collection::vec(proptest::sample::select(b"-+cmefoIxW/a.\xff =".to_vec()), 0..6),
            0..80,
        ),
    ) {
        let mut process = started(&format!("/bin/{program}"), &[]);
        process.cwd = Text::NONE;
        process.argv = argv.iter().map(|word| Text::from(word.clone())).collect();
        if let Some(found) = argument(&process) {
            proptest::prop_assert!(!found.is_empty());
            let among = argv.iter().take(MAX_WORDS + 2).any(|word| word.ends_with(found));
            proptest::prop_assert!(among);
        }
    }
}
