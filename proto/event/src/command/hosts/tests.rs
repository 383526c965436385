//! What a root says of its hosts, and everything that does not show that a host is one of them.

use super::*;

/// Odd and even, whole trees and one more or fewer.
const SIZES: [u32; 12] = [1, 2, 3, 4, 5, 7, 8, 9, 33, 64, 100, 257];

fn host(number: u32) -> HostId {
    HostId::new(*Digest::of(&number.to_le_bytes()).as_bytes())
}

fn hosts(count: u32) -> Vec<HostId> {
    (0..count).map(host).collect()
}

/// In rings where there are three hosts or more.
fn tree(count: u32) -> (HostTree, Vec<u32>) {
    let rings = if count < 3 {
        Vec::new()
    } else {
        vec![1, count / 2, count]
    };
    (HostTree::sorting(hosts(count), &rings).unwrap(), rings)
}

/// MTH of RFC 9162, 2.1.1, word by word, over what the format says of a host.
fn plain(entries: &[(u32, HostId)]) -> Digest {
    match entries {
        [] => Digest::of(&[]),
        [(ring, host)] => {
            let prefix = b"picket/host-set/v1\0";
            let entry = [&prefix[..], &ring.to_le_bytes(), host.as_bytes()].concat();
            let leaf = [&[0][..], Digest::of(&entry).as_bytes()].concat();
            Digest::of(&leaf)
        }
        _ => {
            let half = entries.len().next_power_of_two() >> 1;
            let (left, right) = entries.split_at(half);
            let node = [&[1][..], plain(left).as_bytes(), plain(right).as_bytes()].concat();
            Digest::of(&node)
        }
    }
}

fn shows(set: HostSet, rings: &[u32], host: &HostId, proof: &v1::HostProof) -> Option<u32> {
    set.ring_shown(rings, host, Some(proof)).ok()
}

#[test]
fn every_host_shows_that_it_is_one_of_them_and_in_which_ring() {
    for count in SIZES {
        let (tree, rings) = tree(count);
        let ring_of = |at: u32| match rings.iter().position(|end| at < *end) {
            Some(before) => u32::try_from(before).unwrap() + 1,
            None => 0,
        };
        let entries = (0..).zip(tree.hosts());
        let entries: Vec<_> = entries.map(|(at, host)| (ring_of(at), *host)).collect();
        assert_eq!(tree.set().root, plain(&entries), "{count}");
        assert_eq!(tree.set().count, count);
        for (ring, host) in entries {
            let proof = tree.proof(&host).unwrap();
            assert_eq!(shows(tree.set(), &rings, &host, &proof), Some(ring));
        }
        assert_eq!(tree.proof(&host(count)), None);
    }
}

#[test]
fn nothing_is_shown_by_an_altered_proof() {
    for count in SIZES {
        let (tree, rings) = tree(count);
        for host in tree.hosts() {
            let honest = tree.proof(host).unwrap();
            for index in (0..=count).filter(|index| *index != honest.index) {
                let elsewhere = v1::HostProof {
                    index,
                    ..honest.clone()
                };
                assert_eq!(shows(tree.set(), &rings, host, &elsewhere), None);
            }
            for at in 0..honest.path.len() {
                let mut flipped = honest.clone();
                flipped.path[at][at % 32] ^= 1 << (at % 8);
                assert_eq!(shows(tree.set(), &rings, host, &flipped), None);
                let mut shorter = honest.clone();
                drop(shorter.path.remove(at));
                assert_eq!(shows(tree.set(), &rings, host, &shorter), None);
                let mut cut = honest.clone();
                cut.path[at].pop();
                assert_eq!(shows(tree.set(), &rings, host, &cut), None);
            }
            let mut longer = honest.clone();
            longer.path.push(vec![0; 32]);
            assert_eq!(shows(tree.set(), &rings, host, &longer), None);
            longer.path.resize(10_000, vec![0; 32]);
            assert_eq!(shows(tree.set(), &rings, host, &longer), None);
            assert_eq!(
                tree.set().ring_shown(&rings, host, None),
                Err(HostSetError::NoProof)
            );
        }
    }
}

#[test]
fn the_proof_of_another_host_or_of_another_set_shows_nothing() {
    for count in SIZES {
        let (tree, rings) = tree(count);
        let stranger = host(count);
        for other in tree.hosts() {
            let proof = tree.proof(other).unwrap();
            assert_eq!(shows(tree.set(), &rings, &stranger, &proof), None);
            let neighbour = tree.hosts().iter().find(|one| *one != other);
            let shown = neighbour.and_then(|one| shows(tree.set(), &rings, one, &proof));
            assert_eq!(shown, None);
        }
        let more = HostTree::sorting(hosts(count + 1), &[]).unwrap();
        let proof = more.proof(&stranger).unwrap();
        assert_eq!(shows(tree.set(), &[], &stranger, &proof), None);
    }
}

