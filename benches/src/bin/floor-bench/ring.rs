//! Servers that are a loop over one ring.
//!
//! A connection is a buffer. When bytes have come, one submission has both the answer and, linked
//! behind it, the next receive: so a request costs one turn, and the buffer is never written to
//! while it is sent. An answer that is sent says nothing; one that is not cancels the receive.

use std::{
    io,
    net::TcpListener,
    os::fd::{AsRawFd as _, RawFd},
};

use benches::{
    Failure, Service,
    protocol::{Connection, READ_BYTES},
    say_ready,
};
use io_uring::{IoUring, opcode, squeue, types::Fd};

const ENTRIES: u32 = 4096;
/// Where a new connection is accepted; connections are known by their descriptors.
const ACCEPT: u64 = u64::MAX;
/// Set in what an answer is known by.
const ANSWER: u64 = 1 << 32;

/// What the kernel reads and writes for one connection.
struct Client {
    connection: Connection,
    incoming: Box<[u8; READ_BYTES]>,
}

pub(crate) fn serve(service: Service) -> Result<(), Failure> {
    let listener = TcpListener::bind(service.address())?;
    let mut ring: IoUring = IoUring::builder()
        .setup_coop_taskrun()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(ENTRIES)?;
    // By descriptor. They stay when a connection ends, for the next one that has its number.
    let mut clients: Vec<Option<Client>> = Vec::new();
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build();
    let accept = accept.user_data(ACCEPT);
    push(&mut ring, core::slice::from_ref(&accept))?;
    say_ready()?;
    let mut completions = Vec::new();
    loop {
        match ring.submit_and_wait(1) {
            // It was stopped for a while, and goes on.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            waited => drop(waited?),
        }
        completions.extend(ring.completion());
        for done in completions.drain(..) {
            let (about, result) = (done.user_data(), done.result());
            if about == ACCEPT {
                let descriptor = check(result)?;
                open(&mut clients, descriptor, service)?;
                let receive = receive(client(&mut clients, descriptor), descriptor)?;
                push(&mut ring, &[receive])?;
                if !io_uring::cqueue::more(done.flags()) {
                    push(&mut ring, core::slice::from_ref(&accept))?;
                }
            } else if about & ANSWER == 0 {
                let descriptor = RawFd::try_from(about)?;
                let client = client(&mut clients, descriptor);
                match usize::try_from(result) {
                    Ok(count @ 1..) => answer(&mut ring, client, descriptor, count)?,
                    _ => close(descriptor),
                }
            }
            // Of an answer that failed the receive behind it says so too.
        }
    }
}

fn open(
    clients: &mut Vec<Option<Client>>,
    descriptor: RawFd,
    service: Service,
) -> Result<(), Failure> {
    let at = usize::try_from(descriptor)?;
    if clients.len() <= at {
        clients.resize_with(at + 1, || None);
    }
    clients[at] = Some(Client {
        connection: Connection::new(service.protocol),
        incoming: Box::new([0; READ_BYTES]),
    });
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on))?;
    let (level, option) = (libc::IPPROTO_TCP, libc::TCP_NODELAY);
    // SAFETY: the call reads one integer, from this frame.
    let result =
        unsafe { libc::setsockopt(descriptor, level, option, (&raw const on).cast(), size) };
    check(result)?;
    Ok(())
}

fn client(clients: &mut [Option<Client>], descriptor: RawFd) -> &mut Client {
    let at = usize::try_from(descriptor).expect("it was accepted");
    let client = clients.get_mut(at).and_then(Option::as_mut);
    client.expect("it was opened when it was accepted")
}

fn receive(client: &mut Client, descriptor: RawFd) -> Result<squeue::Entry, Failure> {
    let buffer = &mut client.incoming;
    let length = u32::try_from(buffer.len())?;
    let entry = opcode::Recv::new(Fd(descriptor), buffer.as_mut_ptr(), length).build();
    Ok(entry.user_data(u64::try_from(descriptor)?))
}

fn answer(
    ring: &mut IoUring,
    client: &mut Client,
    descriptor: RawFd,
    count: usize,
) -> Result<(), Failure> {
    let next = receive(client, descriptor)?;
    let answer = client.connection.answer(&client.incoming[..count]);
    if answer.is_empty() {
        return push(ring, &[next]);
    }
    // An echo's answer lies in the buffer that is received into next, but not before it is sent;
    // what else is said lies in the connection until then.
    let length = u32::try_from(answer.len())?;
    let send = opcode::Send::new(Fd(descriptor), answer.as_ptr(), length);
    let send = send.flags(libc::MSG_WAITALL).build();
    let flags = squeue::Flags::IO_LINK | squeue::Flags::SKIP_SUCCESS;
    let about = u64::try_from(descriptor)? | ANSWER;
    push(ring, &[send.flags(flags).user_data(about), next])
}

/// Entries that belong together are submitted together.
fn push(ring: &mut IoUring, entries: &[squeue::Entry]) -> Result<(), Failure> {
    loop {
        // SAFETY: what an entry points to is a client's, which stays as it is until the receive
        // that is linked behind the answer has come.
        let pushed = unsafe { ring.submission().push_multiple(entries) };
        match pushed {
            Ok(()) => return Ok(()),
            Err(_) => drop(ring.submit()?),
        }
    }
}

fn close(descriptor: RawFd) {
    // SAFETY: it was accepted here, and nothing is under way on it any more.
    unsafe { libc::close(descriptor) };
}

fn check(result: i32) -> io::Result<RawFd> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(result)
}
