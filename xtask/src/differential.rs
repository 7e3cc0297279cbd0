//! Our cache against memcached itself: the same random commands to both, the same answers back.
//!
//! Commands go one at a time, each with an `mn` behind it, whose answer ends the reply. Numbers
//! that may differ are made equal first: unique numbers are matched one to one, times are left
//! out. What else differs on purpose, [`Script::command`] does not say:
//!
//! - control characters in a key, which memcached accepts;
//! - numbers beyond 32 bits where memcached cuts them off;
//! - base64 with foreign letters or padding in the middle, which memcached passes over;
//! - an opaque token that is too long, which `ma` and `mg N` notice after they have acted;
//! - `q` with `ma N`, which memcached hides from 1.6.20 or so on, as ours does;
//! - the flags `E`, `x`, `mg C`, `ms s` and `ms N`, which are younger than 1.6.18;
//! - the numbers of `me` and `stats`, and the version;
//! - the spaces behind a number that became shorter, and the marks of an item that was counted:
//!   memcached makes a new item when it happens to hold the old one for something else, so what
//!   was counted is set again at once.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::runner::{Log, Outcome};
use crate::server::{Server, wait_until_accepted};
use crate::steps::is_installed;
use crate::workspace::Workspace;

const SEEDS: u64 = 40;
const COMMANDS: u32 = 150;
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the comparison, or says that there is nothing to compare with.
pub(crate) fn differential(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    if !is_installed("memcached") {
        return Ok(Outcome::Skipped("memcached is not installed".to_owned()));
    }
    log.run(
        workspace
            .cargo()
            .args(["build", "--release", "-p", "cache"]),
    )?;
    let ours = Server::start(&workspace.release_program("cache"), &[])?;
    let theirs = Memcached::start()?;
    for seed in 1..=SEEDS {
        let mut pair = Pair {
            ours: Peer::open(ours.address)?,
            theirs: Peer::open(theirs.address)?,
            uniques: Uniques::default(),
        };
        let mut script = Script::new(seed);
        let mut history = Vec::new();
        for step in 0..COMMANDS {
            let command = script.command();
            pair.ask(&command).map_err(|difference| {
                let before = related(&history, &command);
                format!("seed {seed}, step {step}: {before}{command:.300?}\n{difference:.3000}")
            })?;
            history.push(command);
        }
        log.text(&format!("seed {seed}: {COMMANDS} answers agree\n"));
    }
    ours.stop()?;
    Ok(Outcome::Passed)
}

/// The last commands about the same key, one a line.
fn related(history: &[String], command: &str) -> String {
    let key = command.split_whitespace().nth(1).unwrap_or_default();
    let all: Vec<_> = history
        .iter()
        .filter(|earlier| earlier.contains(key) || earlier.starts_with("flush_all"))
        .collect();
    let recent = all[all.len().saturating_sub(12)..].iter();
    recent.map(|earlier| format!("{earlier:.100?}\n")).collect()
}

/// A running memcached; dropping it ends the process.
struct Memcached {
    child: Child,
    address: SocketAddr,
    /// Where it writes down its port. It does so as the user that it becomes.
    note: PathBuf,
}

impl Memcached {
    fn start() -> Result<Self, String> {
        let note = env::temp_dir().join(format!("xtask-memcached-{}", process::id()));
        let _ = fs::remove_file(&note);
        let child = Command::new("memcached")
            // Any port that is free.
            .args(["-u", "nobody", "-U", "0", "-l", "127.0.0.1", "-p", "-1"])
            .env("MEMCACHED_PORT_FILENAME", &note)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start memcached: {error}"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self {
            child,
            address,
            note,
        };
        let port = server.wait_for_its_port();
        let port = port.map_err(|reason| format!("memcached: {reason}"))?;
        server.address.set_port(port);
        wait_until_accepted(&mut server.child, server.address)
            .map_err(|reason| format!("memcached: {reason}"))?;
        Ok(server)
    }

    fn wait_for_its_port(&mut self) -> Result<u16, String> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            // It is there whole, or not at all.
            if let Ok(note) = fs::read_to_string(&self.note) {
                let port = note.trim_end().rsplit(' ').next();
                let port = port.and_then(|port| port.parse().ok());
                return port.ok_or_else(|| format!("it writes {note:?} about its port"));
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended by itself: {status}"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(format!("has no port within {PATIENCE:?}"))
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // They fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.note);
    }
}

