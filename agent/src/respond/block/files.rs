//! The files that the kernel refuses to run: those that are known to have a blocked content.
//!
//! # Invariants
//!
//! - A file is listed here exactly when the kernel was told to refuse it.
//! - At most [`MOST`] files are listed. A further one takes the place of the one that was listed first, which is then killed as it
//!   starts, as before it was known.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use picket_event::Text;
use picket_seal::Digest;
use picket_sensor::{Blocker, FileKey, Refusal, SensorError};

/// The most files that are listed.
pub(crate) const MOST: usize = Blocker::MOST_FILES;
/// The time of the last change of a file whose content is looked at again when it is refused.
pub(crate) const UNSURE: u64 = 0;

/// Waits for what the kernel refused, at most so long.
pub(crate) type Heard = Box<dyn FnMut(Duration) -> Vec<Refusal> + Send>;

/// What refuses: the kernel, or a test in its place.
pub(crate) trait Refuses: fmt::Debug + Send {
    /// Nobody runs this file any more, as long as it has this size and this time of the last change of content.
    fn block(&self, file: &FileKey) -> Result<(), SensorError>;
    /// It may run again.
    fn unblock(&self, file: &FileKey) -> Result<(), SensorError>;
    /// Whether a test start was refused.
    fn is_proved(&self) -> bool;
    /// Hears what is refused.
    fn refusals(&self) -> Result<Heard, SensorError>;
}

/// One file that is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Listed {
    /// In which state its content was known. Its last change is [`UNSURE`] where that was so shortly before that a further one
    /// could have left the times as they are.
    pub(crate) state: FileKey,
    /// Its content.
    pub(crate) sha256: Digest,
    /// A name that it had; empty: none is known.
    pub(crate) path: Text,
}

/// The list.
#[derive(Debug, Default)]
pub(crate) struct Files {
    kernel: Option<Box<dyn Refuses>>,
    listed: HashMap<Place, (u64, Listed)>,
    /// In the order in which they were listed.
    order: BTreeMap<u64, Place>,
    numbers: u64,
    is_changed: bool,
}

/// Which file.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Place {
    dev: u64,
    inode: u64,
}

impl Place {
    const fn of(file: &FileKey) -> Self {
        Self {
            dev: file.dev,
            inode: file.inode,
        }
    }
}

impl Files {
    /// From now on this one refuses.
    pub(crate) fn arm(&mut self, kernel: Box<dyn Refuses>) {
        self.kernel = Some(kernel);
    }

    /// Whether anything refuses; `false`: nothing is ever listed.
    pub(crate) const fn is_armed(&self) -> bool {
        self.kernel.is_some()
    }

    /// Whether it was seen to refuse.
    pub(crate) fn is_proved(&self) -> bool {
        self.kernel.as_ref().is_some_and(|one| one.is_proved())
    }

    /// Hears what is refused; `None`: nothing refuses.
    pub(crate) fn refusals(&self) -> Option<Result<Heard, SensorError>> {
        self.kernel.as_ref().map(|one| one.refusals())
    }

    /// Lists a file. Another state of it is forgotten; a name stays known.
    pub(crate) fn list(&mut self, mut file: Listed) -> Result<(), SensorError> {
        let Some(kernel) = &self.kernel else {
            return Ok(());
        };
        let place = Place::of(&file.state);
        let old = self.listed.get(&place);
        if let Some((_, old)) = old
            && file.path.is_empty()
        {
            file.path = old.path.clone();
        }
        if old.is_some_and(|(_, old)| *old == file) {
            return Ok(());
        }
        kernel.block(&file.state)?;
        self.is_changed = true;
        self.numbers = self.numbers.saturating_add(1);
        self.order.insert(self.numbers, place);
        if let Some((number, _)) = self.listed.insert(place, (self.numbers, file)) {
            self.order.remove(&number);
        }
        self.make_room()
    }

