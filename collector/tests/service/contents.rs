//! Content as hosts get it: offered to those that may have it, fetched by its hash, given whole to agents of before.

use picket_event::content::{Content, ContentFile, ContentKind};
use picket_event::{Clock, SystemClock};
use picket_proto::v1;
use picket_proto::v1::collector_frame::Frame as ToAgent;
use picket_seal::{Digest, Domain};
use prost::Message;
use tonic::Status;

use crate::collector::{Collector, all};
use crate::host::Host;
use crate::session::{Session, open_as};

/// Rules of about this size, published and released to these hosts.
async fn released(collector: &Collector, size: usize, to: &[&Host]) -> v1::SignedContent {
    let content = Content {
        kind: ContentKind::Rules,
        version: 1,
        created: SystemClock.now(),
        files: vec![ContentFile {
            name: "rules.yml".to_owned(),
            text: "#".repeat(size),
        }],
        reason: "test".to_owned(),
    };
    let body = content.encode();
    let key = &collector.operator.signing;
    let signature = key.sign(Domain::Content, Digest::of(&body).as_bytes());
    let signed = v1::SignedContent {
        body,
        signatures: vec![v1::Signature {
            key_id: key.public_key().key_id().0.to_vec(),
            signature: signature.0.to_vec(),
        }],
    };
    let mut operators = collector.operators().await;
    operators.publish_content(signed.clone()).await.unwrap();
    let release = v1::ReleaseContentRequest {
        kind: ContentKind::Rules.to_wire(),
        version: 1,
        everyone: false,
        host_ids: to
            .iter()
            .map(|host| host.id().as_bytes().to_vec())
            .collect(),
    };
    operators.release_content(release).await.unwrap();
    signed
}

async fn next(session: &mut Session) -> Option<ToAgent> {
    session.from.message().await.unwrap().unwrap().frame
}

async fn speaking(host: &Host, collector: &Collector, fetches_content: bool) -> Session {
    let facts = v1::HostFacts {
        fetches_content,
        ..v1::HostFacts::default()
    };
    open_as(host, collector, facts).await
}

async fn fetch(
    host: &Host,
    collector: &Collector,
    (sha256, offset): (&[u8], u64),
) -> Result<Vec<v1::Chunk>, Status> {
    let request = v1::FetchRequest {
        sha256: sha256.to_vec(),
        offset,
    };
    let mut client = host.connect(collector).await;
    all(client.fetch(request).await?.into_inner()).await
}

fn joined(chunks: &[v1::Chunk]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| chunk.data.clone()).collect()
}

#[tokio::test]
async fn a_host_is_offered_what_it_may_have_and_fetches_it_from_any_offset() {
    let collector = Collector::start().await;
    let (host, other) = (
        Host::enrolled(&collector).await,
        Host::enrolled(&collector).await,
    );
    let mut session = speaking(&host, &collector, true).await;
    let signed = released(&collector, 700 << 10, &[&host]).await;
    let bytes = signed.encode_to_vec();
    let Some(ToAgent::Offer(offer)) = next(&mut session).await else {
        panic!("nothing was offered")
    };
    assert_eq!((offer.version, offer.bytes), (1, bytes.len() as u64));
    assert_eq!(offer.sha256, Digest::of(&bytes).as_bytes());
    let chunks = fetch(&host, &collector, (&offer.sha256, 0)).await.unwrap();
    assert!(chunks.len() > 2 && chunks.iter().all(|chunk| chunk.total == offer.bytes));
    assert!(joined(&chunks) == bytes);
    for offset in [1, 300_000, bytes.len() - 1, bytes.len()] {
        let rest = fetch(&host, &collector, (&offer.sha256, offset as u64)).await;
        assert!(joined(&rest.unwrap()) == bytes[offset..], "{offset}");
    }
    let refused = async |host: &Host, sha256: &[u8], offset| {
        let refused = fetch(host, &collector, (sha256, offset)).await;
        refused
            .unwrap_err()
            .message()
            .split(':')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(refused(&other, &offer.sha256, 0).await, "not_found");
    assert_eq!(refused(&host, &[7; 32], 0).await, "not_found");
    assert_eq!(refused(&host, &[7; 31], 0).await, "bad_query");
    assert_eq!(
        refused(&host, &offer.sha256, offer.bytes + 1).await,
        "bad_query"
    );
    assert_eq!(refused(&host, &offer.sha256, u64::MAX).await, "bad_query");
}

#[tokio::test]
async fn an_agent_of_before_is_given_it_whole() {
    let collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    let signed = released(&collector, 1_000, &[&host]).await;
    let mut session = speaking(&host, &collector, false).await;
    let Some(ToAgent::Content(given)) = next(&mut session).await else {
        panic!("it was not given")
    };
    assert_eq!(given, signed);
}
