//! What Picket promises with the kernel sensor. Needs root; skips loudly where the kernel has no BPF.

#[cfg(test)]
mod privileged {
    mod derived;
    mod fallback;
    mod integrity;
    mod isolation;
    mod outage;
    mod watch;
    mod written;
}
