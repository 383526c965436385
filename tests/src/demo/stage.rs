//! The demo's host, service and intruder, and what each act does with them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use serde_json::Value;

use super::story::Story;
use super::{PATIENCE, grounds, intruder};
use crate::failure::Failure;
use crate::rig::{Rig, write_file};
use crate::service::Service;
use crate::wait;

/// Everything that runs for the demo. Dropping it ends it all, the intruder's leftovers included.
pub(super) struct Stage {
    service: WebService,
    agent: Option<Service>,
    rig: Rig,
    state: PathBuf,
    host_id: String,
    _listener: TcpListener,
    listener_port: u16,
}

/// The intrusion, as far as it was seen.
pub(super) struct Attack {
    /// The shell that the service was made to start.
    shell_uid: String,
    /// From the request to the first alert that a search finds.
    found_after: Duration,
}

impl Stage {
    /// Prepares decoys, enrols and starts the agent, starts the service.
    pub(super) fn set(rig: Rig, story: &mut Story) -> Result<Self, Failure> {
        let host = rig.path().join("host");
        set_decoys(&host)?;
        let config = rig.path().join("agent.toml");
        write_file(&config, config_for(&host))?;
        let state = rig.enroll("agent")?;
        let agent = rig.agent(&state, Some(&config))?;
        tell_sensor(&rig, &state, story)?;
        let service = WebService::start(&host)?;
        let listen = |source| Failure::Run {
            what: "the decoy listener".to_owned(),
            source,
        };
        let listener = TcpListener::bind("127.0.0.1:0").map_err(listen)?;
        let listener_port = listener.local_addr().map_err(listen)?.port();
        let host_id = host_id(&rig)?;
        story.command("picketctl hosts", &rig.ctl_prints(&["hosts"])?);
        let agent = Some(agent);
        Ok(Self {
            service,
            agent,
            rig,
            state,
            host_id,
            _listener: listener,
            listener_port,
        })
    }

    /// Makes the service run the payload and waits for the first alert about it.
    pub(super) fn attack(&self) -> Result<Attack, Failure> {
        let host = self.rig.path().join("host");
        let script = host.join("payload.sh");
        let second_stage = self.service.program.clone();
        write_file(
            &script,
            intruder::payload(&host, &second_stage, self.listener_port),
        )?;
        let began = Instant::now();
        self.service.request(&format!("/run{}", script.display()))?;
        let filter = format!("process.argv ~ '{}'", script.display());
        let shell_uid = wait::until("the exec event of the intruder's shell", PATIENCE, || {
            let found = self
                .rig
                .ctl_json(&["events", "--kind", "exec", "--where", &filter])?;
            Ok(found.first().and_then(|event| text(event, "/process/uid")))
        })?;
        wait::until("the first alert", PATIENCE, || {
            let alerts = self.alerts()?;
            Ok((!alerts.is_empty()).then_some(()))
        })?;
        let found_after = began.elapsed();
        // The slower acts of the payload: memory, connection, respawning children.
        wait::pause(Duration::from_secs(2));
        Ok(Attack {
            shell_uid,
            found_after,
        })
    }

    /// Prints what was seen and judged.
    pub(super) fn show_alerts(&self, story: &mut Story, attack: &Attack) -> Result<(), Failure> {
        let millis = attack.found_after.as_millis();
        story.line(&format!(
            "   first alert found by a search {millis} ms after the request"
        ));
        story.step("the intruder's process tree, as the collector knows it");
        let args = ["tree", &self.host_id, &attack.shell_uid];
        story.command(&typed(&args), &shortened(&self.rig.ctl_prints(&args)?, 16));
        story.step("the alerts, each with its grounds");
        let args = ["events", "--where", ALERTS];
        story.command(&typed(&args), &shortened(&self.rig.ctl_prints(&args)?, 24));
        self.explain(story, attack)
    }

    /// Ends the intruder's tree by a command that the operator signs, and looks itself.
    pub(super) fn contain(&self, story: &mut Story, attack: &Attack) -> Result<(), Failure> {
        story.step("containment: kill-tree, signed by the operator, checked by the agent");
        let before = descendants(self.service.pid());
        let args = [
            "contain",
            "kill-tree",
            &attack.shell_uid,
            "--host",
            &self.host_id,
            "--reason",
            "web shell (demo)",
            "--wait",
        ];
        story.command(&typed(&args), &self.rig.ctl_prints(&args)?);
        let left = descendants(self.service.pid());
        if !left.is_empty() {
            let text = format!("{} of {} processes are left", left.len(), before.len());
            return Err(Failure::Unexpected {
                what: "kill-tree".to_owned(),
                text,
            });
        }
        self.service.request("/")?;
        story.line(&format!(
            "   looked up in /proc: {} processes of the intruder before, 0 after; the service itself still answers",
            before.len()
        ));
        Ok(())
    }

