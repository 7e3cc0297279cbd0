//! The result, as one line of JSON.

use core::fmt;
use core::time::Duration;

use crate::histogram::Histogram;

/// What the load has found out.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    /// In nanoseconds, from putting a request into the send buffer to having read its reply.
    pub(crate) latency: Histogram,
    pub(crate) server_cpu: Option<Duration>,
    /// The server's resident bytes before there were connections and when all were open.
    pub(crate) resident: Option<(u64, u64)>,
    /// The same before, and when all are open, have been served, and are idle.
    pub(crate) resident_after: Option<(u64, u64)>,
    pub(crate) connections: usize,
    /// How many connections the server has closed, if it was expected to.
    pub(crate) closed: Option<u64>,
    pub(crate) errors: u64,
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.requests as f64;
        let microseconds = |part| self.latency.quantile(part, 1000) as f64 / 1e3;
        let cpu = self.server_cpu.filter(|_| self.requests > 0);
        let cpu = cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / requests);
        let each =
            |(before, after): (u64, u64)| (after as f64 - before as f64) / self.connections as f64;
        let memory = self.resident.map(each);
        write!(
            f,
            "{{\"requests_per_s\":{:.1}",
            requests / self.elapsed.as_secs_f64()
        )?;
        write!(f, ",\"requests\":{}", self.requests)?;
        write!(f, ",\"p50_us\":{:.1}", microseconds(500))?;
        write!(f, ",\"p99_us\":{:.1}", microseconds(990))?;
        write!(f, ",\"p999_us\":{:.1}", microseconds(999))?;
        optional(f, "cpu_us_per_request", cpu, 3)?;
        optional(f, "memory_per_connection_bytes", memory, 0)?;
        if let Some(memory) = self.resident_after.map(each) {
            optional(f, "memory_per_idle_connection_bytes", Some(memory), 0)?;
        }
        if let Some(closed) = self.closed {
            write!(f, ",\"closed\":{closed}")?;
        }
        write!(f, ",\"errors\":{}}}", self.errors)
    }
}

fn optional(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    value: Option<f64>,
    digits: usize,
) -> fmt::Result {
    match value {
        Some(value) => write!(f, ",\"{name}\":{value:.digits$}"),
        None => write!(f, ",\"{name}\":null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_of_json() {
        let mut latency = Histogram::new();
        latency.record(50_000);
        let mut report = Report {
            requests: 1000,
            elapsed: Duration::from_secs(2),
            latency,
            server_cpu: Some(Duration::from_millis(4)),
            resident: Some((1_000_000, 1_040_000)),
            resident_after: Some((1_000, 2_000)),
            closed: Some(3),
            connections: 10,
            errors: 0,
        };
        assert_eq!(
            report.to_string(),
            "{\"requests_per_s\":500.0,\"requests\":1000,\"p50_us\":50.2,\"p99_us\":50.2,\
             \"p999_us\":50.2,\"cpu_us_per_request\":4.000,\
             \"memory_per_connection_bytes\":4000,\"memory_per_idle_connection_bytes\":100,\
             \"closed\":3,\"errors\":0}"
        );
        (report.server_cpu, report.resident) = (None, None);
        (report.resident_after, report.closed) = (None, None);
        let text = report.to_string();
        assert!(text.contains("\"cpu_us_per_request\":null"), "{text}");
        assert!(!text.contains("idle") && !text.contains("closed"), "{text}");
    }
}