/// A connection to one of the two.
struct Peer(TcpStream);

impl Peer {
    fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        let ready = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        ready.map_err(|error| error.to_string())?;
        Ok(Self(stream))
    }

    /// Sends a command and returns everything that is answered to it.
    fn ask(&mut self, command: &str) -> Result<String, String> {
        let text = format!("{command}mn\r\n");
        let stream = &mut self.0;
        stream
            .write_all(text.as_bytes())
            .map_err(|error| error.to_string())?;
        let mut reply = Vec::new();
        let mut buffer = [0; 4096];
        while !(reply == b"MN\r\n" || reply.ends_with(b"\nMN\r\n")) {
            let count = stream
                .read(&mut buffer)
                .map_err(|error| format!("{error} after {}", reply.escape_ascii()))?;
            if count == 0 {
                return Err(format!("closed after {}", reply.escape_ascii()));
            }
            reply.extend_from_slice(&buffer[..count]);
        }
        reply.truncate(reply.len() - b"MN\r\n".len());
        Ok(reply.escape_ascii().to_string().replace("\\r\\n", "\n"))
    }
}

/// The two servers, and which of their unique numbers mean the same.
struct Pair {
    ours: Peer,
    theirs: Peer,
    uniques: Uniques,
}

impl Pair {
    /// Lets both carry out a command; an error says how their answers differ.
    fn ask(&mut self, command: &str) -> Result<(), String> {
        let ours = self.ours.ask(&self.uniques.fill_in(command, Side::Ours))?;
        let theirs = self
            .theirs
            .ask(&self.uniques.fill_in(command, Side::Theirs))?;
        let same = ours.lines().count() == theirs.lines().count()
            && ours
                .lines()
                .zip(theirs.lines())
                .all(|(ours, theirs)| self.uniques.same_line(command, ours, theirs));
        if same {
            Ok(())
        } else {
            Err(format!("ours:\n{ours}memcached's:\n{theirs}"))
        }
    }
}

/// Whose numbers.
#[derive(Clone, Copy)]
enum Side {
    Ours,
    Theirs,
}

/// Unique numbers that were seen in the same place of both answers.
#[derive(Default)]
struct Uniques {
    /// Those of each key, in the order of sight. A number of another key says nothing: ours grow
    /// with every change of a key, memcached's with every change at all.
    pairs: HashMap<String, Vec<(u64, u64)>>,
    by_ours: HashMap<u64, u64>,
}

impl Uniques {
    /// Puts numbers of that side where a command has `{last}` or `{older}`.
    fn fill_in(&self, command: &str, side: Side) -> String {
        let key = command.split_whitespace().nth(1).unwrap_or_default();
        let pairs = self.pairs.get(key).map_or(&[][..], Vec::as_slice);
        let number = |back: usize| {
            let index = pairs.len().checked_sub(back);
            let pair = index.map_or((0, 0), |index| pairs[index]);
            match side {
                Side::Ours => pair.0.to_string(),
                Side::Theirs => pair.1.to_string(),
            }
        };
        command
            .replace("{last}", &number(1))
            .replace("{older}", &number(2))
    }

