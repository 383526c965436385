//! A part that breaks takes the agent with it: half an agent would look like a whole one.

use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};

use super::Input;
use crate::failure::{Code, Failure};

/// Starts a thread. If it panics, the path hears that the agent is broken.
pub(crate) fn spawn(
    name: &'static str,
    inputs: SyncSender<Input>,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Failure> {
    let alarm = Alarm { name, inputs };
    let work = move || {
        let _alarm = alarm;
        work();
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map_err(|error| Failure::new(Code::Failed, &error))
}

struct Alarm {
    name: &'static str,
    inputs: SyncSender<Input>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            let line = format!("the part `{}` of the agent broke", self.name);
            let broken = Input::Broken(Failure::line(Code::Failed, line));
            // Nobody listens any more: then the agent is ending already.
            drop(self.inputs.send(broken));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_part_that_breaks_is_heard_of_and_one_that_ends_is_not() {
        let (inputs, heard) = sync_channel(2);
        assert!(spawn("good", inputs.clone(), || {}).unwrap().join().is_ok());
        let bad = spawn("bad", inputs, || panic!("test"));
        assert!(bad.unwrap().join().is_err());
        let Ok(Input::Broken(failure)) = heard.recv() else {
            panic!("nothing was heard")
        };
        assert!(failure.line.contains("`bad`"));
        assert!(heard.recv().is_err());
    }
}
