//! `cargo xtask demo`: the cache under load on this machine, then in the simulator.

use core::time::Duration;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::server::{Server, wait};
use crate::workspace::Workspace;

const CONNECTIONS: &str = "256";
const SECONDS: &str = "5";
const LOAD_LIMIT: Duration = Duration::from_secs(120);
const SEEDS: &str = "200";

/// Runs both halves; the second also when the first failed.
pub(crate) fn run(workspace: &Workspace) -> Result<(), String> {
    println!("building the cache in release");
    let build = workspace
        .cargo()
        .args(["build", "--release", "-p", "cache"])
        .status();
    if !build
        .map_err(|error| format!("cannot run cargo: {error}"))?
        .success()
    {
        return Err("the cache does not build".to_owned());
    }
    let served = serve(workspace);
    if let Err(error) = &served {
        eprintln!("error: {error}");
    }
    let simulated = simulate(workspace);
    served
        .and(simulated)
        .map_err(|error| format!("demo: FAILED: {error}"))
}

fn serve(workspace: &Workspace) -> Result<(), String> {
    let server = Server::start(&workspace.release_program("cache"), &[])?;
    println!(
        "\nserving on {}, {CONNECTIONS} connections for {SECONDS} s",
        server.address
    );
    let mut load = Command::new(workspace.release_program("cache-load"))
        .args([
            "--address",
            &server.address.to_string(),
            "--connections",
            CONNECTIONS,
        ])
        .args([
            "--seconds",
            SECONDS,
            "--server-pid",
            &server.id().to_string(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start the load client: {error}"))?;
    // One line fits into the pipe, so nobody has to read while the client runs.
    let status = wait(&mut load, LOAD_LIMIT).map_err(|error| format!("the load: {error}"))?;
    let output = load
        .stdout
        .take()
        .map_or(Ok(String::new()), std::io::read_to_string);
    let (said, driver) = (server.stderr(), server.driver());
    server.stop()?;
    if !status.success() {
        return Err(format!(
            "the load client failed: {status}\n{}",
            said.join("\n")
        ));
    }
    let output = output.map_err(|error| format!("the load client's output: {error}"))?;
    let line = output
        .lines()
        .rfind(|line| line.starts_with('{'))
        .unwrap_or_default();
    let report: Value = serde_json::from_str(line)
        .map_err(|error| format!("the load client's report `{line}`: {error}"))?;
    println!("{}", table(&report, driver.as_deref()));
    match report["errors"].as_u64() {
        Some(0) if report["requests_per_s"].as_f64() > Some(0.0) => Ok(()),
        Some(0) => Err("the load client made no request".to_owned()),
        _ => Err(format!("the load client met {} errors", report["errors"])),
    }
}

/// The report, and how the server does its input and output.
fn table(report: &Value, driver: Option<&str>) -> String {
    let number = |field: &str, digits: usize, unit: &str| {
        let value = report[field].as_f64();
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}{unit}"))
    };
    let rows = [
        ("requests per second", number("requests_per_s", 0, "")),
        ("latency p50", number("p50_us", 1, " us")),
        ("latency p99", number("p99_us", 1, " us")),
        ("latency p99.9", number("p999_us", 1, " us")),
        ("CPU per request", number("cpu_us_per_request", 2, " us")),
        (
            "memory per connection",
            number("memory_per_connection_bytes", 0, " bytes"),
        ),
        ("errors", number("errors", 0, "")),
    ];
    let mut text = String::from("\n");
    for (name, value) in rows {
        text.push_str(&format!("  {name:<24}{value:>18}\n"));
    }
    let driver = driver.unwrap_or("not logged");
    text.push_str(&format!("  {:<24}{driver:>18}\n", "driver"));
    text
}

fn simulate(workspace: &Workspace) -> Result<(), String> {
    println!("simulating the same server, {SEEDS} seeds");
    let status = Command::new(workspace.release_program("cache-sim"))
        .args(["--seeds", SEEDS])
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cannot start the simulator: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the simulator failed: {status}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::table;

    #[test]
    fn the_table_shows_every_number_and_the_driver() {
        let report = json!({
            "requests_per_s": 123_456.7, "p50_us": 10.0, "p99_us": 20.5, "p999_us": 30.25,
            "cpu_us_per_request": 1.234, "memory_per_connection_bytes": 8192, "errors": 0,
        });
        let text = table(&report, Some("ring"));
        let expected = [
            "123457",
            "10.0 us",
            "20.5 us",
            "30.2 us",
            "1.23 us",
            "8192 bytes",
            "ring",
        ];
        for part in expected {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        assert!(table(&json!({}), None).contains("not logged"));
    }
}
