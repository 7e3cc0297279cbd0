//! A request as the ring wants it, and a result as the core wants it.

use std::os::fd::AsRawFd;

use fiber_core::{
    IoErrorKind,
    request::{Extent, Interest, Outcome, RawDescriptor, Request},
};
use io_uring::{
    opcode, squeue,
    types::{CancelBuilder, Fd},
};

use super::flight::{Equipment, Flight, Flights};
use crate::{
    errno::Errno,
    immediate,
    sys::socket::{self, Blocking, fd},
};

/// The most that one transfer moves: what the kernel itself cuts longer ones to.
const TRANSFER_MAX: usize = 0x7fff_f000;

const EQUIPPED: &str = "`equip` came first";

/// What a result means for its flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is over.
    Over(Outcome),
    /// A part is done; the rest has to be submitted.
    Again,
}

/// What the kernel will need for `request` beyond the memory that it lends.
pub(crate) fn equip(request: &Request, flights: &mut Flights) -> Result<Equipment, Errno> {
    let mut equipment = Equipment::default();
    match *request {
        Request::Accept { .. } => {
            let scratch = equipment.scratch.insert(flights.scratch());
            scratch.address.clear();
        }
        Request::Connect { to } => {
            // SAFETY: lent until the terminal completion (contract of `Staged::push`, I-3).
            let to = unsafe { to.read() };
            equipment.socket = Some(socket::tcp(&to, Blocking::Yes)?);
            let scratch = equipment.scratch.insert(flights.scratch());
            scratch.address.set(&to);
        }
        Request::SendVectored { from, count, .. } => {
            let scratch = equipment.scratch.insert(flights.scratch());
            scratch.message = socket::message(from.as_ptr().cast(), count);
        }
        _ => {}
    }
    Ok(equipment)
}

/// The outcome of what needs no kernel, if `request` is of that kind.
pub(crate) fn trivial(request: &Request) -> Option<Outcome> {
    match request {
        _ if is_nothing(request) => Some(Outcome::Done(0)),
        Request::Nop
        | Request::Ready { .. }
        | Request::Recv { .. }
        | Request::Send { .. }
        | Request::RecvVectored { .. }
        | Request::SendVectored { .. }
        | Request::Accept { .. }
        | Request::Connect { .. }
        | Request::Close { .. } => None,
        // Immediate ones, and kinds that this host does not know: it says so.
        // SAFETY: lent memory stays valid until the terminal completion, which follows (I-3).
        _ => Some(unsafe { immediate::now(request, Blocking::Yes) }),
    }
}

/// A transfer without room or bytes: the kernel would have it wait for some that it cannot take.
pub(crate) const fn is_nothing(request: &Request) -> bool {
    match request {
        Request::Recv { into, .. } => into.is_empty(),
        Request::Send { from, .. } => from.is_empty(),
        _ => false,
    }
}

/// An entry that cancels the flight with this key. It completes only when it finds nothing.
pub(crate) fn cancel(key: u64) -> squeue::Entry {
    let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(key)).build();
    entry.flags(squeue::Flags::SKIP_SUCCESS)
}