    /// Whether two lines say the same, in the terms of either server.
    fn same_line(&mut self, command: &str, ours: &str, theirs: &str) -> bool {
        let has_flags = ["HD", "VA", "EN", "NF", "NS", "EX"];
        let is_value = ours.starts_with("VALUE ");
        let is_meta = has_flags.iter().any(|code| ours.starts_with(code));
        if ours.starts_with("ME ") {
            return name_of(ours) == name_of(theirs);
        }
        let key_of = |line: &str| line.split_whitespace().nth(1).map(ToOwned::to_owned);
        let key = key_of(if is_value { ours } else { command }).unwrap_or_default();
        let (ours, theirs): (Vec<_>, Vec<_>) =
            (ours.split(' ').collect(), theirs.split(' ').collect());
        ours.len() == theirs.len()
            && ours
                .iter()
                .zip(theirs)
                .enumerate()
                .all(|(at, (ours, theirs))| {
                    if *ours == theirs {
                        return true;
                    }
                    match (ours.as_bytes().first(), theirs.as_bytes().first()) {
                        (Some(b't'), Some(b't')) => {
                            is_meta && (*ours == "t-1") == (theirs == "t-1")
                        }
                        (Some(b'l'), Some(b'l')) => is_meta,
                        (Some(b'c'), Some(b'c')) if is_meta => {
                            self.same_unique(&key, &ours[1..], &theirs[1..])
                        }
                        _ => is_value && at == 4 && self.same_unique(&key, ours, theirs),
                    }
                })
    }

    fn same_unique(&mut self, key: &str, ours: &str, theirs: &str) -> bool {
        let (Ok(ours), Ok(theirs)) = (ours.parse(), theirs.parse()) else {
            return false;
        };
        if ours == 0 || theirs == 0 {
            return ours == theirs;
        }
        let pairs = self.pairs.entry(key.to_owned()).or_default();
        if !pairs.contains(&(ours, theirs)) {
            pairs.push((ours, theirs));
        }
        *self.by_ours.entry(ours).or_insert(theirs) == theirs
    }
}

/// Gives what was counted a new value, because the old one is not the same on both sides.
fn again(key: &str, binary: &str) -> String {
    format!("ms {key} 2{binary}\r\n10\r\n")
}

/// A debugging line without its numbers.
fn name_of(line: &str) -> (Option<&str>, bool) {
    (line.split(' ').nth(1), line.contains(" fetch=yes "))
}

/// Random commands, the same for a seed.
struct Script {
    seed: u64,
    random: u64,
}

const KEYS: [&str; 6] = ["a", "b", "c", "number", "other", "ключ"];
const BINARY_KEYS: [&str; 3] = ["AAEC", "/+8=", "YQ=="];
const VALUES: [&str; 6] = ["", "x", "abc", "10", "0", "99"];
const EXPTIMES: [&str; 7] = ["0", "0", "100", "2000000000", "-1", "1000000000", "x"];
const NUMBERS: [&str; 5] = ["1", "0", "10", "-1", "x"];
const UNIQUES: [&str; 6] = [
    "{last}",
    "{last}",
    "{last}",
    "{older}",
    "0",
    "18446744073709551615",
];

impl Script {
    fn new(seed: u64) -> Self {
        Self { seed, random: seed }
    }

    fn below(&mut self, n: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap_or(0) % n
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn key(&mut self) -> String {
        if self.below(60) == 0 {
            return "k".repeat(249 + self.below(4));
        }
        format!("{}-{}", self.one_of(&KEYS), self.seed)
    }

    fn no_reply(&mut self) -> &'static str {
        self.one_of(&["", "", "", "", " noreply", " x", " noreply x"])
    }

    /// A whole command, sometimes a bad one.
    fn command(&mut self) -> String {
        match self.below(20) {
            0..=4 => self.store(),
            5..=6 => self.retrieve(),
            7 => self.classic(),
            8..=11 => self.meta_get(),
            12..=14 => self.meta_set(),
            15..=16 => self.meta_delete(),
            17..=18 => self.meta_arithmetic(),
            _ => self.other(),
        }
    }

    fn block(&mut self) -> (String, String) {
        let value = self.one_of(&VALUES).to_owned();
        match self.below(30) {
            // It takes a part of what follows.
            0 => ((value.len() + 1).to_string(), format!("{value}\r\nzz")),
            1 => ("-1".to_owned(), value),
            2 => (value.len().to_string(), format!("{value}longer")),
            _ => (value.len().to_string(), value),
        }
    }

