//! One connection of the load.

use alloc::collections::VecDeque;
use core::net::SocketAddr;
use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
};

use crate::request::Requests;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// When each request that is under way was sent, and how many bytes its answer has.
    under_way: VecDeque<(u64, usize)>,
    /// Bytes of the first one's answer that have come.
    come: usize,
}

impl Client {
    /// Connects, and says one thing that must be answered like this.
    pub(crate) fn connect(address: SocketAddr, greeting: &(Vec<u8>, Vec<u8>)) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        ask(&mut stream, greeting)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            under_way: VecDeque::new(),
            come: 0,
        })
    }

    /// Sends so many requests in one write. What is under way fits into a socket's buffer.
    pub(crate) fn send(
        &mut self,
        count: usize,
        requests: &mut Requests,
        now: u64,
        said: &mut Vec<u8>,
    ) -> io::Result<()> {
        said.clear();
        for _ in 0..count {
            let length = requests.next(said);
            self.under_way.push_back((now, length));
        }
        match self.stream.write(said)? {
            written if written == said.len() => Ok(()),
            _ => Err(io::Error::other(
                "the server takes no more: less depth is needed",
            )),
        }
    }

    /// Reads once; calls `done` with the time of sending for each answer that is whole, and says
    /// how many these are.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        mut done: impl FnMut(u64),
    ) -> io::Result<usize> {
        match self.stream.read(buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => self.come += count,
        }
        let mut answers = 0;
        while let Some((sent, length)) = self.under_way.front().copied() {
            if self.come < length {
                break;
            }
            self.come -= length;
            self.under_way.pop_front();
            done(sent);
            answers += 1;
        }
        Ok(answers)
    }
}

/// Says something and compares the answer; the socket blocks.
pub(crate) fn ask(stream: &mut TcpStream, (said, expected): &(Vec<u8>, Vec<u8>)) -> io::Result<()> {
    // The server may want to be read before it reads on.
    let mut listener = stream.try_clone()?;
    let mut answer = vec![0; expected.len()];
    std::thread::scope(|scope| {
        let reads = scope.spawn(|| listener.read_exact(&mut answer));
        stream.write_all(said)?;
        reads.join().expect("it only reads")
    })?;
    if answer == *expected {
        Ok(())
    } else {
        Err(io::Error::other("the server gives a wrong answer"))
    }
}
