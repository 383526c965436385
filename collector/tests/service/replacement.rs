//! A host that was another host before: only by a person's signature, once, and the old one ends.

use picket_event::replacement::Replacement;
use picket_event::{Clock, HostId, SystemClock};
use picket_proto::v1;
use picket_seal::SigningKey;
use tonic::Status;

use crate::collector::Collector;
use crate::host::Host;

fn word(host: &Host, predecessor: &Host, key: &SigningKey) -> v1::SignedReplacement {
    let said = Replacement {
        host: host.id(),
        predecessor: predecessor.id(),
        reason: "new disk".to_owned(),
        time: SystemClock.now(),
    };
    said.sign(key)
}

async fn replace(collector: &Collector, said: v1::SignedReplacement) -> Result<v1::Host, Status> {
    let answer = collector.operators().await.replace_host(said).await;
    answer.map(tonic::Response::into_inner)
}

async fn refused(collector: &Collector, said: v1::SignedReplacement) {
    let refused = replace(collector, said).await.unwrap_err();
    assert!(
        refused.message().starts_with("bad_replacement"),
        "{refused}"
    );
}

#[tokio::test]
async fn the_old_host_ends_and_both_name_each_other() {
    let collector = Collector::start().await;
    let (old, new) = (
        Host::enrolled(&collector).await,
        Host::enrolled(&collector).await,
    );
    let said = word(&new, &old, &collector.operator.signing);
    let shown = replace(&collector, said.clone()).await.unwrap();
    assert_eq!(shown.predecessor, old.id().as_bytes());
    assert!(shown.successor.is_empty() && !shown.revoked);
    let request = v1::ListHostsRequest {
        host: old.id().to_string(),
    };
    let listed = collector.operators().await.list_hosts(request).await;
    let before = &listed.unwrap().into_inner().hosts[0];
    assert_eq!(before.successor, new.id().as_bytes());
    assert!(before.revoked);
    // Once only, and not in a circle.
    refused(&collector, said).await;
    let third = Host::enrolled(&collector).await;
    refused(&collector, word(&third, &old, &collector.operator.signing)).await;
    refused(&collector, word(&new, &third, &collector.operator.signing)).await;
    refused(&collector, word(&old, &new, &collector.operator.signing)).await;
    replace(&collector, word(&third, &new, &collector.operator.signing))
        .await
        .unwrap();
    let (entries, chain) = collector.audit().await;
    let replaced = entries
        .iter()
        .filter(|entry| entry.action == "host.replace");
    assert_eq!(replaced.count(), 2);
    assert_eq!(chain.signed(), 2);
}

#[tokio::test]
async fn nobody_but_a_person_of_the_trust_root_is_believed() {
    let collector = Collector::start().await;
    let (old, new) = (
        Host::enrolled(&collector).await,
        Host::enrolled(&collector).await,
    );
    refused(
        &collector,
        word(&new, &old, &SigningKey::generate().unwrap()),
    )
    .await;
    let key = &collector.operator.signing;
    let mut altered = word(&new, &old, key);
    altered.body.push(0);
    refused(&collector, altered).await;
    let mut unsigned = word(&new, &old, key);
    unsigned.signature = None;
    refused(&collector, unsigned).await;
    refused(&collector, word(&new, &new, key)).await;
    let stranger = Replacement {
        host: HostId::new([9; 32]),
        predecessor: old.id(),
        reason: String::new(),
        time: SystemClock.now(),
    };
    let unknown = replace(&collector, stranger.sign(key)).await.unwrap_err();
    assert!(unknown.message().starts_with("not_found"), "{unknown}");
}
