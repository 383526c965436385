//! How each session is played, with the programs that people use.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::ground::{ASKPASS, KEY, PASSWORD};
use super::plan::{Session, Way};
use super::reaper;
use crate::failure::Failure;
use crate::programs::finish;
use crate::wait;

const WRONG: &str = "wrong horse";

/// Plays all but cron's, so many at a time; `before` is called with the number of each that begins.
pub(super) fn all(
    sessions: &[Session],
    at_once: usize,
    before: impl Fn(usize) -> Result<(), Failure> + Sync,
) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(session) = sessions.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(failure) = before(session.number).and_then(|()| play(session)) {
                        failed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(failure);
                        return;
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}

fn play(session: &Session) -> Result<(), Failure> {
    let (user, mark) = (&session.user, session.mark());
    let run = format!("/bin/true {mark}");
    match session.way {
        Way::Key => ends(session, ssh(session, &["-i", KEY], &run), true),
        Way::Password => ends(
            session,
            by_password(session, PASSWORD, &["-tt"], &run),
            true,
        ),
        Way::WrongPassword => ends(session, by_password(session, WRONG, &[], &run), false),
        Way::InvalidUser | Way::Denied | Way::Expired => {
            ends(session, by_password(session, PASSWORD, &[], &run), false)
        }
        Way::Sudo => ends(
            session,
            as_user(user, &["sudo", "-n", "/bin/true", &mark]),
            true,
        ),
        Way::SudoWrong => typed(session, &format!("{WRONG}\n{WRONG}\n{WRONG}\n")),
        Way::SudoNotAllowed => typed(session, &format!("{PASSWORD}\n")),
        Way::Su => ends(session, command(&["su", user, "-c", &run]), true),
        Way::SuWrong => on_terminal(
            session,
            as_user(user, &["script", "-qfec", "su root", "/dev/null"]),
            WRONG,
            None,
        ),
        Way::Console => {
            let login = command(&["script", "-qfec", &format!("login {user}"), "/dev/null"]);
            on_terminal(session, login, PASSWORD, Some(&format!("exec {run}")))
        }
        Way::ConsoleWrong => {
            let login = command(&["script", "-qfec", &format!("login {user}"), "/dev/null"]);
            on_terminal(session, login, WRONG, None)
        }
        Way::Cron => Ok(()),
    }
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir("/");
    command
}

/// As this user, with nothing between.
fn as_user(user: &str, words: &[&str]) -> Command {
    let mut command = command(&[
        "setpriv",
        "--reuid",
        user,
        "--regid",
        "100",
        "--init-groups",
    ]);
    command.args(words);
    command
}

fn ssh(session: &Session, options: &[&str], run: &str) -> Command {
    let mut command = command(&["ssh", "-b", &session.address(), "-l", &session.user]);
    let settings = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "NumberOfPasswordPrompts=1",
    ];
    command.args(settings.iter().flat_map(|setting| ["-o", setting]));
    command.args(options).args(["127.0.0.1", run]);
    command
}

fn by_password(session: &Session, password: &str, options: &[&str], run: &str) -> Command {
    let only = ["-o", "PreferredAuthentications=password"];
    let mut command = ssh(session, &[&only, options].concat(), run);
    command
        .env("SSH_ASKPASS", ASKPASS)
        .env("SSH_ASKPASS_REQUIRE", "force");
    command.env("PICKET_PASSWORD", password);
    command
}

/// Runs it, and it must succeed or must not: otherwise the session was not the one that was planned.
fn ends(session: &Session, mut command: Command, well: bool) -> Result<(), Failure> {
    command.stdin(Stdio::null());
    let ended = finish(&session.user, command)?;
    if (ended.code == Some(0)) == well {
        return Ok(());
    }
    Err(Failure::Unexpected {
        what: format!("session {} ({:?})", session.user, session.way),
        text: format!("{:?} {}{}", ended.code, ended.stdout, ended.stderr),
    })
}

/// sudo that reads passwords from its input, and refuses.
fn typed(session: &Session, passwords: &str) -> Result<(), Failure> {
    let mut sudo = as_user(&session.user, &["sudo", "-S", "-k", "/bin/true"]);
    sudo.stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = sudo.spawn().map_err(could_not(session))?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(passwords.as_bytes())
            .map_err(could_not(session))?;
    }
    let status = child.wait().map_err(could_not(session))?;
    if status.success() {
        return Err(Failure::Unexpected {
            what: format!("sudo of {}", session.user),
            text: "it let in".to_owned(),
        });
    }
    Ok(())
}

/// `script` gives the program a terminal; the password is typed when it asks.
fn on_terminal(
    session: &Session,
    mut command: Command,
    password: &str,
    then: Option<&str>,
) -> Result<(), Failure> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(could_not(session))?;
    let shown = shown(&mut child);
    let shows = |words: &[&[u8]], times: usize| {
        let what = format!("what session {} shows", session.user);
        wait::until(&what, PATIENCE, || {
            let text = shown.lock().unwrap_or_else(PoisonError::into_inner);
            let found: usize = words.iter().map(|word| count(&text, word)).sum();
            Ok((found >= times).then_some(()))
        })
    };
    let questions: [&[u8]; 2] = [b"assword:", b"login:"];
    shows(&questions, 1)?;
    let mut input = child.stdin.take();
    let mut say = |text: &str| match &mut input {
        Some(input) => input
            .write_all(format!("{text}\n").as_bytes())
            .map_err(could_not(session)),
        None => Ok(()),
    };
    say(password)?;
    match then {
        Some(then) => {
            shows(&[b"$ "], 1)?;
            say(then)?;
        }
        // login asks for another name. Hanging up would not do: where that signal is ignored it goes on asking nobody.
        None if session.way == Way::ConsoleWrong => {
            shows(&questions, 2)?;
            let login = reaper::children_of(&child.id().to_string());
            login.into_iter().for_each(reaper::end);
        }
        None => {}
    }
    child.wait().map_err(could_not(session)).map(drop)
}

/// What the program shows, kept as it comes.
fn shown(child: &mut Child) -> Arc<Mutex<Vec<u8>>> {
    let shown = Arc::new(Mutex::new(Vec::new()));
    if let Some(mut output) = child.stdout.take() {
        let kept = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..length]);
            }
        });
    }
    shown
}

fn count(text: &[u8], word: &[u8]) -> usize {
    text.windows(word.len())
        .filter(|window| *window == word)
        .count()
}

fn could_not(session: &Session) -> impl Fn(std::io::Error) -> Failure {
    let what = format!("session {} ({:?})", session.user, session.way);
    move |source| Failure::Run {
        what: what.clone(),
        source,
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
