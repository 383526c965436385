//! What the scorer promises, by reason.

mod promises {
    mod determinism;
    mod hostile;
    mod learning;
    mod recomputation;
    mod snapshot;
    mod world;
}
