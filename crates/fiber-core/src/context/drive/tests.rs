//! What a worker hands to the host at its very end.

use alloc::{boxed::Box, rc::Rc, sync::Arc};
use core::{
    any::Any,
    net::{Ipv4Addr, SocketAddr},
    ptr::NonNull,
    time::Duration,
};

use super::{Context, Namespace};
use crate::{
    context::{Parts, Placement, Schedule},
    env::{Env, PortConfig, StackClass, Wait, WorkerId},
    error::Stale,
    fiber::{FiberQueue, Inbox, Reason, Runnable},
    process::{Limits, Record},
    registry::Closing,
    request::{Outcome, RawDescriptor, Request, RequestKind, Token},
    script::ScriptEnv,
    timer::TimerNode,
};

pub(super) const GRACE: Duration = Duration::from_secs(1);

struct Nobody;

// SAFETY: no fiber runs in these tests, so nothing is ever pushed (I-11).
unsafe impl Inbox for Nobody {
    fn push(&self, _: Runnable) {
        unreachable!("no fiber runs here");
    }
}

impl Schedule for Nobody {
    unsafe fn arm(&self, _: NonNull<TimerNode>) {
        unreachable!("no fiber runs here");
    }

    unsafe fn disarm(&self, _: &TimerNode) {
        unreachable!("no fiber runs here");
    }

    fn launch(&self, _: &Context, _: Runnable, _: Placement) {
        unreachable!("no fiber runs here");
    }

    fn launch_many(&self, _: FiberQueue) {
        unreachable!("no fiber runs here");
    }

    fn cancel_on(&self, _: u64, _: RawDescriptor) {}

    fn refused(&self, _: &Arc<Record>, _: &Stale) {
        unreachable!("no process is here");
    }

    fn cancel_process(&self, _: &Arc<Record>, _: Reason) {
        unreachable!("no fiber runs here");
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

pub(super) fn context(env: &Arc<ScriptEnv>) -> Context {
    let worker = WorkerId(0);
    let port = env.open_port(worker, &PortConfig::default());
    let parts = Parts {
        env: Arc::<ScriptEnv>::clone(env),
        worker,
        port: port.expect("a script opens ports"),
        inbox: Arc::new(Nobody),
        schedule: Rc::new(Nobody),
        process: None,
        stack: StackClass::default(),
        requests_max: 8,
        ids_max: 8,
    };
    // SAFETY: no fiber starts on it (I-11).
    unsafe { Context::new(parts) }
}

#[test]
fn a_close_that_was_staged_last_is_handed_over() {
    let close = Request::Close {
        descriptor: RawDescriptor(7),
    };
    let env = ScriptEnv::new();
    let finished = context(&env);
    finished.stage_control(close);
    finished.finish(GRACE).unwrap();
    assert_eq!(env.asked(), [RequestKind::Close]);
    let abandoned = context(&env);
    abandoned.stage_control(close);
    abandoned.abandon(GRACE).unwrap();
    assert_eq!(env.asked(), [RequestKind::Close; 2]);
}

#[test]
fn what_was_opened_for_an_abandoned_fiber_is_closed() {
    let env = ScriptEnv::new();
    let context = context(&env);
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let accept = Request::Accept {
        descriptor: RawDescriptor(7),
        peer: NonNull::from_mut(Box::leak(Box::new(unknown))),
    };
    // SAFETY: the address is leaked (I-3).
    unsafe { context.staged.borrow_mut().push(Token::new(1, 1), accept) };
    context.turn(Wait::No).unwrap();
    let opened = Outcome::Opened(RawDescriptor(9));
    assert!(env.complete(RequestKind::Accept, opened));
    context.abandon(GRACE).unwrap();
    assert_eq!(env.asked(), [RequestKind::Accept, RequestKind::Close]);
}

#[test]
fn a_process_that_has_ended_is_told_of_its_ids_when_the_host_has_closed_them() {
    let env = ScriptEnv::new();
    let context = context(&env);
    let (process, first) = Record::new(None, Limits::NONE, 1, Box::new(()));
    drop(first);
    let raw = RawDescriptor(9);
    let opened =
        context
            .shard
            .borrow_mut()
            .open(context.id_space(), Namespace::STREAM, raw, Some(&process));
    process.release();
    context
        .id_space()
        .close_for(opened.unwrap(), Closing::OwnerDied)
        .unwrap();
    context.receive_closing();
    assert_eq!((process.has_closing(), env.asked().len()), (true, 0));
    context.turn(Wait::Forever).unwrap();
    assert_eq!((process.has_closing(), env.asked().len()), (false, 1));
    context.finish(GRACE).unwrap();
}
