//! What a benchmark program is asked to do.

use crate::{Job, Workload};

pub(crate) enum Call<B> {
    List,
    Bench(Job<B>),
}

/// Reads the arguments; an error is a complaint for stderr.
pub(crate) fn parse<B: Copy>(table: &[Workload<B>], arguments: &[&str]) -> Result<Call<B>, String> {
    let (name, asked, ops) = match arguments {
        [] | ["list"] => return Ok(Call::List),
        ["bench", name, workers, ops] => (name, workers, ops),
        _ => return Err("usage: PROGRAM [list] | PROGRAM bench NAME WORKERS N".to_owned()),
    };
    let workload = table.iter().find(|workload| workload.name == *name);
    let workload =
        workload.ok_or_else(|| format!("there is no workload `{name}` here: see `list`"))?;
    let known = workload.workers.iter();
    let workers = known.copied().find(|known| known.to_string() == *asked);
    let workers = workers.ok_or_else(|| format!("`{name}` does not run on {asked} workers"))?;
    let ops = ops
        .parse()
        .map_err(|_| format!("not a number of ops: `{ops}`"))?;
    Ok(Call::Bench(Job {
        body: workload.body,
        workers,
        ops,
    }))
}

#[cfg(test)]
mod tests {
    use super::{Call, parse};
    use crate::Workload;

    const TABLE: &[Workload<u8>] = &[Workload {
        name: "known",
        workers: &[1, 2],
        body: 7,
    }];

    #[test]
    fn a_known_workload_is_found_and_everything_else_is_an_error_that_says_why() {
        let Ok(Call::Bench(job)) = parse(TABLE, &["bench", "known", "2", "10"]) else {
            panic!("it is in the table");
        };
        assert_eq!((job.body, job.workers, job.ops), (7, 2, 10));
        let complaint = |arguments: &[&str]| parse(TABLE, arguments).err().expect("it is wrong");
        assert!(complaint(&["bench", "other", "1", "10"]).contains("`other`"));
        assert!(complaint(&["bench", "known", "3", "10"]).contains("on 3 workers"));
        assert!(complaint(&["bench", "known", "1", "ten"]).contains("`ten`"));
        assert!(complaint(&["bench"]).contains("usage"));
    }

    #[test]
    fn no_argument_asks_for_the_list() {
        assert!(matches!(parse(TABLE, &[]), Ok(Call::List)));
        assert!(matches!(parse(TABLE, &["list"]), Ok(Call::List)));
    }
}
