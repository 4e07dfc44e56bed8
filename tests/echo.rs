//! Bytes come back whole and in order, however the stream is cut and whatever its size.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{LazyLock, mpsc};
use std::thread;

use netwheel::codec::LengthField;
use netwheel::{Client, Executor, Pipeline, RunningServer};
use proptest::prelude::*;
use util::{
    PATIENCE, Pattern, Random, dial, end, frame, read, read_to_end, serve, write_and_finish,
};

fn raw_echo() -> RunningServer {
    serve(2, |_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
}

fn framed_echo() -> RunningServer {
    serve(2, |_| {
        Pipeline::new(LengthField::u32()).handle(|cx, frame| cx.write(frame))
    })
}

#[test]
fn a_hundred_megabytes_come_back_whole_and_in_order() {
    const SIZE: usize = 100 << 20;
    let server = raw_echo();
    let socket = dial(server.address());
    thread::scope(|scope| {
        scope.spawn(|| {
            Pattern::default().write(&socket, SIZE);
            socket.shutdown(std::net::Shutdown::Write).unwrap();
        });
        Pattern::default().read(&socket, SIZE, 256 << 10);
        assert_eq!(
            (&socket).read(&mut [0]).unwrap(),
            0,
            "FIN behind the last byte"
        );
    });
    let stats = server.stats();
    assert_eq!(
        (stats.bytes_in, stats.bytes_out),
        (SIZE as u64, SIZE as u64)
    );
    end(server);
}

#[test]
fn a_reader_of_odd_sizes_gets_every_byte() {
    const SIZE: usize = 4 << 20;
    let server = raw_echo();
    let socket = dial(server.address());
    thread::scope(|scope| {
        scope.spawn(|| Pattern::default().write(&socket, SIZE));
        let (mut pattern, mut left) = (Pattern::default(), SIZE);
        for size in [1, 2, 3, 5, 7, 4_093, 65_537, 1, 131_071]
            .into_iter()
            .cycle()
        {
            let size = size.min(left);
            pattern.read(&socket, size, size.max(1));
            left -= size;
            if left == 0 {
                break;
            }
        }
    });
    drop(socket);
    end(server);
}

#[test]
fn frames_of_every_size_around_the_boundaries_come_back() {
    let sizes = [
        0, 1, 2, 3, 4, 1_023, 1_024, 1_025, 4_091, 4_092, 4_093, 4_095, 4_096, 4_097, 65_531,
        65_532, 65_533, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 1_048_575, 1_048_576,
    ];
    let server = framed_echo();
    let socket = dial(server.address());
    let mut pattern = Pattern::default();
    for size in sizes {
        let mut message = Vec::new();
        pattern.write(&mut message, size);
        thread::scope(|scope| {
            scope.spawn(|| (&socket).write_all(&frame(&message)).unwrap());
            assert!(
                read(&socket, 4 + size) == frame(&message),
                "a frame of {size} bytes"
            );
        });
    }
    drop(socket);
    end(server);
}

#[test]
fn frames_that_arrive_byte_by_byte_come_back() {
    let server = framed_echo();
    let socket = dial(server.address());
    let wire: Vec<u8> = (0..40_u8)
        .flat_map(|n| frame(&vec![n; usize::from(n)]))
        .collect();
    for byte in &wire {
        (&socket).write_all(&[*byte]).unwrap();
    }
    assert_eq!(read(&socket, wire.len()), wire);
    drop(socket);
    end(server);
}

#[test]
fn a_client_of_ours_gets_its_answers_from_the_pool_in_order() {
    const COUNT: u32 = 10_000;
    let pool = Executor::new(4);
    let server = serve(2, move |_| {
        Pipeline::new(LengthField::u32()).handle_on(&pool, |cx, frame| cx.write(frame))
    });
    let (answers, arrived) = mpsc::channel();
    let client = Client::on(server.net())
        .pipeline(move || {
            let answers = answers.clone();
            Pipeline::new(LengthField::u32()).handle(move |_, frame| Ok(answers.send(frame)?))
        })
        .connect(server.address())
        .unwrap();
    for n in 0..COUNT {
        client.try_send(n.to_be_bytes().to_vec().into()).unwrap();
    }
    for n in 0..COUNT {
        assert_eq!(
            arrived.recv_timeout(PATIENCE).unwrap(),
            &n.to_be_bytes()[..]
        );
    }
    client.close();
    end(server);
}

/// Writes `wire` cut at random while reading in random sizes, and answers with what came back.
fn exchange(address: SocketAddr, wire: &[u8], seed: u64) -> Vec<u8> {
    let socket = dial(address);
    let mut back = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut random, mut rest) = (Random(seed | 1), wire);
            while !rest.is_empty() {
                // Mostly small pieces, now and then a large one.
                let limit = [3, 50, 1_500, 70_000][random.next() as usize % 4];
                let piece = (1 + random.next() as usize % limit).min(rest.len());
                (&socket).write_all(&rest[..piece]).unwrap();
                rest = &rest[piece..];
            }
            socket.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut random = Random(!seed | 1);
        let mut buffer = vec![0; 70_000];
        loop {
            let limit = [1, 60, 2_000, 70_000][random.next() as usize % 4];
            match (&socket).read(&mut buffer[..limit]).unwrap() {
                0 => break,
                count => back.extend_from_slice(&buffer[..count]),
            }
        }
    });
    back
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_cut_anyhow_come_back(size in 0_usize..400_000, seed: u64) {
        static SERVER: LazyLock<RunningServer> = LazyLock::new(raw_echo);
        let mut wire = Vec::new();
        Pattern::default().write(&mut wire, size);
        prop_assert!(exchange(SERVER.address(), &wire, seed) == wire);
    }

    #[test]
    fn any_frames_cut_anyhow_come_back(
        sizes in prop::collection::vec(prop_oneof![0_usize..20, 0_usize..3_000, 0_usize..100_000], 0..60),
        seed: u64,
    ) {
        static SERVER: LazyLock<RunningServer> = LazyLock::new(framed_echo);
        let mut pattern = Pattern::default();
        let mut wire = Vec::new();
        for size in sizes {
            let mut message = Vec::new();
            pattern.write(&mut message, size);
            wire.extend(frame(&message));
        }
        prop_assert!(exchange(SERVER.address(), &wire, seed) == wire);
    }
}

#[test]
fn an_empty_connection_ends_without_a_byte() {
    let server = raw_echo();
    let socket = dial(server.address());
    write_and_finish(&socket, b"");
    assert_eq!(read_to_end(&socket), b"");
    end(server);
}
