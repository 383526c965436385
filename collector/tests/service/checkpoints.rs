//! Checkpoints: signed over everything, consistent with each other, told to hosts, there again after a restart.

use std::fs;

use picket_event::checkpoint::Checkpoint;
use picket_proto::v1;
use picket_proto::v1::collector_frame::Frame;
use picket_proto::v1::evidence_item::Item;
use picket_seal::tree::{leaf_hash, verify_consistency, verify_inclusion};
use picket_seal::{Digest, PublicKey, header_hash};

use crate::collector::{Collector, all};
use crate::host::{Host, exec};
use crate::session;

/// What the collector shows: its checkpoints, and each batch with its proof.
struct Shown {
    checkpoints: Vec<(Checkpoint, Digest)>,
    batches: Vec<(Digest, Option<v1::Inclusion>)>,
}

impl Shown {
    async fn ask(collector: &Collector, host: &str, checkpoint_now: bool) -> Self {
        let request = v1::EvidenceRequest {
            host: host.to_owned(),
            checkpoint_now,
            ..v1::EvidenceRequest::default()
        };
        let answer = collector.operators().await.evidence(request).await;
        let items = all(answer.unwrap().into_inner()).await.unwrap();
        let (mut shown, mut key) = (
            Self {
                checkpoints: Vec::new(),
                batches: Vec::new(),
            },
            None,
        );
        for item in items {
            match item.item.unwrap() {
                Item::Checkpoint(one) => shown.take(&one, &mut key),
                Item::Batch(batch) => shown.batches.push((header_hash(&batch.header), None)),
                Item::Inclusion(proof) => shown.batches.last_mut().unwrap().1 = Some(proof),
                Item::Host(_) | Item::Succession(_) | Item::Audit(_) | Item::Retired(_) => {}
            }
        }
        shown
    }

    /// Each must be signed, name the one before and hold all of it.
    fn take(&mut self, one: &v1::EvidenceCheckpoint, key: &mut Option<PublicKey>) {
        let key = *key.get_or_insert_with(|| PublicKey::from_slice(&one.public_key).unwrap());
        let signed = one.signed.as_ref().unwrap();
        let (checkpoint, hash) = Checkpoint::read(signed, &key).unwrap();
        let before = self.checkpoints.last();
        let previous = before.map_or(Digest::ZERO, |(_, hash)| *hash);
        assert_eq!(
            (checkpoint.previous, checkpoint.number),
            (previous, self.checkpoints.len() as u64 + 1)
        );
        let old = before.map_or((0, Digest::ZERO), |(old, _)| (old.size, old.root));
        let path = digests(&one.consistency);
        let held = verify_consistency((old.0, &old.1), (checkpoint.size, &checkpoint.root), &path);
        assert_eq!(held, Ok(()));
        self.checkpoints.push((checkpoint, hash));
    }

    /// How many batches are proven; a proof that is there must hold.
    fn proven(&self) -> usize {
        let proven = self.batches.iter().filter_map(|(header, proof)| {
            let (proof, last) = (proof.as_ref()?, &self.checkpoints.last()?.0);
            let path = digests(&proof.path);
            let leaf = leaf_hash(header);
            verify_inclusion(&leaf, proof.index, last.size, &path, &last.root).unwrap();
            Some(())
        });
        proven.count()
    }
}

fn digests(path: &[Vec<u8>]) -> Vec<Digest> {
    path.iter()
        .map(|hash| Digest::from_slice(hash).unwrap())
        .collect()
}

async fn send(host: &mut Host, collector: &Collector, count: usize) {
    for number in 0..count {
        let batch = host.batch(vec![exec(&format!("/{number}"))]);
        host.send_one(collector, batch).await;
    }
}