    fn store(&mut self) -> String {
        let name = self.one_of(&["set", "set", "add", "replace", "append", "prepend", "cas"]);
        let (length, value) = self.block();
        let flags = self.one_of(&["0", "5", "4294967295", "x"]);
        let exptime = self.one_of(&EXPTIMES);
        let unique = if name == "cas" {
            format!(" {}", self.one_of(&UNIQUES))
        } else {
            String::new()
        };
        let (key, end) = (self.key(), self.no_reply());
        format!("{name} {key} {flags} {exptime} {length}{unique}{end}\r\n{value}\r\n")
    }

    fn retrieve(&mut self) -> String {
        let name = match self.below(6) {
            0 => format!("gat {}", self.one_of(&EXPTIMES)),
            1 => format!("gats {}", self.one_of(&EXPTIMES)),
            2 => "get".to_owned(),
            _ => "gets".to_owned(),
        };
        let keys: String = (0..self.below(4))
            .map(|_| format!(" {}", self.key()))
            .collect();
        format!("{name}{keys}\r\n")
    }

    fn classic(&mut self) -> String {
        let (key, end) = (self.key(), self.no_reply());
        match self.below(6) {
            0 => format!("delete {key}{end}\r\n"),
            1 => format!("delete {key} {}{end}\r\n", self.one_of(&["0", "1"])),
            2 => format!("touch {key} {}{end}\r\n", self.one_of(&EXPTIMES)),
            3 => format!("incr {key} {}{end}\r\n", self.one_of(&NUMBERS)) + &again(&key, ""),
            4 => format!("decr {key} {}{end}\r\n", self.one_of(&NUMBERS)) + &again(&key, ""),
            _ => {
                let key = format!("number-{}", self.seed);
                format!("incr {key} 1\r\n{}", again(&key, ""))
            }
        }
    }

    /// Some of these flags, in any order, at times one too often.
    fn flags(&mut self, all: &[&str]) -> String {
        let mut flags = String::new();
        for _ in 0..self.below(5) {
            let flag = self.one_of(all);
            let letter = &flag[..1];
            // A flag that is given twice is an error; that needs to be seen only now and then.
            if self.below(8) > 0 && flags.contains(&format!(" {letter}")) {
                continue;
            }
            flags = format!("{flags} {flag}");
        }
        if self.below(40) == 0 {
            flags += self.one_of(&[" z", " Tx", " N", " R1x", " Fx", " MZZ", " J-1", " \u{e9}"]);
        }
        flags
    }

    /// A key, and the flag that goes with it.
    fn meta_key(&mut self) -> (String, &'static str) {
        if self.below(6) == 0 {
            let key = self.one_of(&BINARY_KEYS);
            return (key.to_owned(), " b");
        }
        (self.key(), "")
    }

    fn meta_get(&mut self) -> String {
        const FLAGS: [&str; 20] = [
            "v", "v", "v", "t", "f", "c", "c", "s", "k", "h", "l", "q", "u", "Oabc", "T0", "T100",
            "R50", "R200", "Pp", "Ll",
        ];
        let (key, binary) = self.meta_key();
        let flags = self.flags(&FLAGS);
        // What `mg N` makes of a key in base64, memcached returns in plain bytes.
        let makes = if binary.is_empty() && self.below(4) == 0 {
            self.one_of(&[" N0", " N100"])
        } else {
            ""
        };
        format!("mg {key}{binary}{makes}{flags}\r\n")
    }

    fn meta_set(&mut self) -> String {
        const FLAGS: [&str; 16] = [
            "c", "c", "k", "O1", "q", "I", "I", "F7", "T0", "T100", "T-1", "ME", "MR", "MS", "MZ",
            "Pp",
        ];
        let (key, binary) = self.meta_key();
        let (length, value) = self.block();
        let mut flags = self.flags(&FLAGS);
        // Joined to a value, memcached forgets that its key is in base64.
        if binary.is_empty() && !flags.contains(" M") && self.below(4) == 0 {
            flags += self.one_of(&[" MA", " MP"]);
        }
        if self.below(3) == 0 {
            flags = format!("{flags} C{}", self.one_of(&UNIQUES));
        }
        format!("ms {key} {length}{binary}{flags}\r\n{value}\r\n")
    }

