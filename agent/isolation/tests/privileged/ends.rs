//! The end at the deadline, which needs nobody alive.

use std::time::{Duration, Instant};

use picket_isolation::{Deadline, Table, Wanted};

use super::ground::{Ground, PEER, only, pass, speaks, speaks_soon};

#[test]
fn the_kernel_ends_it_when_nobody_is_alive() {
    let ground = Ground::new();
    let elsewhere = ground.peer.echo(PEER, 9000);
    let collector = ground.peer.echo(PEER, 7443);
    let flow = ground.host.connect(elsewhere).unwrap();
    let began = Instant::now();
    let lasts = Duration::from_secs(3);
    let wanted = Wanted {
        until: Some(Deadline::after(lasts)),
        ..only(collector)
    };
    // Nothing of this program is left that could end it.
    ground
        .host
        .inside(|| Table::open().unwrap().apply(&wanted).unwrap());
    assert!(ground.host.connect(elsewhere).is_err());
    assert!(!speaks(&flow));
    assert!(
        began.elapsed() < lasts,
        "the machine is too slow to see it in force"
    );
    pass(lasts.saturating_sub(began.elapsed()));
    assert!(speaks_soon(&flow), "what was cut goes on");
    assert!(ground.host.connect(elsewhere).is_ok());
    let left = ground
        .host
        .inside(|| Table::open().unwrap().exists().unwrap());
    assert!(left, "the table is still there and lets everything through");
}

#[test]
fn a_table_without_an_end_stays() {
    let ground = Ground::new();
    let elsewhere = ground.peer.echo(PEER, 9000);
    let wanted = only(ground.peer.echo(PEER, 7443));
    let form = ground
        .host
        .inside(|| Table::open().unwrap().apply(&wanted).unwrap());
    pass(Duration::from_secs(2));
    assert!(ground.host.connect(elsewhere).is_err());
    let differs = ground
        .host
        .inside(|| Table::open().unwrap().difference(&wanted, form).unwrap());
    assert_eq!(differs, None);
}

#[test]
fn one_that_is_applied_again_ends_when_it_said_the_second_time() {
    let ground = Ground::new();
    let wanted = |seconds| Wanted {
        until: Some(Deadline::after(Duration::from_secs(seconds))),
        ..only(([10, 77, 0, 1], 7443).into())
    };
    let (long, short) = (wanted(3_600), wanted(60));
    ground.host.inside(|| {
        let mut table = Table::open().unwrap();
        let form = table.apply(&long).unwrap();
        assert!(table.difference(&short, form).unwrap().is_some());
        table.apply(&short).unwrap();
        assert_eq!(table.difference(&short, form).unwrap(), None);
        table.remove().unwrap();
        table.remove().unwrap();
    });
}
