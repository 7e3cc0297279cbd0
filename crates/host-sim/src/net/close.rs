//! How connections end: shutdown, close, and power cuts.

use fiber_core::{
    IoErrorKind,
    request::{Interest, Outcome, RawDescriptor, Shutdown},
};

use super::{Body, Socket, SocketKind, stream::Phase};
use crate::{arena::Key, op::failed, world::World};

impl World {
    pub(super) fn shutdown(
        &mut self,
        key: Key<Socket>,
        how: Shutdown,
    ) -> Result<Outcome, IoErrorKind> {
        if let Some(listener) = self.net.listener_mut(key) {
            listener.shut = true;
            self.pump(key, Interest::Readable);
            return Ok(Outcome::Done(0));
        }
        let stream = self.net.stream_mut(key);
        let stream = stream.ok_or(IoErrorKind::InvalidInput)?;
        if stream.phase != Phase::Open {
            return Err(IoErrorKind::NotConnected);
        }
        let (read, write) = match how {
            Shutdown::Read => (true, false),
            Shutdown::Write => (false, true),
            Shutdown::Both => (true, true),
        };
        stream.read_shut |= read;
        let first = write && !stream.write_shut;
        stream.write_shut |= write;
        if first {
            self.packet(key, Body::Fin);
        }
        self.pump(key, Interest::Readable);
        self.pump(key, Interest::Writable);
        Ok(Outcome::Done(0))
    }

    /// Closes a number; the last one of a socket takes the socket along.
    pub(crate) fn close(&mut self, node: u16, descriptor: RawDescriptor) -> Outcome {
        let Some(key) = self.node(node).descriptors.close(descriptor) else {
            return failed(IoErrorKind::InvalidInput);
        };
        if let Some(socket) = self.net.sockets.get_mut(key) {
            socket.references -= 1;
            if socket.references == 0 {
                self.end_socket(key);
            }
        }
        Outcome::Done(0)
    }

    /// Nobody can reach the socket any more: the peer hears of it.
    fn end_socket(&mut self, key: Key<Socket>) {
        self.fail_waiting(key, IoErrorKind::Closed);
        if let Some(stream) = self.net.stream(key)
            && stream.phase == Phase::Open
        {
            // Closing with unread bytes is rude, and the peer learns that they were not read.
            if stream.available > 0 {
                self.packet(key, Body::Rst);
            } else if !stream.write_shut {
                self.packet(key, Body::Fin);
            }
        }
        self.remove_socket(key);
    }

    /// Takes a socket out of all tables.
    fn remove_socket(&mut self, key: Key<Socket>) {
        let Some(socket) = self.net.sockets.remove(key) else {
            return;
        };
        match socket.kind {
            SocketKind::Signals(_) => {}
            SocketKind::Stream(stream) => self.node(socket.node).release_port(stream.local.port()),
            SocketKind::Listener(listener) => {
                let port = listener.local.port();
                self.node(socket.node).release_port(port);
                if let Some(others) = self.net.listeners.get_mut(&(socket.node, port)) {
                    others.retain(|&other| other != key);
                }
                for connection in listener.ready {
                    self.packet(connection, Body::Rst);
                    self.remove_socket(connection);
                }
            }
        }
    }

    /// A power cut: the node's sockets are gone and nobody is told.
    pub(crate) fn vanish_sockets_of(&mut self, node: u16) {
        for key in self.net.sockets.keys_where(|socket| socket.node == node) {
            self.net.sockets.remove(key);
        }
        self.net.listeners.retain(|&(owner, _), _| owner != node);
        self.net.held.retain(|link, _| link.from != node);
    }
}
