//! What other hosts have comes to the real agent by the real collector, and is there again after a restart.
//!
//! The hosts are enrolled by the real program; their sketches are put into the collector's database, since an agent tells its own only after two days.

use picket_event::{Clock, SystemClock};
use picket_tests::rig::{PATIENCE, Rig, portable_agent};
use picket_tests::wait;
use rusqlite::Connection;
use serde_json::Value;

/// Gives each enrolled host a sketch: one context with one value, the same for all.
fn plant(rig: &Rig) -> usize {
    let database = Connection::open(rig.data().join("collector.db")).unwrap();
    let pairs = [7_u64.to_le_bytes(), 8_u64.to_le_bytes()].concat();
    let sql = "INSERT INTO sketch (host, taken, pairs) SELECT id, ?1, ?2 FROM host";
    database.execute(sql, (SystemClock.now().0, pairs)).unwrap()
}

fn fleet(status: &Value) -> Value {
    status["scorer"]["fleet"].clone()
}

#[test]
fn the_agent_takes_the_fleets_prior_and_has_it_again_while_its_collector_is_away() {
    let mut rig = Rig::start().unwrap();
    let states: Vec<_> = (0..5)
        .map(|number| rig.enroll(&format!("host-{number}")).unwrap())
        .collect();
    rig.crash_collector();
    assert_eq!(plant(&rig), 5);
    rig.restart_collector().unwrap();
    let agent = portable_agent(&rig, &states[0]).unwrap();
    let wanted = |state: &std::path::Path| {
        wait::until("the fleet's prior", PATIENCE, || {
            let told = fleet(&rig.status(state)?);
            Ok((told["prior"] == 1).then_some(told))
        })
    };
    let told = wanted(&states[0]).unwrap();
    assert_eq!((&told["hosts"], &told["contexts"]), (&5.into(), &1.into()));
    assert_eq!(told["values"], 1, "{told}");
    agent.stop(PATIENCE).unwrap();
    rig.crash_collector();
    let agent = portable_agent(&rig, &states[0]).unwrap();
    let again = wait::until("the prior that was kept", PATIENCE, || {
        let told = fleet(&rig.status(&states[0])?);
        Ok((told["prior"] == 1).then_some(told))
    });
    assert_eq!(again.unwrap()["values"], 1);
    agent.stop(PATIENCE).unwrap();
}