    fn make_room(&mut self) -> Result<(), SensorError> {
        while self.listed.len() > MOST {
            let Some((_, place)) = self.order.pop_first() else {
                break;
            };
            if let Some((_, old)) = self.listed.remove(&place) {
                tracing::warn!(
                    most = MOST,
                    "more files have a blocked content than can be listed, so the first is forgotten"
                );
                self.let_run(&old.state)?;
            }
        }
        Ok(())
    }

    /// What is listed at this place, in whatever state.
    pub(crate) fn at(&self, file: &FileKey) -> Option<&Listed> {
        self.listed.get(&Place::of(file)).map(|(_, listed)| listed)
    }

    /// Takes one file from the list.
    pub(crate) fn remove(&mut self, file: &FileKey) -> Result<(), SensorError> {
        if self.listed.contains_key(&Place::of(file)) {
            self.let_run(file)?;
        }
        if let Some((number, _)) = self.listed.remove(&Place::of(file)) {
            self.order.remove(&number);
            self.is_changed = true;
        }
        Ok(())
    }

    /// Takes every other file from the list. The first that could not be taken away is an error, and the others are tried all
    /// the same.
    pub(crate) fn keep_only(&mut self, stays: impl Fn(&Listed) -> bool) -> Result<(), SensorError> {
        let free = self.listed.values().map(|(_, listed)| listed);
        let free = free.filter(|listed| !stays(listed));
        let free: Vec<FileKey> = free.map(|listed| listed.state).collect();
        let results: Vec<_> = free.iter().map(|file| self.remove(file)).collect();
        results.into_iter().collect()
    }

    /// How many files of this content are listed.
    pub(crate) fn count(&self, sha256: Digest) -> usize {
        let listed = self.listed.values();
        listed.filter(|(_, one)| one.sha256 == sha256).count()
    }

    /// All that are listed, the first first, if that has changed since the last call.
    pub(crate) fn take_change(&mut self) -> Option<Vec<Listed>> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let places = self.order.values();
        let listed = places.filter_map(|place| self.listed.get(place));
        Some(listed.map(|(_, listed)| listed.clone()).collect())
    }

    fn let_run(&self, file: &FileKey) -> Result<(), SensorError> {
        self.kernel
            .as_ref()
            .map_or(Ok(()), |kernel| kernel.unblock(file))
    }
}

impl Refuses for Blocker {
    fn block(&self, file: &FileKey) -> Result<(), SensorError> {
        Self::block(self, file)
    }

    fn unblock(&self, file: &FileKey) -> Result<(), SensorError> {
        Self::unblock(self, file)
    }

    fn is_proved(&self) -> bool {
        Self::is_proved(self)
    }

