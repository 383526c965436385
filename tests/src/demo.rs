//! The main job, step by step, as a person would do it by hand: the same commands, the same output.

mod grounds;
pub mod intruder;
mod stage;
mod story;

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::rig::Rig;
use crate::wait;
use stage::Stage;
use story::Story;

/// Runs the whole demo; `keep` leaves collector and agent running at the end.
pub fn run(keep: bool) -> Result<(), Failure> {
    wait::for_interrupts();
    let started = Instant::now();
    let mut story = Story::new();
    story.title("Picket: an intrusion on this host, seen, judged, signed and contained");
    story.step("a collector with its own CA, one operator, one enrolled agent");
    let rig = Rig::start()?;
    let stage = Stage::set(rig, &mut story)?;
    story.step("the intrusion: a web service is made to run a payload (harmless, below the demo's directory)");
    let attack = stage.attack()?;
    stage.show_alerts(&mut story, &attack)?;
    stage.contain(&mut story, &attack)?;
    stage.prove(&mut story)?;
    story.line(&format!("done in {:.1} s", started.elapsed().as_secs_f64()));
    if keep {
        stage.keep(&mut story)
    } else {
        stage.end(&mut story)
    }
}

/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
