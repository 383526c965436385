//! What the scorer promises, by reason.

mod promises {
    mod commands;
    mod determinism;
    mod fleet;
    mod hostile;
    mod learning;
    mod recomputation;
    mod sessions;
    mod snapshot;
    mod windows;
    mod world;
}