impl Flight {
    /// The entry that does what is left of it.
    pub(crate) fn entry(&mut self) -> squeue::Entry {
        let moved = usize::try_from(self.moved).expect("moved within a buffer");
        let entry = match self.request {
            Request::Nop => opcode::Nop::new().build(),
            Request::Ready {
                descriptor,
                interest,
            } => {
                let events = match interest {
                    Interest::Readable => libc::POLLIN,
                    Interest::Writable => libc::POLLOUT,
                };
                let events = u32::from(events.cast_unsigned());
                opcode::PollAdd::new(Fd(fd(descriptor)), events).build()
            }
            Request::Recv {
                descriptor,
                into,
                extent,
            } => {
                let start = into.start().as_ptr().wrapping_add(moved);
                let bytes = transfer(into.len() - moved);
                let recv = opcode::Recv::new(Fd(fd(descriptor)), start, bytes);
                recv.flags(wait_all(extent)).build()
            }
            Request::Send {
                descriptor,
                from,
                extent,
            } => {
                let start = from.start().as_ptr().wrapping_add(moved);
                let bytes = transfer(from.len() - moved);
                let send = opcode::Send::new(Fd(fd(descriptor)), start, bytes);
                send.flags(wait_all(extent) | libc::MSG_NOSIGNAL).build()
            }
            Request::RecvVectored {
                descriptor,
                into,
                count,
            } => opcode::Readv::new(Fd(fd(descriptor)), into.as_ptr().cast(), count).build(),
            Request::SendVectored { descriptor, .. } => {
                let message = &raw const self.scratch.as_ref().expect(EQUIPPED).message;
                let send = opcode::SendMsg::new(Fd(fd(descriptor)), message);
                send.flags(libc::MSG_NOSIGNAL.cast_unsigned()).build()
            }
            Request::Accept { descriptor, .. } => {
                let address = &mut self.scratch.as_mut().expect(EQUIPPED).address;
                let (start, len) = (address.as_mut_ptr(), &raw mut address.len);
                let accept = opcode::Accept::new(Fd(fd(descriptor)), start, len);
                accept.flags(Blocking::Yes.flags()).build()
            }
            Request::Connect { .. } => {
                let address = &self.scratch.as_ref().expect(EQUIPPED).address;
                let socket = Fd(self.socket.as_ref().expect(EQUIPPED).as_raw_fd());
                opcode::Connect::new(socket, address.as_ptr(), address.len).build()
            }
            Request::Close { descriptor } => opcode::Close::new(Fd(fd(descriptor))).build(),
            _ => unreachable!("answered without the ring: see `trivial`"),
        };
        entry.user_data(self.key)
    }

    /// What the kernel's answer means.
    pub(crate) fn judge(&mut self, result: i32) -> Verdict {
        let Ok(value) = u32::try_from(result) else {
            return self.judge_failure(Errno(-result));
        };
        Verdict::Over(match self.request {
            Request::Recv {
                into,
                extent: Extent::All,
                ..
            } => return self.judge_part(value, into.len()),
            Request::Send {
                from,
                extent: Extent::All,
                ..
            } => return self.judge_part(value, from.len()),
            Request::Accept { peer, .. } => {
                let scratch = self.scratch.as_ref();
                let address = scratch.and_then(|scratch| scratch.address.to_socket_addr());
                if let Some(address) = address {
                    // SAFETY: lent until the terminal completion, which this is (I-3).
                    unsafe { peer.write(address) };
                }
                Outcome::Opened(RawDescriptor(value))
            }
            Request::Connect { .. } => match self.socket.take() {
                Some(socket) => immediate::opened(socket),
                None => immediate::failed(Errno(libc::EBADF)),
            },
            Request::Nop | Request::Ready { .. } | Request::Close { .. } => Outcome::Done(0),
            _ => Outcome::Done(u64::from(value)),
        })
    }

    /// The outcome of a cancel that came before the kernel was done, or before it began.
    pub(crate) fn cancelled(&self) -> Outcome {
        if self.moved > 0 {
            Outcome::Done(self.moved)
        } else {
            Outcome::Failed(IoErrorKind::Cancelled.into())
        }
    }

    /// A part of a transfer that wants everything. A short one that was not cancelled is at the
    /// end of the stream, or the kernel's patience: asking again tells which.
    fn judge_part(&mut self, part: u32, whole: usize) -> Verdict {
        self.moved += u64::from(part);
        let whole = whole as u64;
        if part == 0 || self.moved >= whole || self.cancelled {
            Verdict::Over(Outcome::Done(self.moved))
        } else {
            Verdict::Again
        }
    }

    fn judge_failure(&mut self, errno: Errno) -> Verdict {
        if errno.0 == libc::EINTR && !self.cancelled {
            return Verdict::Again;
        }
        let cancelled = errno.0 == libc::ECANCELED || errno.0 == libc::EINTR;
        Verdict::Over(if cancelled || self.moved > 0 {
            // An error after some bytes shows at the next request; the bytes count now.
            self.cancelled()
        } else {
            immediate::failed(errno)
        })
    }
}

fn transfer(bytes: usize) -> u32 {
    u32::try_from(bytes.min(TRANSFER_MAX)).expect("cut to less than 2^31")
}

const fn wait_all(extent: Extent) -> i32 {
    match extent {
        Extent::Some => 0,
        Extent::All => libc::MSG_WAITALL,
    }
}