    fn meta_delete(&mut self) -> String {
        let (key, binary) = self.meta_key();
        let mut flags = self.flags(&["q", "I", "I", "I", "k", "Oxyz", "T100", "T0", "Pp"]);
        if self.below(4) == 0 {
            flags = format!("{flags} C{}", self.one_of(&UNIQUES));
        }
        format!("md {key}{binary}{flags}\r\n")
    }

    fn meta_arithmetic(&mut self) -> String {
        const FLAGS: [&str; 14] = [
            "v", "v", "t", "c", "k", "Oq", "T100", "MI", "MD", "M+", "M-", "MZ", "D10", "D3",
        ];
        let (key, binary) = self.meta_key();
        let mut flags = self.flags(&FLAGS);
        if self.below(3) == 0 {
            flags += self.one_of(&[" N0", " N100", " N0 J13", " N100 J99"]);
        } else if self.below(4) == 0 {
            flags += " q";
        }
        if self.below(6) == 0 {
            flags = format!("{flags} C{}", self.one_of(&UNIQUES));
        }
        let again = again(&key, binary);
        format!("ma {key}{binary}{flags}\r\n{again}")
    }

    fn other(&mut self) -> String {
        let key = format!("{}-{}", self.one_of(&KEYS), self.seed);
        match self.below(14) {
            0 => "flush_all\r\n".to_owned(),
            1 => format!(
                "flush_all{}\r\n",
                self.one_of(&[" noreply", " x", " -1", " 0"])
            ),
            2 => format!(
                "verbosity{}\r\n",
                self.one_of(&["", " 0", " x", " 0 noreply", " 0 1 2"])
            ),
            3 => format!("me{}\r\n", self.one_of(&["", " none", " a b"])),
            // A longer line that is no command would end memcached's connection.
            4 | 9 => {
                let name = self.one_of(&["set", "append", "prepend", "replace"]);
                let length = 9_000 + self.below(20_000);
                format!("{name} {key} 0 0 {length}\r\n{}\r\n", "v".repeat(length))
            }
            10 => {
                let length = 9_000 + self.below(20_000);
                let value = "v".repeat(length);
                format!("ms {key} {length} k c Olarge\r\n{value}\r\n")
            }
            5 => "stats nonsense\r\n".to_owned(),
            6 => "stats sizes\r\n".to_owned(),
            7 => "stats reset\r\n".to_owned(),
            8 => self
                .one_of(&[
                    "\r\n",
                    "x\r\n",
                    "m\r\n",
                    "mx k\r\n",
                    "GET a\r\n",
                    "mg\r\n",
                    "ms\r\n",
                ])
                .to_owned(),
            _ => format!("me {key}\r\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Script, Side, Uniques};

    #[test]
    fn unique_numbers_must_match_one_to_one() {
        let mut uniques = Uniques::default();
        assert!(uniques.same_line("mg k c", "VALUE k 0 1 64", "VALUE k 0 1 5"));
        assert!(uniques.same_line("mg k c", "HD c64 t9", "HD c5 t8"));
        assert_eq!(uniques.fill_in("md k C{last}", Side::Ours), "md k C64");
        assert_eq!(uniques.fill_in("md k C{last}", Side::Theirs), "md k C5");
        assert!(!uniques.same_line("mg k c", "HD c64", "HD c6"));
        assert!(!uniques.same_line("mg k c", "HD c0", "HD c6"));
        assert!(!uniques.same_line("mg k c", "HD t-1", "HD t5"));
        assert!(!uniques.same_line("mg k c", "HD h1", "HD h0"));
        assert!(!uniques.same_line("mg k c", "HD", "HD W"));
    }

    #[test]
    fn a_seed_gives_the_same_commands_again() {
        let commands = |seed| {
            let mut script = Script::new(seed);
            (0..100).map(|_| script.command()).collect::<Vec<_>>()
        };
        assert_eq!(commands(3), commands(3));
        assert_ne!(commands(3), commands(4));
    }
}
