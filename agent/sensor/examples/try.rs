use picket_sensor::{*, login::*};
use std::time::{Duration, Instant};
fn main() {
    let arg = std::env::args().nth(1).unwrap();
    let boot = identity::boot_id().unwrap();
    let mut out = Vec::new();
    if arg == "portable" {
        let t = Instant::now();
        let mut s = open_portable(Settings::new(boot)).unwrap();
        println!("open {:?} cpu {}", t.elapsed(), {let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<String> = s.rsplit(')').next().unwrap().split_whitespace().map(String::from).collect(); format!("{} {}", f[11], f[12])});
        for h in s.hooks() { println!("{h:?}"); }
        let secs: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
        let t = Instant::now();
        let cpu = || { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect(); f[11].parse::<u64>().unwrap()+f[12].parse::<u64>().unwrap() };
        let c0 = cpu();
        while t.elapsed() < Duration::from_secs(secs) { s.poll(Duration::from_millis(200), &mut out).unwrap(); if std::env::args().len()>3 { out.clear(); } }
        println!("cpu ticks {} in {secs} s; events {}", cpu()-c0, out.len());
        for e in out.iter().take(8) { println!("{:?} {:?} {:?}", e.kind, e.process.as_ref().map(|p| (p.pid, p.exe.clone(), p.argv.clone())), e.file().map(|f| f.path.clone())); }
        s.stop(&mut out).unwrap();
        println!("{:#?}", s.ledger());
        println!("{}", std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.starts_with("VmRSS")||l.starts_with("Threads")).collect::<Vec<_>>().join(" "));
    } else {
        let settings = LoginSettings { boot, wtmp: "/tmp/wtmp.bin".into(), btmp: "/nonexistent".into(), auth_log: vec![arg.into()] };
        let t = Instant::now();
        let mut f = LoginFollower::open_at_start(&settings);
        f.stop(&mut out).unwrap();
        println!("{:?} {} events", t.elapsed(), out.len());
        for e in out.iter().take(20) { println!("{:?} {} {:?}", e.kind, e.time, e.login()); }
        println!("{:#?} {:?}", f.ledger(), f.hooks());
    }
}
