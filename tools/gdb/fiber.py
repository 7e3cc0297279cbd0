"""Fibers in gdb: `info fibers`, `info fibers bt`, `fiber ID`.

Load it with `source tools/gdb/fiber.py`, in a process that uses host-linux and is stopped.

How it finds them: host-linux has a table of its slabs of stacks; the top of each stack that is in
use has a magic word, the fiber's block, and the layout of that (`fiber-core/src/stack.rs`,
`fiber/layout.rs`). Beyond those it relies on: where the words of the table are (`slabs.rs`), the
sizes of the stack classes, a string being its address and its length, and, for backtraces, the
registers that corosensei saves on x86-64. Fibers without a stack, those that have not started, are
not shown. A program that was stripped of its symbols has no table to be found.
"""

import re
import struct

import gdb

MAGIC = 0x6669_6265_7221_0A0D
HEADER_BYTES = 64
SLAB_BYTES = 64 << 20
CLASS_BYTES = [16 << 10, 64 << 10, 256 << 10, 1 << 20, 8 << 20]
WORDS = [
    "version", "id", "wake", "rare", "started",
    "name", "waiting_for", "stack_limit", "coroutine", "coroutine_bytes",
]
VERSION = 2
PARKED = 2
FRAMES_MAX = 64
X86 = "i386:x86-64"
# The frames from here on are how the fiber was started, and its worker.
BASE = "fiber_core::fiber::block::Block"


def read(address, length):
    return bytes(gdb.selected_inferior().read_memory(address, length))


def word(address):
    return struct.unpack("<Q", read(address, 8))[0]


def text(address):
    start, length = word(address), word(address + 8)
    return read(start, min(length, 256)).decode("utf-8", "replace") if start and length else None


def symbol(name):
    """The address of a static, by its path in Rust."""
    found = gdb.execute("info variables -q " + re.escape(name), to_string=True)
    for line in found.splitlines():
        match = re.match(r"^(0x[0-9a-f]+)\s+\S*" + re.escape(name), line)
        if match:
            return int(match.group(1), 16)
    raise gdb.GdbError(f"no symbol {name}: is this a running program on host-linux, not stripped?")


def stack_pointer():
    frame = gdb.newest_frame()
    is_x86 = frame.architecture().name() == X86
    return int(frame.read_register("rsp" if is_x86 else "sp")) % (1 << 64)


class Fiber:
    """One fiber that has a stack, or several: its own, and larger ones that it is on for a while."""

    def __init__(self, header, layout, places):
        at = dict(zip(WORDS, struct.unpack(f"<{len(WORDS)}Q", read(layout, 8 * len(WORDS)))))
        if at["version"] != VERSION:
            raise gdb.GdbError(f"the program's layout is version {at['version']}, not {VERSION}")
        bits = word(header + at["id"])
        self.id = f"{bits >> 32}.{bits & 0xFFFF}" if bits else "none"
        rare, started = word(header + at["rare"]), word(header + at["started"])
        self.name = text(rare + at["name"]) if rare else None
        self.is_parked = struct.unpack("<I", read(header + at["wake"], 4))[0] == PARKED
        self.waiting_for, self.stacks, self.saved = "its first run, or has ended", places, None
        if not started:
            # Stopped just while it gets its stack or gives it back.
            return
        self.waiting_for = text(started + at["waiting_for"])
        own = word(started + at["stack_limit"])
        self.stacks = [(own if low < own < base else low, base) for low, base in places]
        self.saved = self.find_saved(started + at["coroutine"], at["coroutine_bytes"])

    def find_saved(self, coroutine, length):
        """The saved stack pointer: the lowest address within a stack that the coroutine holds."""
        words = struct.unpack(f"<{length // 8}Q", read(coroutine, length // 8 * 8))
        return min((value for value in words if self.is_inside(value)), default=None)

    def is_inside(self, address):
        return any(limit < address < base - HEADER_BYTES for limit, base in self.stacks)

    def thread(self):
        """The thread that runs on one of its stacks right now, if one does."""
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            if self.is_inside(stack_pointer()):
                return thread
        return None

    def __str__(self):
        name = f"'{self.name}'" if self.name else "-"
        state = "waits for" if self.is_parked else "runs or is ready, after"
        return f"{self.id:<12} {name:<20} {state} {self.waiting_for}"

    def backtrace(self):
        before = gdb.selected_thread()
        try:
            thread = self.thread()
            if thread is not None:
                thread.switch()
                return limited(gdb.execute(f"backtrace {FRAMES_MAX}", to_string=True))
            before.switch()
            return self.saved_backtrace()
        finally:
            before.switch()

    def saved_backtrace(self):
        frame = gdb.newest_frame()
        if frame.architecture().name() != X86:
            raise gdb.GdbError("backtraces of fibers that are switched out need x86-64")
        if self.saved is None:
            return "    (it has not been switched out yet)\n"
        rip, rbx, rbp = struct.unpack("<3Q", read(self.saved, 24))
        now = {"rip": rip, "rbx": rbx, "rbp": rbp, "rsp": self.saved + 24}
        frame.select()
        old = {name: int(frame.read_register(name)) % (1 << 64) for name in now}
        try:
            for name, value in now.items():
                gdb.execute(f"set ${name} = {value}", to_string=True)
            return limited(gdb.execute(f"backtrace {FRAMES_MAX}", to_string=True))
        finally:
            gdb.newest_frame().select()
            for name, value in old.items():
                gdb.execute(f"set ${name} = {value}", to_string=True)


def limited(backtrace):
    lines = []
    for line in backtrace.splitlines():
        if BASE in line:
            break
        lines.append("    " + line)
    return "\n".join(lines) + "\n"


def stacks():
    """Every place for a stack: its lowest address, and its base."""
    table, used = symbol("host_linux::slabs::TABLE"), word(symbol("host_linux::slabs::USED"))
    for index in range(used):
        entry = word(table + 8 * index)
        if entry:
            size = CLASS_BYTES[(entry & 7) - 1]
            start = entry & ~0xFFF
            yield from ((low, low + size) for low in range(start, start + SLAB_BYTES, size))


def fibers():
    found = {}
    for low, base in stacks():
        try:
            magic, header, layout = struct.unpack("<3Q", read(base - HEADER_BYTES, 24))
        except gdb.MemoryError:
            continue
        if magic == MAGIC:
            found.setdefault((header, layout), []).append((low, base))
    for (header, layout), places in found.items():
        yield Fiber(header, layout, places)


class InfoFibers(gdb.Command):
    """List the fibers that have a stack; `info fibers bt` with their backtraces."""

    def __init__(self):
        super().__init__("info fibers", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        found = list(fibers())
        for fiber in found:
            print(fiber)
            if argument.strip() == "bt":
                print(fiber.backtrace())
        print(f"{len(found)} fibers")


class FiberCommand(gdb.Command):
    """Show one fiber and its backtrace: `fiber 257.1`, with the id as reports print it."""

    def __init__(self):
        super().__init__("fiber", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = argument.split()
        wanted = words[0].removeprefix("fiber:") if words else ""
        for fiber in fibers():
            if fiber.id == wanted:
                print(fiber)
                print(fiber.backtrace())
                return
        raise gdb.GdbError(f"no fiber {wanted or '(say which)'} has a stack; see `info fibers`")


InfoFibers()
FiberCommand()
