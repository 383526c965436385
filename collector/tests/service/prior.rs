//! What hosts say that they have comes back as the fleet's prior, once enough of them say it.

use std::time::Duration;

use picket_event::fleet::{FleetSecret, MOST_PAIRS, Pair, Prior, Sketch};
use picket_proto::v1;
use picket_proto::v1::agent_frame::Frame as FromAgent;
use picket_proto::v1::collector_frame::Frame as ToAgent;
use picket_seal::PublicKey;

use crate::collector::{Collector, eventually};
use crate::host::Host;
use crate::session::{self, Session};

fn secret(session: &Session) -> FleetSecret {
    FleetSecret::from_slice(&session.welcome.fleet_secret).unwrap()
}

async fn tell(session: &Session, sketch: v1::FleetSketch) {
    let frame = Some(FromAgent::Sketch(sketch));
    session.to.send(v1::AgentFrame { frame }).await.unwrap();
}

/// The next prior that the session brings.
async fn prior(session: &mut Session) -> (Prior, v1::SignedPrior) {
    let next = async {
        loop {
            if let Some(ToAgent::Prior(signed)) =
                session.from.message().await.unwrap().unwrap().frame
            {
                let key = PublicKey::from_slice(&signed.public_key).unwrap();
                return (Prior::read(&signed, &key).unwrap(), signed);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), next)
        .await
        .unwrap()
}

fn pair(context: u64, value: u64) -> Pair {
    Pair { context, value }
}

#[tokio::test]
async fn what_five_hosts_have_is_told_to_all_and_outlives_a_restart() {
    let mut collector = Collector::start().await;
    let mut sessions = Vec::new();
    for number in 0..6 {
        let host = Host::enrolled(&collector).await;
        let session = session::open(&host, &collector).await;
        let mut pairs = vec![pair(1, 10), pair(1, 1_000 + number)];
        if number > 1 {
            pairs.push(pair(2, 20));
        }
        let fleet = secret(&session).id();
        // The last one says it under a secret that it made up.
        let fleet = if number == 5 {
            FleetSecret::new([1; 16]).id()
        } else {
            fleet
        };
        tell(&session, Sketch { fleet, pairs }.into()).await;
        sessions.push((host, session));
    }
    let mut first = None;
    for (_, session) in &mut sessions {
        let (told, signed) = prior(session).await;
        assert_eq!((told.number, told.hosts), (1, 5));
        assert_eq!(told.fleet, secret(session).id());
        let contexts: Vec<_> = told
            .contexts
            .iter()
            .map(|one| (one.context, one.hosts))
            .collect();
        let values: Vec<_> = told
            .values
            .iter()
            .map(|one| (one.value, one.hosts))
            .collect();
        assert_eq!((contexts, values), (vec![(1, 5)], vec![(10, 5)]));
        // Half of what each host has in it, no other has.
        assert_eq!(told.contexts[0].values, 6);
        first = Some(signed);
    }
    let (host, _) = sessions.remove(0);
    drop(sessions);
    collector.stop().await;
    collector.run().await;
    let mut again = session::open(&host, &collector).await;
    assert_eq!(Some(prior(&mut again).await.1), first);
}

#[tokio::test]
async fn fewer_than_five_hosts_are_told_nothing() {
    let collector = Collector::start().await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let host = Host::enrolled(&collector).await;
        let session = session::open(&host, &collector).await;
        let fleet = secret(&session).id();
        let pairs = vec![pair(1, 10); 900];
        tell(&session, Sketch { fleet, pairs }.into()).await;
        sessions.push(session);
    }
    let one = &mut sessions[0];
    let heard = tokio::time::timeout(Duration::from_secs(5), one.from.message()).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test]
async fn a_sketch_that_is_none_or_too_large_ends_the_session_by_name() {
    let collector = Collector::start().await;
    let uneven = v1::FleetSketch {
        fleet: vec![1; 8],
        contexts: vec![1, 2],
        values: vec![1],
    };
    let large = v1::FleetSketch {
        fleet: vec![1; 8],
        contexts: vec![1; MOST_PAIRS + 1],
        values: vec![1; MOST_PAIRS + 1],
    };
    for (sketch, reason) in [(uneven, "bad_sketch"), (large, "too_large")] {
        let host = Host::enrolled(&collector).await;
        let mut session = session::open(&host, &collector).await;
        tell(&session, sketch).await;
        let ended = session.from.message().await.unwrap_err();
        assert!(ended.message().contains(reason), "{ended:?}");
        eventually(|| async { collector.calls_refused(reason).await == 1 }).await;
    }
}
