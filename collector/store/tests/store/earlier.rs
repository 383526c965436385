//! What an earlier version sealed is read, searched and merged as what is sealed now.
//!
//! `tests/data/sealed-1` is the store of a collector whose sealed files had the exact bytes of every event in a column (`picket.schema` 1).

use std::fs;
use std::path::Path;

use picket_store::{Reader, Sealer, Store};

use crate::host::SMALL;
use crate::sealing::{EAGER, Fleet, files, same};

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn log_alone(folder: &Path) -> Reader {
    Store::open(&folder.join("wal"), SMALL).unwrap().0.reader()
}

#[test]
fn files_of_the_version_before_are_read_and_merged_with_those_of_now() {
    let folder = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sealed-1");
    copy(&data, folder.path());
    let sealed = folder.path().join("sealed");
    let earlier = files(&sealed).len();
    assert_eq!(earlier, 6);
    let (mut store, _) = Store::open(&folder.path().join("wal"), SMALL).unwrap();
    let (mut sealer, leftovers) = Sealer::open(&store.reader(), &sealed, EAGER).unwrap();
    assert_eq!((leftovers, sealer.waiting_bytes()), (0, 0));
    same(&store.reader(), &log_alone(folder.path()));
    Fleet::new().fill(&mut store, 80);
    while sealer.seal().unwrap().events > 0 {}
    assert!(files(&sealed).len() > earlier);
    let mut merged = 0;
    loop {
        let report = sealer.compact().unwrap();
        merged += report.replaced;
        if report.files == 0 {
            break;
        }
    }
    assert!(merged > 2, "{merged}");
    same(&store.reader(), &log_alone(folder.path()));
}