    fn refusals(&self) -> Result<Heard, SensorError> {
        let mut refusals = Self::refusals(self)?;
        let mut known = refusals.untold()?;
        Ok(Box::new(move |timeout| {
            let came = refusals.wait(timeout);
            let untold = refusals.untold().unwrap_or(known);
            if untold > known {
                let count = untold.saturating_sub(known);
                tracing::warn!(count, "starts were refused that nobody could be told of");
                known = untold;
            }
            came
        }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A kernel that only remembers what it was told.
    #[derive(Clone, Debug, Default)]
    pub(in crate::respond::block) struct Paper {
        told: Arc<Mutex<BTreeSet<(u64, u64)>>>,
        is_proved: bool,
        heard: Arc<Mutex<Option<Receiver<Refusal>>>>,
    }

    impl Paper {
        pub(in crate::respond::block) fn proved(is_proved: bool) -> Self {
            Self {
                is_proved,
                ..Self::default()
            }
        }

        pub(in crate::respond::block) fn refuses(&self, file: &FileKey) -> bool {
            self.told.lock().unwrap().contains(&(file.dev, file.inode))
        }

        /// Where the test says what was refused.
        pub(in crate::respond::block) fn teller(&self) -> Sender<Refusal> {
            let (tell, heard) = channel();
            *self.heard.lock().unwrap() = Some(heard);
            tell
        }
    }

    impl Refuses for Paper {
        fn block(&self, file: &FileKey) -> Result<(), SensorError> {
            self.told.lock().unwrap().insert((file.dev, file.inode));
            Ok(())
        }

        fn unblock(&self, file: &FileKey) -> Result<(), SensorError> {
            self.told.lock().unwrap().remove(&(file.dev, file.inode));
            Ok(())
        }

        fn is_proved(&self) -> bool {
            self.is_proved
        }

        fn refusals(&self) -> Result<Heard, SensorError> {
            let heard = self.heard.lock().unwrap().take();
            Ok(Box::new(move |timeout| {
                if let Some(heard) = &heard {
                    return heard.recv_timeout(timeout).into_iter().collect();
                }
                std::thread::park_timeout(timeout);
                Vec::new()
            }))
        }
    }

    fn file(inode: u64, content: &[u8]) -> Listed {
        Listed {
            state: FileKey {
                dev: 1,
                inode,
                size: 2,
                mtime_ns: 3,
                ctime_ns: 4,
            },
            sha256: Digest::of(content),
            path: Text::NONE,
        }
    }

    fn armed() -> (Files, Paper) {
        let (mut files, paper) = (Files::default(), Paper::default());
        files.arm(Box::new(paper.clone()));
        (files, paper)
    }

    #[test]
    fn a_file_has_one_place_in_whatever_state_and_keeps_its_name() {
        let (mut files, paper) = armed();
        let named = Listed {
            path: Text::from("/tmp/bad"),
            ..file(1, b"bad")
        };
        files.list(named.clone()).unwrap();
        let mut touched = file(1, b"bad");
        touched.state.ctime_ns = 9;
        files.list(touched.clone()).unwrap();
        assert_eq!(files.count(Digest::of(b"bad")), 1);
        let listed = files.at(&named.state).unwrap();
        assert_eq!(
            (listed.state, &listed.path),
            (touched.state, &Text::from("/tmp/bad"))
        );
        assert!(paper.refuses(&named.state));
        files.remove(&named.state).unwrap();
        assert!(!paper.refuses(&named.state) && files.at(&named.state).is_none());
        files.remove(&named.state).unwrap();
    }

    #[test]
    fn what_may_start_again_is_taken_from_the_list_and_the_rest_stays() {
        let (mut files, paper) = armed();
        for one in [file(1, b"bad"), file(2, b"bad"), file(3, b"worse")] {
            files.list(one).unwrap();
        }
        let worse = Digest::of(b"worse");
        files.keep_only(|file| file.sha256 == worse).unwrap();
        let refused = [1, 2, 3].map(|inode| paper.refuses(&file(inode, b"").state));
        assert_eq!(refused, [false, false, true]);
        assert_eq!((files.count(worse), files.order.len()), (1, 1));
        assert_eq!(files.take_change(), Some(vec![file(3, b"worse")]));
        files.list(file(3, b"worse")).unwrap();
        assert_eq!(files.take_change(), None);
    }

    #[test]
    fn when_the_list_is_full_the_first_is_forgotten() {
        let (mut files, paper) = armed();
        let last = u64::try_from(MOST).unwrap();
        for inode in 0..=last {
            files.list(file(inode, b"bad")).unwrap();
        }
        assert_eq!(files.count(Digest::of(b"bad")), MOST);
        assert!(!paper.refuses(&file(0, b"").state));
        assert!(paper.refuses(&file(1, b"").state) && paper.refuses(&file(last, b"").state));
    }

    #[test]
    fn without_a_kernel_that_refuses_nothing_is_listed() {
        let mut files = Files::default();
        files.list(file(1, b"bad")).unwrap();
        assert!(!files.is_armed() && !files.is_proved());
        assert_eq!(files.count(Digest::of(b"bad")), 0);
    }
}
