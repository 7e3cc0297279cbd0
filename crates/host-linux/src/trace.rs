//! Backtraces, as the `backtrace` crate takes and reads them.

extern crate alloc;

use alloc::{format, string::ToString, vec::Vec};
use core::{ops::Range, ptr};

use fiber_core::env::{Frame, Trace};

use crate::linux::Linux;

impl Trace for Linux {
    #[inline(never)]
    fn capture(&self, stack: Range<usize>, into: &mut [usize]) -> usize {
        let mut len = 0;
        let take = |frame: &backtrace::Frame| {
            let at = frame.sp().addr();
            if at != 0 && !stack.contains(&at) {
                return false;
            }
            let Some(place) = into.get_mut(len) else {
                return false;
            };
            *place = frame.ip().addr();
            len += 1;
            true
        };
        // SAFETY: what is not synchronised is the crate's cache of symbols, which only resolving
        // uses; the unwinder may walk several threads at once (I-7).
        unsafe { backtrace::trace_unsynchronized(take) };
        len
    }

    fn frames_at(&self, address: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        backtrace::resolve(ptr::without_provenance_mut(address), |symbol| {
            if let Some(name) = symbol.name() {
                frames.push(Frame::new(
                    format!("{name:#}"),
                    symbol.filename().map(|path| path.display().to_string()),
                    symbol.lineno(),
                ));
            }
        });
        frames
    }

    fn forget(&self) {
        backtrace::clear_symbol_cache();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_backtrace_names_the_function_that_took_it_and_where_it_is() {
        let linux = Linux::new(Config::default()).unwrap();
        let mut addresses = [0; 32];
        let len = linux.capture(0..usize::MAX, &mut addresses);
        let frames: Vec<Frame> = addresses[..len]
            .iter()
            .flat_map(|&address| linux.frames_at(address))
            .collect();
        let own = frames
            .iter()
            .find(|frame| frame.function.contains("a_backtrace_names_the_function"));
        let own = own.expect("this function is on the stack");
        assert!(own.file.as_ref().unwrap().ends_with("trace.rs"), "{own}");
        assert!(own.line.is_some(), "{own}");
    }

    #[test]
    fn an_address_without_code_has_no_functions() {
        let linux = Linux::new(Config::default()).unwrap();
        assert!(linux.frames_at(0x10).is_empty());
    }
}
