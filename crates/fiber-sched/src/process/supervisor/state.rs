//! A supervisor's children, and what it does with them.
//!
//! ```text
//!           start            end: linked, so told
//! added ──────────▶ runs ─────────────────────────▶ ended ──▶ again, kept, or forgotten
//!   ▲                │ stop: unlinked, cancelled or killed, waited for
//!   └────────────────┘
//! ```
//!
//! A child is started again only when the old one's death is complete: what it had is released.

use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};

use fiber_core::{
    Id, cancel::cancelled_operation, choose, env::Instant, operation::perform, park::is_cancelled,
    time,
};

use super::{
    ChildSpec, Restart, Shutdown, StartError, Started, Strategy,
    command::{ChildError, ChildInfo, ChildKey, Command, Commands, Key},
    intensity::Intensity,
};
use crate::process::{Exit, Exits, Process, SHUTDOWN, call::Reply, fail_now};

/// Children are numbered as they are added: that is their order.
type Place = u64;

pub(super) struct State {
    this: Process,
    exits: Exits,
    strategy: Strategy,
    intensity: Intensity,
    /// Bound: those that the program adds.
    children: BTreeMap<Place, Child>,
    running: BTreeMap<Id, Place>,
    next: Place,
}

struct Child {
    spec: ChildSpec,
    process: Option<Process>,
}

/// One was not started.
struct Failed {
    place: Place,
    why: StartError,
}

impl State {
    pub(super) fn new(this: Process, strategy: Strategy, intensity: Intensity) -> Self {
        Self {
            exits: this.trap_exits(),
            this,
            strategy,
            intensity,
            children: BTreeMap::new(),
            running: BTreeMap::new(),
            next: 0,
        }
    }

    /// Starts the first children and serves until its process is cancelled, or it fails.
    pub(super) fn serve(
        &mut self,
        first: Vec<ChildSpec>,
        commands: &Arc<Commands>,
        started: impl FnOnce(&Arc<Commands>),
    ) -> Result<(), String> {
        for spec in first {
            let name = Arc::clone(&spec.name);
            match self.add(spec) {
                Ok(_) => {}
                Err(ChildError::Start(StartError::Cancelled)) => return Ok(()),
                Err(why) => return Err(alloc::format!("child '{name}' was not started: {why}")),
            }
        }
        started(commands);
        loop {
            choose! {
                exit = self.exits.recv_operation() => self.has_ended(&exit)?,
                command = commands.take_operation("a command") => self.obey(command),
                _ = cancelled_operation() => return Ok(()),
            }
        }
    }

    /// Ends all children.
    pub(super) fn stop_all(&mut self) {
        self.stop_from(0);
    }

    fn obey(&mut self, command: Command) {
        // Who has asked may have gone.
        match command {
            Command::Start(spec, answer) => drop(answer.send(self.add(spec))),
            Command::Terminate(key, answer) => drop(answer.send(self.terminate(&key))),
            Command::Restart(key, answer) => drop(answer.send(self.start_again(&key))),
            Command::Delete(key, answer) => drop(answer.send(self.delete(&key))),
            Command::Which(answer) => drop(answer.send(Ok(self.infos()))),
        }
    }

    fn infos(&self) -> Vec<ChildInfo> {
        let info = |child: &Child| ChildInfo {
            name: Arc::clone(&child.spec.name),
            process: child.process.clone(),
            restart: child.spec.restart,
            is_supervisor: child.spec.supervises,
        };
        self.children.values().map(info).collect()
    }

    fn add(&mut self, spec: ChildSpec) -> Result<Process, ChildError> {
        let named = |child: &Child| child.spec.name == spec.name;
        if self.strategy != Strategy::Dynamic && self.children.values().any(named) {
            return Err(ChildError::Present);
        }
        let place = self.next;
        self.next += 1;
        let process = None;
        self.children.insert(place, Child { spec, process });
        self.start(place).map_err(|failed| {
            self.children.remove(&place);
            failed.why.into()
        })
    }

    fn terminate(&mut self, key: &ChildKey) -> Result<(), ChildError> {
        let place = self.find(key)?;
        self.stop(&[place]);
        Ok(())
    }

    fn start_again(&mut self, key: &ChildKey) -> Result<Process, ChildError> {
        let place = self.find(key)?;
        match self.children[&place].process {
            Some(_) => Err(ChildError::Running),
            None => Ok(self.start(place).map_err(|failed| failed.why)?),
        }
    }

    fn delete(&mut self, key: &ChildKey) -> Result<(), ChildError> {
        let place = self.find(key)?;
        if self.children[&place].process.is_some() {
            return Err(ChildError::Running);
        }
        self.children.remove(&place);
        Ok(())
    }

    fn find(&self, key: &ChildKey) -> Result<Place, ChildError> {
        let place = match &key.0 {
            Key::Process(id) => self.running.get(id),
            Key::Name(name) => {
                let mut children = self.children.iter();
                let found = children.find(|(_, child)| child.spec.name == *name);
                found.map(|(place, _)| place)
            }
        };
        place.copied().ok_or(ChildError::NotFound)
    }

    /// Starts the child of this place, which does not run, and waits until it has started.
    fn start(&mut self, place: Place) -> Result<Process, Failed> {
        let child = self.children.get_mut(&place).expect("it was added");
        let process = begin(&child.spec, &self.this).map_err(|why| Failed { place, why })?;
        self.running.insert(process.id(), place);
        child.process = Some(process.clone());
        Ok(process)
    }

