//! What a benchmark program is asked to do.

use crate::{Job, Protocol, Service, Workload};

const USAGE: &str =
    "usage: PROGRAM [list] | PROGRAM bench NAME WORKERS N | PROGRAM serve PROTOCOL PORT";

pub(crate) enum Call<B> {
    List,
    Bench(Job<B>),
    Serve(Service),
}

/// Reads the arguments; an error is a complaint for stderr.
pub(crate) fn parse<B: Copy>(
    table: &[Workload<B>],
    protocols: &[Protocol],
    arguments: &[&str],
) -> Result<Call<B>, String> {
    match arguments {
        [] | ["list"] => Ok(Call::List),
        // What files it may read is said to every program; none here has a use for it.
        ["bench", name, workers, ops] | ["bench", name, workers, ops, _] => {
            parse_job(table, name, workers, ops).map(Call::Bench)
        }
        ["serve", protocol, port] => parse_service(protocols, protocol, port).map(Call::Serve),
        _ => Err(USAGE.to_owned()),
    }
}

fn parse_job<B: Copy>(
    table: &[Workload<B>],
    name: &str,
    asked: &str,
    ops: &str,
) -> Result<Job<B>, String> {
    let workload = table.iter().find(|workload| workload.name == name);
    let workload =
        workload.ok_or_else(|| format!("there is no workload `{name}` here: see `list`"))?;
    let known = workload.workers.iter();
    let workers = known.copied().find(|known| known.to_string() == asked);
    let workers = workers.ok_or_else(|| format!("`{name}` does not run on {asked} workers"))?;
    let ops = ops
        .parse()
        .map_err(|_| format!("not a number of ops: `{ops}`"))?;
    Ok(Job {
        body: workload.body,
        workers,
        ops,
    })
}

fn parse_service(protocols: &[Protocol], name: &str, port: &str) -> Result<Service, String> {
    let known = protocols.iter().find(|protocol| protocol.name() == name);
    let protocol = known.ok_or_else(|| format!("`{name}` is not served here: see `list`"))?;
    let port = port.parse().map_err(|_| format!("not a port: `{port}`"))?;
    Ok(Service {
        protocol: *protocol,
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::{Call, parse};
    use crate::{Protocol, Workload};

    const TABLE: &[Workload<u8>] = &[Workload {
        name: "known",
        workers: &[1, 2],
        body: 7,
    }];

    fn complaint(arguments: &[&str]) -> String {
        let parsed = parse(TABLE, &[Protocol::Echo], arguments);
        parsed.err().expect("it is wrong")
    }

    #[test]
    fn a_known_workload_is_found_and_everything_else_is_an_error_that_says_why() {
        for arguments in [
            &["bench", "known", "2", "10"][..],
            &["bench", "known", "2", "10", "/some/file"],
        ] {
            let Ok(Call::Bench(job)) = parse(TABLE, &[], arguments) else {
                panic!("it is in the table");
            };
            assert_eq!((job.body, job.workers, job.ops), (7, 2, 10));
        }
        assert!(complaint(&["bench", "other", "1", "10"]).contains("`other`"));
        assert!(complaint(&["bench", "known", "3", "10"]).contains("on 3 workers"));
        assert!(complaint(&["bench", "known", "1", "ten"]).contains("`ten`"));
        assert!(complaint(&["bench"]).contains("usage"));
    }

    #[test]
    fn a_protocol_is_served_where_it_is_listed_only() {
        let asked = ["serve", "echo", "7"];
        let Ok(Call::Serve(service)) = parse(TABLE, &[Protocol::Echo], &asked) else {
            panic!("it is listed");
        };
        assert_eq!((service.protocol, service.port), (Protocol::Echo, 7));
        assert!(complaint(&["serve", "mc", "7"]).contains("`mc`"));
        assert!(complaint(&["serve", "echo", "-1"]).contains("`-1`"));
    }

    #[test]
    fn no_argument_asks_for_the_list() {
        assert!(matches!(parse(TABLE, &[], &[]), Ok(Call::List)));
        assert!(matches!(parse(TABLE, &[], &["list"]), Ok(Call::List)));
    }
}