    /// Verifies the evidence and shows that both ledgers balance.
    pub(super) fn prove(&self, story: &mut Story) -> Result<(), Failure> {
        story.step("the evidence, verified by the operator and not by the collector");
        let receipts = "kind = 'containment'";
        let args = ["events", "--where", receipts];
        story.command(&typed(&args), &self.rig.ctl_prints(&args)?);
        story.command("picketctl verify", &self.rig.ctl_prints(&["verify"])?);
        story.step("both ledgers: nothing is lost in silence");
        let args = ["host", "show", &self.host_id];
        wait::until("the agent's ledger at the collector", PATIENCE, || {
            let known = self.rig.ctl_json(&args)?;
            Ok(known
                .iter()
                .any(|host| host.to_string().contains("generated"))
                .then_some(()))
        })?;
        story.command(&typed(&args), &self.rig.ctl_prints(&args)?);
        if let Some(kib) = self.agent.as_ref().and_then(Service::resident_kib) {
            story.line(&format!("   agent resident memory: {} MB", kib / 1024));
        }
        Ok(())
    }

    /// Leaves everything running and says how to go on.
    pub(super) fn keep(mut self, story: &mut Story) -> Result<(), Failure> {
        let ctl = self.rig.programs.path("picketctl")?.display().to_string();
        let agent = self
            .rig
            .programs
            .path("picket-agent")?
            .display()
            .to_string();
        story.title("It keeps running; Ctrl-C ends it and removes everything. Explore it from another terminal:");
        story.line(&format!(
            "   export PICKET_OPERATOR={}",
            self.rig.operator().display()
        ));
        for args in ["hosts", "tail", "events --since 10m", "verify", "commands"] {
            story.line(&format!("   {ctl} {args}"));
        }
        story.line(&format!(
            "   {agent} status --state {}",
            self.state.display()
        ));
        story.line(&format!(
            "   curl http://{}/metrics",
            self.rig.addresses.metrics
        ));
        while !wait::interrupted() {
            wait::pause(Duration::from_millis(200));
            let runs = self.agent.as_mut().map_or(Ok(()), Service::still_runs);
            // Ctrl-C reaches the agent too, and it may be the first to end.
            wait::pause(Duration::from_millis(200));
            if !wait::interrupted() {
                runs?;
            }
        }
        self.end(story)
    }

    /// Ends everything and says where to look next.
    pub(super) fn end(mut self, story: &mut Story) -> Result<(), Failure> {
        if let Some(agent) = self.agent.take() {
            agent.stop(PATIENCE)?;
        }
        story.title("Where to look next");
        story.line("   make demo KEEP=1           leave it running and explore it with picketctl");
        story.line("   README.md                  what Picket is, how to install and operate it");
        story.line("   SPECIFICATION.md           every promise with the test that shows it");
        story.line("   everything was stopped and removed");
        Ok(())
    }

    fn alerts(&self) -> Result<Vec<Value>, Failure> {
        self.rig.ctl_json(&["events", "--where", ALERTS])
    }

    /// The grounds of the first alert: what the rules say, and how surprising the scorer found it.
    fn explain(&self, story: &mut Story, attack: &Attack) -> Result<(), Failure> {
        let filter = format!("process.uid = '{}'", attack.shell_uid);
        let args = ["events", "--kind", "exec", "--where", &filter, "--json"];
        let printed = self.rig.ctl_prints(&args)?;
        story.line("   what the event of the intruder's shell says about itself:");
        for line in grounds::lines(printed.lines().next().unwrap_or_default())? {
            story.line(&format!("   {line}"));
        }
        Ok(())
    }
}

/// A command as a person would type it.
fn typed(args: &[&str]) -> String {
    let quoted = args.iter().map(|arg| {
        let plain = arg
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./=".contains(c));
        if plain {
            (*arg).to_owned()
        } else {
            format!("\"{arg}\"")
        }
    });
    format!("picketctl {}", quoted.collect::<Vec<_>>().join(" "))
}