    /// A child has ended by itself.
    fn has_ended(&mut self, exit: &Exit) -> Result<(), String> {
        let Some(place) = self.running.remove(&exit.process) else {
            return Ok(());
        };
        let child = self.children.get_mut(&place).expect("it runs");
        child.process = None;
        let restart = child.spec.restart;
        let again = match restart {
            Restart::Permanent => true,
            Restart::Transient => !exit.end.is_normal(),
            Restart::Temporary => false,
        };
        tracing::debug!(
            target: "fiber::sched", supervisor = %self.this, child = %exit, again,
            "a supervised process has ended"
        );
        if again {
            return self.restart(place, exit);
        }
        if restart == Restart::Temporary || self.strategy == Strategy::Dynamic {
            self.children.remove(&place);
        }
        Ok(())
    }

    /// Starts again what the strategy says, until that succeeds or was tried too often.
    fn restart(&mut self, ended: Place, exit: &Exit) -> Result<(), String> {
        let mut place = ended;
        loop {
            if !self.intensity.allows(time::now()) {
                tracing::warn!(
                    target: "fiber::sched", supervisor = %self.this, last = %exit,
                    "a supervisor has reached its restart intensity"
                );
                let name = self.this.name().unwrap_or("supervisor");
                return Err(alloc::format!(
                    "supervisor '{name}' has reached its restart intensity; the last was {exit}"
                ));
            }
            let started = match self.strategy {
                Strategy::OneForOne | Strategy::Dynamic => self.start(place).map(drop),
                Strategy::OneForAll => self.start_from(0),
                Strategy::RestForOne => self.start_from(place),
            };
            match started {
                Ok(()) => return Ok(()),
                // The loop that called hears of it.
                Err(Failed {
                    why: StartError::Cancelled,
                    ..
                }) => return Ok(()),
                Err(failed) => {
                    tracing::warn!(
                        target: "fiber::sched", supervisor = %self.this, why = %failed.why,
                        "a supervised process was not started again"
                    );
                    place = failed.place;
                }
            }
        }
    }

    /// Ends those from this place on, and starts them again.
    fn start_from(&mut self, first: Place) -> Result<(), Failed> {
        self.stop_from(first);
        let places: Vec<_> = self
            .children
            .range(first..)
            .map(|(place, _)| *place)
            .collect();
        places
            .into_iter()
            .try_for_each(|place| self.start(place).map(drop))
    }

    fn stop_from(&mut self, first: Place) {
        let from = self.children.range(first..).rev();
        let places: Vec<_> = from.map(|(place, _)| *place).collect();
        if self.strategy == Strategy::Dynamic {
            return self.stop(&places);
        }
        for place in places {
            self.stop(&[place]);
        }
    }

    /// Ends these, all at once, and waits until they have ended.
    fn stop(&mut self, places: &[Place]) {
        let mut ending = Vec::new();
        for place in places {
            let child = self.children.get_mut(place).expect("it was added");
            if let Some(process) = child.process.take() {
                self.running.remove(&process.id());
                begin_to_end(&process, child.spec.shutdown, &self.this);
                ending.push((process, child.spec.shutdown));
            }
            if child.spec.restart == Restart::Temporary || self.strategy == Strategy::Dynamic {
                self.children.remove(place);
            }
        }
        let since = time::now();
        for (process, shutdown) in ending {
            wait_for_end(&process, shutdown, since);
        }
    }
}

/// Starts a process for this child, and waits until it has started.
fn begin(spec: &ChildSpec, supervisor: &Process) -> Result<Process, StartError> {
    if is_cancelled() {
        return Err(StartError::Cancelled);
    }
    let (reply, awaited) = Reply::new();
    let main = Arc::clone(&spec.main);
    let started = Started(spec.tells.then_some(reply));
    let handle = spec.builder().spawn(move || {
        if let Err(why) = main(started) {
            fail_now(why);
        }
    })?;
    let process = handle.process();
    if spec.tells {
        let why = choose! {
            told = awaited.operation() => match told {
                Some(()) => return Ok(process.clone()),
                None => ends(process),
            },
            exit = process.end_operation() => match awaited.taken() {
                Some(()) => return Ok(process.clone()),
                None => StartError::Ended(exit),
            },
            _ = cancelled_operation() => StartError::Cancelled,
        };
        begin_to_end(process, spec.shutdown, supervisor);
        wait_for_end(process, spec.shutdown, time::now());
        return Err(why);
    }
    Ok(process.clone())
}

/// It did not say that it has started, and is about to end.
fn ends(process: &Process) -> StartError {
    choose! {
        exit = process.end_operation() => StartError::Ended(exit),
        _ = cancelled_operation() => StartError::Cancelled,
    }
}

fn begin_to_end(process: &Process, shutdown: Shutdown, supervisor: &Process) {
    supervisor.unlink_from(process);
    match shutdown {
        Shutdown::Brutal => process.kill(SHUTDOWN),
        Shutdown::Timeout(_) | Shutdown::Infinity => process.cancel(SHUTDOWN),
    }
}

fn wait_for_end(process: &Process, shutdown: Shutdown, since: Instant) {
    let monitor = process.monitor();
    if let Shutdown::Timeout(span) = shutdown {
        let left = (since + span).saturating_since(time::now());
        if monitor.wait_timeout(left).is_ok() {
            return;
        }
        process.kill(SHUTDOWN);
    }
    perform(monitor.wait_operation());
}
