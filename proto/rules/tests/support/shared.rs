//! Shared development data, where it lies beside the workspace; tests skip with a message where it
//! does not.

use std::fs;
use std::path::{Path, PathBuf};

use picket_rules::Source;

/// The folder of development data, if it is there.
pub(crate) fn data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if folder.is_dir() {
        return Some(folder);
    }
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprintln!("skipped: no development data at ../shared/data beside the workspace");
    }
    None
}

/// Every rule file below `folder`, in the order of names.
pub(crate) fn sources(folder: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    gather(folder, &mut sources);
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}

fn gather(folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder)
        .expect("the folder can be read")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            let text = fs::read_to_string(&path).expect("a rule file is text");
            sources.push(Source {
                name: path.display().to_string(),
                text,
            });
        }
    }
}
