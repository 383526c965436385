//! Where rules come from: the pack that is built in, and directories.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use picket_rules::Source;

use picket_event::content::ContentFile;

use super::RulesFrom;
use crate::failure::{Code, Failure};

/// `(name, text)` of every file of `rules/`.
static PACK: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/pack.rs"));

/// Larger rule files are refused.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// More rule files are refused.
const MAX_FILES: usize = 20_000;
/// Deeper directories are not searched.
const MAX_DEPTH: usize = 16;

/// Why rules cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// A system call failed.
    #[error("failed to read rules `{}`", path.display())]
    Read {
        /// Which file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is no rule by its size.
    #[error("rule file `{}` has more than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// There are too many.
    #[error("`{}` holds more than {MAX_FILES} rule files", path.display())]
    TooMany {
        /// Which directory.
        path: PathBuf,
    },
}

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        Self::new(Code::Failed, &error)
    }
}

/// The texts of the built-in pack.
pub(crate) fn built_in() -> impl Iterator<Item = Source> {
    let pack = PACK.iter();
    pack.map(|(name, text)| Source {
        name: (*name).to_owned(),
        text: (*text).to_owned(),
    })
}

/// The texts of the rules. Of the same name, those that operators signed replace the built-in one, and the
/// directory's replace both.
pub(crate) fn sources(
    from: RulesFrom<'_>,
    signed: &[ContentFile],
) -> Result<Vec<Source>, PackError> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let directory = match from {
        RulesFrom::Only(directory) => directory,
        RulesFrom::Pack(directory) => {
            texts.extend(built_in().map(|file| (file.name, file.text)));
            let signed = signed.iter();
            texts.extend(signed.map(|file| (file.name.clone(), file.text.clone())));
            if !directory.exists() {
                return Ok(into_sources(texts));
            }
            directory
        }
    };
    for file in files(directory)? {
        let name = file
            .strip_prefix(directory)
            .unwrap_or(&file)
            .display()
            .to_string();
        texts.insert(name, read(&file)?);
    }
    Ok(into_sources(texts))
}

/// A file, or every `.yml` and `.yaml` below a directory, in the order of their names.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, PackError> {
    let mut files = Vec::new();
    if fs::metadata(path)
        .map_err(|source| read_error(path, source))?
        .is_dir()
    {
        collect(path, &mut files, 0)?;
    } else {
        files.push(path.to_owned());
    }
    files.sort();
    Ok(files)
}

/// The text of a rule file; what is not UTF-8 becomes U+FFFD, which no rule parses.
pub(crate) fn read(path: &Path) -> Result<String, PackError> {
    let found = fs::metadata(path).map_err(|source| read_error(path, source))?;
    if found.len() > MAX_FILE_BYTES {
        return Err(PackError::TooLarge {
            path: path.to_owned(),
        });
    }
    let bytes = fs::read(path).map_err(|source| read_error(path, source))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>, depth: usize) -> Result<(), PackError> {
    let failed = |source| read_error(directory, source);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        let is_rule = path
            .extension()
            .is_some_and(|ending| ending == "yml" || ending == "yaml");
        if kind.is_dir() && depth < MAX_DEPTH {
            collect(&path, files, depth + 1)?;
        } else if is_rule && path.is_file() {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(PackError::TooMany {
                path: directory.to_owned(),
            });
        }
    }
    Ok(())
}

fn into_sources(texts: BTreeMap<String, String>) -> Vec<Source> {
    texts
        .into_iter()
        .map(|(name, text)| Source { name, text })
        .collect()
}

fn read_error(path: &Path, source: io::Error) -> PackError {
    PackError::Read {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use picket_rules::RuleSet;

    use super::*;

    #[test]
    fn the_pack_that_is_built_in_compiles_whole() {
        let sources = sources(RulesFrom::Pack(Path::new("/nonexistent")), &[]).unwrap();
        let loaded = RuleSet::compile(&sources);
        assert!(loaded.refused.is_empty(), "{:?}", loaded.refused);
        assert!(loaded.rules.rules().len() + loaded.correlations.len() >= PACK.len());
    }

    #[test]
    fn a_file_of_the_same_name_takes_the_place_of_a_built_in_rule() {
        let dir = tempfile::tempdir().unwrap();
        let name = PACK.first().unwrap().0;
        fs::write(dir.path().join(name), "mine").unwrap();
        fs::write(dir.path().join("more.yaml"), "more").unwrap();
        fs::write(dir.path().join("README.md"), "no rule").unwrap();
        let all = sources(RulesFrom::Pack(dir.path()), &[]).unwrap();
        assert_eq!(all.len(), PACK.len() + 1);
        assert!(
            all.iter()
                .any(|source| source.name == name && source.text == "mine")
        );
        assert_eq!(sources(RulesFrom::Only(dir.path()), &[]).unwrap().len(), 2);
    }

    #[test]
    fn a_directory_that_was_named_must_exist() {
        let error = sources(RulesFrom::Only(Path::new("/nonexistent")), &[]).unwrap_err();
        assert!(matches!(error, PackError::Read { .. }));
    }
}