/// The number decides how many persons must sign: a large tree must be of no use under a small one.
#[test]
fn no_more_hosts_than_were_signed_can_show_that_they_are_meant() {
    let tree = HostTree::sorting(hosts(100), &[]).unwrap();
    for count in [1, 2, 7, 10, 50, 99, 101, 128, 200] {
        let set = HostSet {
            count,
            ..tree.set()
        };
        let mut shown = 0;
        for host in tree.hosts() {
            let honest = tree.proof(host).unwrap();
            let tried = (0..count.min(12)).chain([honest.index]);
            let any = tried.flat_map(|index| {
                let lengths = 0..=honest.path.len();
                lengths.map(move |length| (index, length))
            });
            let mut any = any.map(|(index, length)| {
                let parts = [
                    &honest.path[..length],
                    &honest.path[honest.path.len() - length..],
                ];
                parts.map(|path| v1::HostProof {
                    index,
                    path: path.to_vec(),
                })
            });
            let whole = HostSet {
                root: set.root,
                count,
            };
            let is_shown = any.any(|tried| {
                tried
                    .iter()
                    .any(|proof| shows(whole, &[], host, proof).is_some())
            });
            shown += u32::from(is_shown);
        }
        assert!(shown <= count.min(100), "{shown} of {count}");
        assert!(count >= 64 || shown == 0, "{shown} of {count}");
    }
}

#[test]
fn what_stands_above_two_hosts_is_no_host() {
    let tree = HostTree::sorting(hosts(4), &[]).unwrap();
    let node = tree.levels[1][0];
    // As if the left pair's node were the first of two hosts.
    let half = HostSet {
        count: 2,
        ..tree.set()
    };
    let path = vec![tree.levels[1][1].as_bytes().to_vec()];
    let proof = v1::HostProof { index: 0, path };
    let as_host = HostId::new(*node.as_bytes());
    assert_eq!(shows(half, &[], &as_host, &proof), None);
    for host in tree.hosts() {
        assert_eq!(shows(half, &[], host, &proof), None);
    }
    let alone = HostSet {
        root: node,
        count: 1,
    };
    let nothing = v1::HostProof::default();
    assert_eq!(shows(alone, &[], &as_host, &nothing), None);
}

#[test]
fn a_host_cannot_be_moved_to_another_ring() {
    let signed = [2, 7];
    let tree = HostTree::sorting(hosts(7), &signed).unwrap();
    let third = &tree.hosts()[2];
    let proof = tree.proof(third).unwrap();
    assert_eq!(shows(tree.set(), &signed, third, &proof), Some(2));
    // Its place is the same under these ends, its ring is not.
    assert_eq!(shows(tree.set(), &[3, 7], third, &proof), None);
    assert_eq!(shows(tree.set(), &[1, 2, 7], third, &proof), None);
    assert_eq!(shows(tree.set(), &[], third, &proof), None);
    let other = HostTree::of(tree.hosts().to_vec(), &[7])
        .or_else(|_order| HostTree::sorting(hosts(7), &[7]));
    assert_ne!(other.unwrap().set().root, tree.set().root);
}

#[test]
fn hosts_have_one_order_and_are_there_once() {
    let mut sorted = hosts(5);
    sorted.sort_unstable();
    let of = |hosts: &[HostId], rings: &[u32]| HostTree::of(hosts.to_vec(), rings).err();
    assert_eq!(of(&sorted, &[]), None);
    let mut turned = sorted.clone();
    turned.swap(1, 2);
    assert_eq!(of(&turned, &[]), Some(HostSetError::Order));
    assert_eq!(of(&turned, &[2, 5]), None);
    let twice = [sorted.clone(), vec![sorted[4]]].concat();
    assert_eq!(of(&twice, &[]), Some(HostSetError::Order));
    assert_eq!(
        of(&twice, &[5, 6]),
        Some(HostSetError::Order),
        "in two rings"
    );
    assert_eq!(
        HostTree::sorting(twice, &[5, 6]).err(),
        Some(HostSetError::Order)
    );
    assert_eq!(of(&[], &[]), Some(HostSetError::Size(0)));
    for bad in [&[2, 9][..], &[2], &[3, 2, 5]] {
        assert_eq!(of(&sorted, bad), Some(HostSetError::Order), "{bad:?}");
        let sorting = HostTree::sorting(sorted.clone(), bad).err();
        assert_eq!(sorting, Some(HostSetError::Order), "{bad:?}");
    }
    let many = vec![sorted[0]; MAX_HOST_SET + 1];
    assert_eq!(of(&many, &[]), Some(HostSetError::Size(MAX_HOST_SET + 1)));
}
