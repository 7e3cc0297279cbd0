//! What a host says when a stack has run over, made where nothing may allocate.

use core::fmt::{self, Write};

use super::Owner;
use crate::env::StackClass;

const BYTES: usize = 512;
const HINT: &str = "hint: spawn it with a larger StackClass, or run its deep part in on_big_stack";

/// One line for a fault handler to write: whose stack, how large, what to do.
///
/// Making it is async-signal-safe: it neither allocates nor locks. A line that is too long is cut;
/// what matters stands at its front.
pub struct OverflowReport {
    bytes: [u8; BYTES],
    len: usize,
}

impl OverflowReport {
    /// The line about a stack of `owner`, called by a word of the host's such as `fiber`; or about
    /// one that no fiber owns, called by another.
    pub fn new(owner: Option<&Owner>, class: StackClass, fiber: &str, nobody: &str) -> Self {
        let mut line = Self {
            bytes: [0; BYTES],
            len: 0,
        };
        // Whatever is too long is cut, which is no reason to say nothing.
        let _ = line.compose(owner, class, fiber, nobody);
        let last = line.len.min(BYTES - 1);
        line.bytes[last] = b'\n';
        line.len = last + 1;
        line
    }

    fn compose(
        &mut self,
        owner: Option<&Owner>,
        class: StackClass,
        fiber: &str,
        nobody: &str,
    ) -> fmt::Result {
        let kib = class.bytes() >> 10;
        let Some(owner) = owner else {
            return write!(
                self,
                "{nobody} overflowed its stack: {kib} KiB stack; {HINT}"
            );
        };
        let name = match owner.name() {
            "" => "unnamed",
            name => name,
        };
        write!(self, "{fiber} '{name}'")?;
        if let Some(id) = owner.fiber {
            write!(self, " ({id})")?;
        }
        if let Some(process) = owner.process {
            write!(self, " of {process}")?;
        }
        let spawned_at = owner.spawned_at;
        write!(
            self,
            " overflowed its stack: {kib} KiB stack, spawned at {spawned_at}; {HINT}"
        )
    }

    /// The line, with its end of line.
    pub fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for OverflowReport {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let taken = text.len().min(room.len());
        room[..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        if taken == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

impl fmt::Debug for OverflowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = str::from_utf8(self.text()).unwrap_or("cut within a letter");
        f.debug_tuple("OverflowReport").field(&text).finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use core::panic::Location;

    use super::*;
    use crate::stack::NAME_BYTES;

    fn owner(name: &str) -> Owner {
        let mut bytes = [0; NAME_BYTES];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Owner {
            process: None,
            fiber: None,
            spawned_at: Location::caller(),
            name: bytes,
            name_bytes: name.len(),
        }
    }

    #[test]
    fn the_line_names_the_fiber_its_stack_and_the_remedy() {
        let owner = owner("deep");
        let report = OverflowReport::new(Some(&owner), StackClass::K16, "fiber", "a fiber");
        let text = String::from_utf8_lossy(report.text());
        let begin = "fiber 'deep' overflowed its stack: 16 KiB stack, spawned at ";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.ends_with("on_big_stack\n"), "{text}");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_still_ends() {
        let fiber = "f".repeat(2 * BYTES);
        let report = OverflowReport::new(Some(&owner("")), StackClass::K16, &fiber, "");
        assert_eq!(report.text().len(), BYTES);
        assert_eq!(report.text().last(), Some(&b'\n'));
    }
}
