//! Ports that are dropped in the middle of everything leave no descriptor behind.
//!
//! Alone in its file: it counts the descriptors of the whole process.

#[path = "port/rig.rs"]
mod rig;

use std::fs;

use fiber_core::{
    env::Wait,
    request::{Interest, Outcome, Request},
};
use host_linux::Linux;
use rig::{Rig, leaked};

#[test]
fn a_port_that_is_dropped_in_the_middle_leaves_nothing_behind() {
    for linux in [rig::ring(), rig::poll()] {
        drop_in_the_middle(&linux);
    }
}

fn drop_in_the_middle(linux: &Linux) {
    drop(Rig::new(linux));
    let before = descriptors();
    for _ in 0..20 {
        let mut rig = Rig::new(linux);
        let (client, server) = rig.pair();
        let (listener, to) = rig.listen();
        rig.recv(server, leaked(8));
        rig.stage(Request::Ready {
            descriptor: listener,
            interest: Interest::Readable,
        });
        let to = Box::leak(Box::new(to));
        rig.stage(Request::Connect { to: (&*to).into() });
        rig.send(client, b"on its way");
        rig.turn(Wait::No);
        // What the port opened for us and delivered is ours; the rest is the port's to close.
        let delivered = rig.out.iter().filter_map(|end| match end.outcome {
            Outcome::Opened(descriptor) => Some(descriptor),
            _ => None,
        });
        let mut ours: Vec<_> = delivered.collect();
        ours.extend([client, server, listener]);
        drop(rig);
        let mut rig = Rig::new(linux);
        for descriptor in ours {
            rig.close(descriptor);
        }
        rig.drain();
    }
    assert_eq!(descriptors(), before);
}

fn descriptors() -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("Linux has it");
    open.count()
}
