//! What an isolated host reaches and what reaches it. Needs root; everything happens in network namespaces of the test's own.

#[cfg(test)]
mod privileged {
    mod ends;
    mod ground;
    mod matrix;
    mod owner;
    mod repair;
}
