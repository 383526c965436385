//! What the kernel sensor promises, on this kernel. Needs root; skips loudly where the kernel has no BPF.

#[cfg(test)]
mod privileged {
    #[macro_use]
    mod rig;

    mod announced;
    mod block;
    mod connections;
    mod devices;
    mod evasion;
    mod every_source;
    mod facts;
    mod files;
    mod hooks;
    mod ledger;
    mod logins;
    mod processes;
    mod protect;
    mod records;
    mod storms;
}
