//! Memory to lend, with red zones: the host may write here and only here, and only until the end.

extern crate std;

use alloc::{boxed::Box, vec::Vec};
use core::{net::SocketAddr, ptr::NonNull};

use crate::request::{Lent, LentMut};

const RED_ZONE: usize = 64;
const RED: u8 = 0x5c;
/// What lies in a buffer before it is filled, and what is put there when its request is over.
const EMPTY: u8 = 0xe7;

/// Everything that one request has borrowed. Heap blocks that are reached by raw pointers alone
/// while the request is in flight.
pub(super) enum Memory {
    Nothing,
    Bytes(Vec<Zone>),
    Table(Vec<Zone>, NonNull<[Lent]>),
    TableMut(Vec<Zone>, NonNull<[LentMut]>),
    Address(NonNull<SocketAddr>),
}

/// A buffer between two red zones.
pub(super) struct Zone {
    block: NonNull<[u8]>,
}

impl Zone {
    pub(super) fn empty(len: usize) -> Self {
        let mut block = alloc::vec![RED; len + 2 * RED_ZONE];
        block[RED_ZONE..RED_ZONE + len].fill(EMPTY);
        Self::of(block)
    }

    pub(super) fn filled(bytes: &[u8]) -> Self {
        let mut block = alloc::vec![RED; bytes.len() + 2 * RED_ZONE];
        block[RED_ZONE..RED_ZONE + bytes.len()].copy_from_slice(bytes);
        Self::of(block)
    }

    fn of(block: Vec<u8>) -> Self {
        let block = NonNull::from_mut(Box::leak(block.into_boxed_slice()));
        Self { block }
    }

    /// The bytes to lend. Nobody else may use the zone until the request is over.
    pub(super) fn lend_mut(&mut self) -> LentMut {
        let len = self.block.len() - 2 * RED_ZONE;
        LentMut::new(&mut self.all_mut()[RED_ZONE..RED_ZONE + len])
    }

    /// The bytes to lend. Nobody else may use the zone until the request is over.
    pub(super) fn lend(&mut self) -> Lent {
        let len = self.block.len() - 2 * RED_ZONE;
        Lent::new(&self.all_mut()[RED_ZONE..RED_ZONE + len])
    }

    /// Copies the first `len` bytes, checks that nothing else was written, and scribbles over all
    /// of it, so that a later use by the host shows.
    pub(super) fn end(&mut self, filled: usize, lent_to_write: bool) -> Vec<u8> {
        let all = self.all_mut();
        let (front, rest) = all.split_at_mut(RED_ZONE);
        let len = rest.len() - RED_ZONE;
        let (inner, back) = rest.split_at_mut(len);
        let is_red = |zone: &[u8]| zone.iter().all(|&byte| byte == RED);
        assert!(is_red(front), "the host wrote before the lent buffer");
        assert!(is_red(back), "the host wrote beyond the lent buffer");
        let bytes = inner[..filled.min(len)].to_vec();
        let untouched = inner[filled.min(len)..].iter().all(|&byte| byte == EMPTY);
        assert!(
            !lent_to_write || untouched,
            "the host wrote more bytes than it reported"
        );
        inner.fill(EMPTY);
        bytes
    }

    /// Fails if the host has written since the end of the request.
    pub(super) fn assert_untouched(&mut self) {
        let all = self.all_mut();
        let len = all.len();
        let inner = all[RED_ZONE..len - RED_ZONE].iter();
        assert!(
            inner.copied().all(|byte| byte == EMPTY),
            "the host wrote to lent memory after the request was over"
        );
    }

    fn all_mut(&mut self) -> &mut [u8] {
        // SAFETY: the block is leaked until `free`, and the rig looks at it only before its
        // request is staged and after it is over, so the host does not use it meanwhile (I-3).
        unsafe { self.block.as_mut() }
    }

    fn free(self) {
        // SAFETY: made by `Box::leak` in `of`; `self` is its only owner (I-3).
        drop(unsafe { Box::from_raw(self.block.as_ptr()) });
    }
}

impl Memory {
    pub(super) fn address(address: SocketAddr) -> (Self, NonNull<SocketAddr>) {
        let address = NonNull::from_mut(Box::leak(Box::new(address)));
        (Self::Address(address), address)
    }

    pub(super) fn table(mut zones: Vec<Zone>) -> (Self, NonNull<Lent>) {
        let table: Vec<Lent> = zones.iter_mut().map(Zone::lend).collect();
        let table = NonNull::from_mut(Box::leak(table.into_boxed_slice()));
        (Self::Table(zones, table), table.cast())
    }

    pub(super) fn table_mut(mut zones: Vec<Zone>) -> (Self, NonNull<LentMut>) {
        let table: Vec<LentMut> = zones.iter_mut().map(Zone::lend_mut).collect();
        let table = NonNull::from_mut(Box::leak(table.into_boxed_slice()));
        (Self::TableMut(zones, table), table.cast())
    }

    /// Ends the loan: what was received, `filled` bytes over all buffers.
    pub(super) fn end(&mut self, filled: usize, lent_to_write: bool) -> Vec<u8> {
        let (Self::Bytes(zones) | Self::Table(zones, _) | Self::TableMut(zones, _)) = self else {
            return Vec::new();
        };
        let mut left = filled;
        let mut bytes = Vec::new();
        for zone in zones {
            let part = zone.end(left, lent_to_write);
            left -= part.len();
            bytes.extend(part);
        }
        bytes
    }

    pub(super) fn assert_untouched(&mut self) {
        if let Self::Bytes(zones) | Self::Table(zones, _) | Self::TableMut(zones, _) = self {
            zones.iter_mut().for_each(Zone::assert_untouched);
        }
    }

    /// The address that the host has written.
    pub(super) fn read_address(&self) -> Option<SocketAddr> {
        let Self::Address(address) = self else {
            return None;
        };
        // SAFETY: leaked until `free`, and only read once its request is over (I-3).
        Some(unsafe { address.read() })
    }

    /// Gives the memory back, once the host's port is gone.
    pub(super) fn free(self) {
        match self {
            Self::Nothing => {}
            Self::Bytes(zones) => zones.into_iter().for_each(Zone::free),
            Self::Table(zones, table) => {
                zones.into_iter().for_each(Zone::free);
                // SAFETY: made by `Box::leak` in `table`; this is its only owner (I-3).
                drop(unsafe { Box::from_raw(table.as_ptr()) });
            }
            Self::TableMut(zones, table) => {
                zones.into_iter().for_each(Zone::free);
                // SAFETY: made by `Box::leak` in `table_mut`; this is its only owner (I-3).
                drop(unsafe { Box::from_raw(table.as_ptr()) });
            }
            Self::Address(address) => {
                // SAFETY: made by `Box::leak` in `address`; this is its only owner (I-3).
                drop(unsafe { Box::from_raw(address.as_ptr()) });
            }
        }
    }
}
