//! The load as a whole.

use core::{fmt, net::SocketAddr, time::Duration};
use std::{io, net::TcpStream, time::Instant};

use benches::Failure;
use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    io::Errno,
};

use crate::{
    client::{Client, ask},
    process,
    request::Requests,
};

/// Bytes read at once: more than is under way on a connection.
const READ_BYTES: usize = 256 << 10;
const EVENTS_MAX: usize = 1024;
/// Room for so many latencies from the start, so that nothing is allocated while they are taken.
const LATENCIES: usize = 1 << 22;
/// After so long without any answer the server is taken for dead.
const PATIENCE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    /// What is measured; a third of it comes before, to warm up.
    pub(crate) time: Duration,
    pub(crate) server: Option<u32>,
}

/// What came of it; displayed as a line of JSON.
#[derive(Debug)]
pub(crate) struct Report {
    requests: u64,
    wall_ns: u64,
    server_ns: Option<u64>,
    client_ns: u64,
    latencies: Vec<u32>,
}

impl Load {
    pub(crate) fn run(&self, mut requests: Requests) -> Result<Report, Failure> {
        process::allow_files();
        let mut preparing = TcpStream::connect(self.address)?;
        ask(&mut preparing, &requests.first())?;
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        let greeting = requests.greeting();
        let mut clients = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            let client = Client::connect(self.address, &greeting)?;
            let data = EventData::new_u64(u64::try_from(number)?);
            epoll::add(&poll, &client.stream, data, EventFlags::IN)?;
            clients.push(client);
        }

        let origin = Instant::now();
        let nanos = || u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut said = Vec::new();
        for client in &mut clients {
            client.send(self.depth, &mut requests, nanos(), &mut said)?;
        }
        let mut measuring = None;
        let mut latencies = Vec::with_capacity(LATENCIES);
        let mut buffer = vec![0; READ_BYTES];
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            events.clear();
            let waited = epoll::wait(
                &poll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&PATIENCE),
            );
            match waited {
                // It was stopped for a while, and goes on.
                Err(Errno::INTR) => continue,
                waited => drop(waited?),
            }
            if events.is_empty() {
                return Err("the server has not answered for seconds".into());
            }
            for event in &events {
                let client = &mut clients[usize::try_from(event.data.u64())?];
                let now = nanos();
                let answers = client.receive(&mut buffer, |sent| {
                    if measuring.is_some() {
                        latencies.push(u32::try_from(now - sent).unwrap_or(u32::MAX));
                    }
                })?;
                if answers > 0 {
                    client.send(answers, &mut requests, now, &mut said)?;
                }
            }
            match &measuring {
                None if origin.elapsed() >= self.time / 3 => measuring = Some(self.mark()?),
                // On a slow machine the first answer may take longer than all should.
                Some(begun) if begun.at.elapsed() >= self.time && !latencies.is_empty() => {
                    return Ok(begun.report(&self.mark()?, latencies));
                }
                _ => {}
            }
        }
    }

    fn mark(&self) -> io::Result<Mark> {
        Ok(Mark {
            server_ns: self.server.map(process::processor_ns).transpose()?,
            client_ns: process::processor_ns(std::process::id())?,
            at: Instant::now(),
        })
    }
}

/// A moment: where the measured time begins or ends.
struct Mark {
    at: Instant,
    server_ns: Option<u64>,
    client_ns: u64,
}

impl Mark {
    fn report(&self, end: &Self, latencies: Vec<u32>) -> Report {
        let server = self.server_ns.zip(end.server_ns);
        Report {
            requests: u64::try_from(latencies.len()).unwrap_or(u64::MAX),
            wall_ns: u64::try_from((end.at - self.at).as_nanos()).unwrap_or(u64::MAX),
            server_ns: server.map(|(begun, ended)| ended.saturating_sub(begun)),
            client_ns: end.client_ns.saturating_sub(self.client_ns),
            latencies,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.requests.max(1) as f64;
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let microseconds = |permille| f64::from(quantile(&sorted, permille)) / 1e3;
        let rate = self.requests as f64 * 1e9 / self.wall_ns.max(1) as f64;
        write!(f, "{{\"requests\":{},\"rps\":{rate:.0}", self.requests)?;
        for (name, permille) in [("p50_us", 500), ("p99_us", 990), ("p999_us", 999)] {
            write!(f, ",\"{name}\":{:.1}", microseconds(permille))?;
        }
        if let Some(server) = self.server_ns {
            let each = server as f64 / requests;
            write!(f, ",\"server_cpu_ns_per_req\":{each:.1}")?;
            let share = server as f64 / self.wall_ns.max(1) as f64;
            write!(f, ",\"server_util\":{share:.2}")?;
        }
        let each = self.client_ns as f64 / requests;
        write!(f, ",\"client_cpu_ns_per_req\":{each:.1}}}")
    }
}

/// The smallest value that so many thousandths of all do not exceed.
fn quantile(sorted: &[u32], permille: usize) -> u32 {
    let rank = (sorted.len() * permille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Opens connections that are served once and then idle, and says what memory each of them takes.
pub(crate) fn idle(address: SocketAddr, count: usize, server: u32) -> Result<String, Failure> {
    process::allow_files();
    let greeting = Requests::Echo.greeting();
    // What the first one brings with it is the server's own.
    let _first = Client::connect(address, &greeting)?;
    let [rss, page_tables] = process::memory(server)?;
    let clients = (0..count).map(|_| Client::connect(address, &greeting));
    let clients = clients.collect::<io::Result<Vec<_>>>()?;
    let after = process::memory(server)?;
    let each = |after: u64, before: u64| (after as f64 - before as f64) / count.max(1) as f64;
    let (rss, page_tables) = (each(after[0], rss), each(after[1], page_tables));
    drop(clients);
    Ok(format!(
        "{{\"connections\":{count},\"rss_per_task\":{rss:.1},\"pte_per_task\":{page_tables:.1}}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::{Report, quantile};

    #[test]
    fn a_quantile_is_the_value_at_its_rank() {
        let sorted: Vec<u32> = (1..=1000).collect();
        assert_eq!(quantile(&sorted, 500), 500);
        assert_eq!(quantile(&sorted, 999), 999);
        assert_eq!(quantile(&[5], 1), 5);
        assert_eq!(quantile(&[], 500), 0);
    }

    #[test]
    fn a_report_is_one_line_of_json() {
        let mut report = Report {
            requests: 4,
            wall_ns: 2_000,
            server_ns: Some(1_000),
            client_ns: 600,
            latencies: vec![4_000, 1_000, 3_000, 2_000],
        };
        assert_eq!(
            report.to_string(),
            "{\"requests\":4,\"rps\":2000000,\"p50_us\":2.0,\"p99_us\":4.0,\"p999_us\":4.0,\
             \"server_cpu_ns_per_req\":250.0,\"server_util\":0.50,\"client_cpu_ns_per_req\":150.0}"
        );
        report.server_ns = None;
        assert!(!report.to_string().contains("server"));
    }
}
