//! What a panic of a fiber carries: its payload, and where it came from.
//!
//! A payload does not say where its panic began: std tells that to a hook, before anything unwinds,
//! on the fiber's own stack. So the hook leaves a note with the fiber, and whoever catches the
//! payload on that fiber looks for the note that belongs to it.
//!
//! ```text
//! panic! ─▶ hook: note ─▶ unwinding … drops, which may park, and panic in turn ─▶ caught: payload
//!             │                                                                      │
//!             └────────▶ [ note, note, … ] with the fiber ◀── which one is its own? ─┘
//! ```
//!
//! Other fibers of the thread have notes of their own. Panics of one fiber can nest, and std's
//! `catch_unwind` asks nobody, so the newest note need not be the right one: text is known by
//! where it lies, which is the same in the hook and in the payload, other payloads by their type.
//! A panic without a note, or whose note is not found, has no place: better none than a wrong one.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{
    any::{Any, TypeId},
    cell::Cell,
    fmt, mem,
};

use super::{handle::Fiber, header::Header};
use crate::{
    big_stack,
    context::Context,
    env::{Backtrace, Panicking, Payload},
    primitive::Ordering,
};

/// How many notes wait for their payloads at once. Only panics that were swallowed, or that others
/// nest in, leave theirs for long; the oldest goes first.
const NOTES_MAX: usize = 4;

/// What a panic carried, and where it began.
///
/// Unlike the payload alone, which is what `std::thread::Result` has, it tells the place of the
/// panic, and the backtrace if the environment asks for one (`RUST_BACKTRACE`). Both are missing
/// when nobody has noted them: the payload was made for `resume_unwind`, the panic came from
/// another thread, as that of a blocking call does, or the program has set a panic hook of its own
/// after the first host was made, and that hook does not call the one before it.
pub struct PanicPayload {
    payload: Payload,
    note: Option<Box<Note>>,
}

// SAFETY: through a shared reference only text is read, of a `&str` or a `String`, which any thread
// may read, and the note, which is `Sync`; the payload itself is reached by value (I-9).
unsafe impl Sync for PanicPayload {}

impl PanicPayload {
    /// What was caught on the fiber that has `notes`.
    pub(crate) fn new(payload: Payload, notes: &Notes) -> Self {
        let note = notes.take(&*payload).map(Box::new);
        Self { payload, note }
    }

    /// The message, if the payload is text as `panic!` makes it.
    pub fn message(&self) -> Option<&str> {
        message_of(&*self.payload)
    }

    /// Where the panic began, if that is known.
    pub fn location(&self) -> Option<&PanicLocation> {
        self.note.as_ref()?.location.as_ref()
    }

    /// The stack at that place, if the environment asks for backtraces. To print one needs more
    /// room than the smallest stacks have, see [`on_big_stack`](crate::big_stack::on_big_stack).
    pub fn backtrace(&self) -> Option<&dyn fmt::Display> {
        let backtrace = self.note.as_ref()?.backtrace.as_ref()?;
        Some(&**backtrace)
    }

    /// Logs it as the end of `fiber`, for when nobody else will be told: as a `JoinHandle` does
    /// that is dropped.
    pub fn report(&self, fiber: &Fiber) {
        big_stack::with_room(|| {
            tracing::error!(
                target: "fiber::core",
                %fiber, spawned_at = %fiber.spawned_at(), panic = %self,
                backtrace = self.backtrace().map(tracing::field::display),
                "a detached fiber ended by a panic"
            );
        });
    }

    /// The payload itself, to downcast or to resume the panic with: a fiber that does the latter
    /// panics with the place and the backtrace that this has.
    pub fn into_inner(self) -> Payload {
        if let Some(note) = self.note {
            Context::with_current(|_, fiber| fiber.notes().add(*note));
        }
        self.payload
    }
}

impl fmt::Debug for PanicPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PanicPayload({:?}", self.message().unwrap_or("not text"))?;
        if let Some(location) = self.location() {
            write!(f, ", {location}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for PanicPayload {
    /// The message and the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message().unwrap_or("a payload that is not text"))?;
        match self.location() {
            Some(location) => write!(f, ", at {location}"),
            None => Ok(()),
        }
    }
}

/// Where a panic began. As `core::panic::Location`, but it keeps the name of the file by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PanicLocation {
    file: Box<str>,
    line: u32,
    column: u32,
}