const ALERTS: &str = "class = 'alert' and kind != 'containment'";

/// The attacked service, in a process group of its own, so that nothing of it is left.
struct WebService {
    service: Service,
    program: PathBuf,
    port: String,
}

impl WebService {
    fn start(host: &Path) -> Result<Self, Failure> {
        let own = std::env::current_exe().map_err(Failure::file("/proc/self/exe"))?;
        let program = host.join("usr/sbin/httpd");
        fs::copy(&own, &program).map_err(Failure::file(&program))?;
        let port_file = host.join("run/httpd.port");
        let mut command = Command::new(&program);
        command.arg("web-service").arg(&port_file).process_group(0);
        let service = Service::start("the decoy web service", command, &host.join("httpd.log"))?;
        let port = wait::until("the decoy web service", PATIENCE, || {
            Ok(fs::read_to_string(&port_file)
                .ok()
                .filter(|port| !port.is_empty()))
        })?;
        Ok(Self {
            service,
            program,
            port,
        })
    }

    fn pid(&self) -> u32 {
        self.service.pid()
    }

    fn request(&self, path: &str) -> Result<(), Failure> {
        let ask = || -> std::io::Result<()> {
            let mut connection = TcpStream::connect(format!("127.0.0.1:{}", self.port))?;
            connection.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
            connection.read_to_end(&mut Vec::new()).map(drop)
        };
        ask().map_err(|source| Failure::Run {
            what: "the request".to_owned(),
            source,
        })
    }
}

impl Drop for WebService {
    fn drop(&mut self) {
        let group = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // It is gone when nobody is left in it.
            kill_process_group(group, Signal::KILL).unwrap_or_default();
        }
    }
}

fn set_decoys(host: &Path) -> Result<(), Failure> {
    write_file(&host.join("etc/shadow"), "root:decoy:19000:0:99999:7:::\n")?;
    for folder in ["etc/cron.d", "tmp", "run", "usr/sbin"] {
        let folder = host.join(folder);
        fs::create_dir_all(&folder).map_err(Failure::file(&folder))?;
    }
    Ok(())
}

fn config_for(host: &Path) -> String {
    let host = host.display();
    format!(
        "# The demo watches its own make-believe host beside /etc.\n\
         watch_paths = [\"/etc\", \"{host}\"]\n\
         secret_paths = [\"/etc/shadow\", \"{host}/etc/shadow\"]\n"
    )
}

/// Says which sensor runs and why.
fn tell_sensor(rig: &Rig, state: &Path, story: &mut Story) -> Result<(), Failure> {
    let state = state.display().to_string();
    let printed = rig
        .programs
        .succeed("picket-agent", &["status", "--json", "--state", &state])?;
    let status = crate::rig::parse(
        "picket-agent status",
        printed.lines().next().unwrap_or("{}"),
    )?;
    let backend = text(&status, "/sensor/backend").unwrap_or_else(|| "unknown".to_owned());
    let why = if geteuid().is_root() {
        "root"
    } else {
        "not root: the portable sensors are used"
    };
    story.line(&format!("   sensor: {backend} ({why})"));
    Ok(())
}

fn host_id(rig: &Rig) -> Result<String, Failure> {
    wait::until("the host in the collector's list", PATIENCE, || {
        let hosts = rig.ctl_json(&["hosts"])?;
        let up = hosts.iter().find(|host| host["connected"] == true);
        Ok(up.and_then(|host| text(host, "/host")))
    })
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().map(str::to_owned)
}

fn shortened(printed: &str, lines: usize) -> String {
    let all: Vec<&str> = printed.lines().collect();
    if all.len() <= lines {
        return printed.to_owned();
    }
    let kept = all
        .iter()
        .take(lines)
        .copied()
        .collect::<Vec<_>>()
        .join("\n");
    format!("{kept}\n... {} more lines", all.len() - lines)
}

/// Living descendants of a process, as `/proc` lists them now.
fn descendants(root: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = living().collect();
    let mut tree = BTreeSet::from([root]);
    while let Some(more) = parents
        .iter()
        .find(|(pid, up)| tree.contains(up) && !tree.contains(pid))
    {
        tree.insert(more.0);
    }
    tree.remove(&root);
    tree
}

/// Process and parent of every process that is not a zombie.
fn living() -> impl Iterator<Item = (u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        (state != "Z").then_some((pid, parent))
    })
}
