//! Random bytes, from the kernel.

use fiber_core::env::Entropy;

use crate::{linux::Linux, sys};

impl Entropy for Linux {
    fn fill(&self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let filled = sys::uninterrupted(|| sys::process::random(bytes))
                .expect("every Linux since 3.17 answers getrandom");
            bytes = &mut bytes[filled..];
        }
    }
}
