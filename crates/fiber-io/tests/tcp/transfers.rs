//! What reads and writes do with bytes.

use std::io::{BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Read, Write};

use fiber_io::Shutdown;
use fiber_sched::spawn;

use crate::support::{each_family, everywhere, pair, pair_at};

#[test]
fn the_end_of_the_stream_is_read_as_zero_again_and_again() {
    everywhere(|| {
        each_family(|address| {
            let (client, mut server) = pair_at(address);
            drop(client);
            assert_eq!(server.read(&mut [0; 4]).unwrap(), 0);
            assert_eq!(server.read(&mut [0; 4]).unwrap(), 0);
        });
    });
}

#[test]
fn writing_to_a_peer_that_is_gone_fails_in_the_end() {
    everywhere(|| {
        let (mut client, server) = pair();
        drop(server);
        let failure = (0..1000).find_map(|_| client.write_all(&[7; 4096]).err());
        let kind = failure.expect("nobody takes four megabytes").kind();
        let lost = [
            ErrorKind::BrokenPipe,
            ErrorKind::ConnectionReset,
            ErrorKind::ConnectionAborted,
        ];
        assert!(lost.contains(&kind), "{kind:?}");
    });
}

#[test]
fn a_read_takes_what_fits_and_leaves_the_rest() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        client.write_all(&[1, 2, 3, 4]).unwrap();
        let mut byte = [0];
        for expected in 1..=4 {
            assert_eq!(server.read(&mut byte).unwrap(), 1);
            assert_eq!(byte, [expected]);
        }
    });
}

#[test]
fn a_megabyte_arrives_whole_and_in_order() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        let bytes: Vec<u8> = (0..1 << 20).map(|index: u32| (index % 251) as u8).collect();
        let expected = bytes.clone();
        let writer = spawn(move || client.write_all(&bytes).unwrap());
        let mut received = vec![0; expected.len()];
        server.read_exact(&mut received).unwrap();
        assert!(received == expected);
        writer.join().unwrap();
        assert_eq!(server.read(&mut received).unwrap(), 0);
    });
}

#[test]
fn a_stream_that_ends_too_early_is_said_to_by_read_exact() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"abc").unwrap();
        drop(client);
        let error = server.read_exact(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn nothing_to_read_or_write_does_not_wait() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        assert_eq!(server.read(&mut []).unwrap(), 0);
        assert_eq!(
            server
                .read_vectored(&mut [IoSliceMut::new(&mut [])])
                .unwrap(),
            0
        );
        server.read_exact(&mut []).unwrap();
        assert_eq!(client.write(&[]).unwrap(), 0);
        assert_eq!(client.write_vectored(&[]).unwrap(), 0);
        client.write_all(&[]).unwrap();
    });
}

#[test]
fn several_slices_are_written_in_order() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        let slices = [b"ab".as_slice(), b"", b"cde", b"f"].map(IoSlice::new);
        let written = client.write_vectored(&slices).unwrap();
        assert!((1..=6).contains(&written));
        let mut received = vec![0; written];
        server.read_exact(&mut received).unwrap();
        assert_eq!(received, b"abcdef"[..written]);
    });
}

#[test]
fn several_slices_are_filled_in_order() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"abcdef").unwrap();
        let (mut first, mut second) = ([0; 2], [0; 8]);
        let mut slices = [&mut first[..], &mut [], &mut second].map(IoSliceMut::new);
        let read = server.read_vectored(&mut slices).unwrap();
        assert!((1..=6).contains(&read));
        let all = [&first[..], &second].concat();
        assert_eq!(all[..read], b"abcdef"[..read]);
    });
}

#[test]
fn more_slices_than_one_request_takes_are_a_short_transfer() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        let bytes: Vec<[u8; 1]> = (0..200).map(|byte| [byte]).collect();
        let slices: Vec<IoSlice<'_>> = bytes.iter().map(|byte| IoSlice::new(byte)).collect();
        let mut written = 0;
        while written < slices.len() {
            let now = client.write_vectored(&slices[written..]).unwrap();
            assert!((1..=64).contains(&now), "{now}");
            written += now;
        }
        let mut received = [0; 200];
        server.read_exact(&mut received).unwrap();
        assert!(received.iter().copied().eq(0..200));
    });
}

#[test]
fn readers_and_writers_of_std_work_on_top() {
    everywhere(|| {
        let (client, server) = pair();
        let writer = spawn(move || {
            for number in 0..100 {
                writeln!(&client, "line {number}").unwrap();
            }
            client.shutdown(Shutdown::Write).unwrap();
            let mut rest = String::new();
            (&client).read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "thanks");
        });
        let lines = BufReader::new(&server).lines().map(Result::unwrap);
        assert!(lines.eq((0..100).map(|number| format!("line {number}"))));
        (&server).write_all(b"thanks").unwrap();
        drop(server);
        writer.join().unwrap();
    });
}

#[test]
fn waiting_for_bytes_takes_none() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        client.writable().unwrap();
        client.write_all(b"x").unwrap();
        server.readable().unwrap();
        server.readable().unwrap();
        let mut byte = [0];
        assert_eq!(server.read(&mut byte).unwrap(), 1);
        assert_eq!(&byte, b"x");
    });
}