impl PanicLocation {
    /// The source file, as the compiler was given it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column, from 1.
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl fmt::Display for PanicLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Notes the panic with the calling fiber, if there is one, and has it printed where there is room
/// for that. Called on the panicking thread, before it unwinds; see
/// [`ThreadHooks::watch_panics`](crate::env::ThreadHooks::watch_panics).
pub(crate) fn watch(panicking: &Panicking<'_>, print: &mut dyn FnMut()) {
    big_stack::with_room(|| {
        Context::with_current(|_, fiber| fiber.notes().add(Note::new(panicking)));
        print();
    });
}

/// What was seen of a panic when it began.
struct Note {
    mark: Mark,
    location: Option<PanicLocation>,
    backtrace: Option<Backtrace>,
}

impl Note {
    fn new(panicking: &Panicking<'_>) -> Self {
        let location = panicking.location.map(|location| PanicLocation {
            file: location.file().into(),
            line: location.line(),
            column: location.column(),
        });
        Self {
            mark: Mark::of(panicking.payload),
            location,
            backtrace: (panicking.backtrace)(),
        }
    }
}

/// By what a payload is known again.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    kind: TypeId,
    /// Where its text lies, and how long it is; zeros if it is not text.
    text: (usize, usize),
}

impl Mark {
    fn of(payload: &dyn Any) -> Self {
        let text = message_of(payload).map(|text| (text.as_ptr().addr(), text.len()));
        Self {
            kind: payload.type_id(),
            text: text.unwrap_or_default(),
        }
    }
}

fn message_of(payload: &dyn Any) -> Option<&str> {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref().map(String::as_str))
}

impl Header {
    /// Of its panics that were not caught yet.
    pub(crate) fn notes(&self) -> &Notes {
        &self.started_part().notes
    }

    /// Its body has ended by a panic.
    pub(super) fn note_panic(&self) {
        self.panicked.store(true, Ordering::Release);
    }
}

/// The notes of one fiber, oldest first.
pub(crate) struct Notes(Cell<Vec<Note>>);

impl Notes {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(Vec::new()))
    }

    /// Nobody asks for them any more.
    #[inline]
    pub(super) fn forget_all(&self) {
        let notes = self.0.take();
        match notes.capacity() {
            0 => mem::forget(notes),
            _ => drop(notes),
        }
    }

    fn add(&self, note: Note) {
        let mut notes = self.0.take();
        if notes.len() == NOTES_MAX {
            notes.remove(0);
        }
        notes.push(note);
        self.0.set(notes);
    }

    fn take(&self, payload: &dyn Any) -> Option<Note> {
        let mut notes = self.0.take();
        let mark = Mark::of(payload);
        let newest = notes.iter().rposition(|note| note.mark == mark);
        let note = newest.map(|index| notes.remove(index));
        self.0.set(notes);
        note
    }
}

const _: () = {
    const fn moves_between_threads<T: Send + Sync>() {}
    // A fiber's block may be freed by any thread, and the notes with it.
    moves_between_threads::<Note>();
};

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use alloc::{borrow::ToOwned, string::ToString};
    use core::panic::Location;

    use super::*;

    #[track_caller]
    fn panicked(notes: &Notes, payload: &dyn Any) -> u32 {
        let location = Location::caller();
        notes.add(Note::new(&Panicking {
            payload,
            location: Some(location),
            backtrace: &|| None,
        }));
        location.line()
    }

    fn line(caught: &PanicPayload) -> Option<u32> {
        caught.location().map(PanicLocation::line)
    }

    #[test]
    fn a_panic_that_others_nest_in_finds_its_own_note() {
        let notes = Notes::new();
        let (outer, inner) = ("the same".to_owned(), "the same".to_owned());
        let outer_line = panicked(&notes, &outer);
        let inner_line = panicked(&notes, &inner);
        let outer = PanicPayload::new(Box::new(outer), &notes);
        let inner = PanicPayload::new(Box::new(inner), &notes);
        assert_eq!(line(&outer), Some(outer_line));
        assert_eq!(line(&inner), Some(inner_line));
    }

    #[test]
    fn a_payload_without_a_panic_has_no_place() {
        let notes = Notes::new();
        panicked(&notes, &"swallowed");
        panicked(&notes, &7_u8);
        let resumed = PanicPayload::new(Box::new("resumed"), &notes);
        assert!(resumed.location().is_none());
        let resumed = PanicPayload::new(Box::new(7_u16), &notes);
        assert!(resumed.location().is_none());
        assert!(resumed.backtrace().is_none());
    }

    #[test]
    fn notes_of_swallowed_panics_do_not_pile_up() {
        let notes = Notes::new();
        let first = "first".to_owned();
        panicked(&notes, &first);
        for number in 0..NOTES_MAX {
            panicked(&notes, &number.to_string());
        }
        assert!(
            PanicPayload::new(Box::new(first), &notes)
                .location()
                .is_none()
        );
        let kept = notes.0.take();
        assert_eq!(kept.len(), NOTES_MAX);
    }

    #[test]
    fn a_payload_says_what_and_where() {
        let notes = Notes::new();
        let line = panicked(&notes, &"broken");
        let text = PanicPayload::new(Box::new("broken"), &notes).to_string();
        let file = file!();
        assert!(
            text.starts_with(&alloc::format!("broken, at {file}:{line}:")),
            "{text}"
        );
    }
}