#[tokio::test]
async fn every_batch_is_proven_and_what_came_later_is_not() {
    let collector = Collector::start().await;
    let (mut one, mut other) = (
        Host::enrolled(&collector).await,
        Host::enrolled(&collector).await,
    );
    send(&mut one, &collector, 3).await;
    send(&mut other, &collector, 2).await;
    let before = Shown::ask(&collector, "", false).await;
    assert_eq!(
        (
            before.checkpoints.len(),
            before.proven(),
            before.batches.len()
        ),
        (0, 0, 5)
    );
    let first = Shown::ask(&collector, "", true).await;
    assert_eq!((first.checkpoints.len(), first.proven()), (1, 5));
    send(&mut one, &collector, 4).await;
    let later = Shown::ask(&collector, "", false).await;
    assert_eq!((later.proven(), later.batches.len()), (5, 9));
    let second = Shown::ask(&collector, "", true).await;
    assert_eq!((second.checkpoints.len(), second.proven()), (2, 9));
    // Of one host only its own batches, with the same places in the tree of all.
    let of_other = Shown::ask(&collector, &other.id().to_string(), false).await;
    assert_eq!((of_other.batches.len(), of_other.proven()), (2, 2));
    // Nothing new: nothing to sign.
    let again = Shown::ask(&collector, "", true).await;
    assert_eq!(again.checkpoints.len(), 2);
}

#[tokio::test]
async fn with_a_checkpoint_wanted_now_all_that_is_shown_is_in_it_however_busy_the_hosts_are() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let sending = send(&mut host, &collector, 300);
    let asking = async {
        for _ in 0..15 {
            let shown = Shown::ask(&collector, "", true).await;
            assert_eq!(shown.proven(), shown.batches.len());
        }
    };
    tokio::join!(sending, asking);
    let all = Shown::ask(&collector, "", true).await;
    assert_eq!((all.proven(), all.batches.len()), (300, 300));
}

#[tokio::test]
async fn checkpoints_go_on_after_a_restart_also_when_the_tree_is_gone() {
    let mut collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    send(&mut host, &collector, 3).await;
    let first = Shown::ask(&collector, "", true).await;
    for damage in [false, true] {
        collector.stop().await;
        if damage {
            fs::remove_dir_all(collector.folder.path().join("data/tree")).unwrap();
        }
        collector.run().await;
        send(&mut host, &collector, 2).await;
        let shown = Shown::ask(&collector, "", true).await;
        assert_eq!(shown.checkpoints[0].1, first.checkpoints[0].1);
        assert_eq!(shown.proven(), shown.batches.len());
    }
}

#[tokio::test]
async fn a_tree_that_was_altered_is_found_and_built_anew() {
    let mut collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    send(&mut host, &collector, 3).await;
    Shown::ask(&collector, "", true).await;
    collector.stop().await;
    let level = collector.folder.path().join("data/tree/level-0");
    let mut bytes = fs::read(&level).unwrap();
    bytes[40] ^= 1;
    fs::write(&level, bytes).unwrap();
    collector.run().await;
    send(&mut host, &collector, 1).await;
    let shown = Shown::ask(&collector, "", true).await;
    assert_eq!((shown.checkpoints.len(), shown.proven()), (2, 4));
}

#[tokio::test]
async fn nothing_is_signed_over_a_store_that_is_not_the_one_of_the_last_checkpoint() {
    let mut collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    send(&mut host, &collector, 3).await;
    Shown::ask(&collector, "", true).await;
    collector.stop().await;
    let data = collector.folder.path().join("data");
    fs::remove_dir_all(data.join("tree")).unwrap();
    let segment = data.join("wal/segment-0000000001.wal");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    collector.run().await;
    let request = v1::EvidenceRequest {
        checkpoint_now: true,
        ..v1::EvidenceRequest::default()
    };
    let answer = collector.operators().await.evidence(request).await;
    let failed = all(answer.unwrap().into_inner()).await.unwrap_err();
    assert_eq!(failed.code(), tonic::Code::Internal);
}

#[tokio::test]
async fn hosts_hear_of_the_newest_checkpoint_in_the_welcome_and_of_each_new_one() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    send(&mut host, &collector, 1).await;
    let mut session = session::open(&host, &collector).await;
    assert!(session.welcome.checkpoint.is_empty());
    let shown = Shown::ask(&collector, "", true).await;
    let hash = shown.checkpoints[0].1.as_bytes().to_vec();
    let heard = session.from.message().await.unwrap().unwrap().frame;
    assert_eq!(heard, Some(Frame::Checkpoint(hash.clone())));
    drop(session);
    let again = session::open(&host, &collector).await;
    assert_eq!(again.welcome.checkpoint, hash);
}
