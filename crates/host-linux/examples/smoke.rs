//! Fibers at work on Linux for a moment: spawn, join, park, panic, cancel, sockets. Made to be run
//! under a memory checker.

use core::{error::Error, time::Duration};
use std::io::{Read as _, Write as _};

use fiber_io::{TcpListener, TcpStream};
use fiber_sched::{Runtime, scope, sleep, spawn, timeout, yield_now};
use host_linux::{Config, Linux};

fn main() -> Result<(), Box<dyn Error>> {
    let env = Linux::new(Config::default())?;
    Runtime::builder(env)
        .workers(2)
        .run(|| -> std::io::Result<()> {
            let many: Vec<_> = (0..50).map(|index| spawn(move || work(index))).collect();
            let total: usize = many.into_iter().filter_map(|fiber| fiber.join().ok()).sum();
            assert_eq!(total, (0..50).sum());
            let text = String::from("borrowed");
            let lengths = scope(|s| (s.spawn(|| text.len()).join(), s.spawn(|| text.len()).join()));
            assert!(matches!(lengths, (Ok(8), Ok(8))));
            let cancelled = spawn(|| sleep(Duration::MAX));
            yield_now();
            cancelled.cancel();
            assert!(cancelled.join().is_err());
            assert!(timeout(Duration::from_millis(5), || sleep(Duration::MAX)).is_err());
            assert!(
                spawn(|| std::panic::resume_unwind(Box::new("quietly")))
                    .join()
                    .is_err()
            );
            echo()
        })??;
    Ok(())
}

fn work(index: usize) -> usize {
    for _ in 0..10 {
        yield_now();
    }
    index
}

fn echo() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut buffer = [0; 64];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                count => stream.write_all(&buffer[..count])?,
            }
        }
    });
    let mut stream = TcpStream::connect(address)?;
    for _ in 0..20 {
        let mut answer = [0; 5];
        stream.write_all(b"hello")?;
        stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"hello");
    }
    drop(stream);
    assert!(matches!(server.join(), Ok(Ok(()))));
    Ok(())
}
