//! First light: the paths that everything else stands on.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use netwheel::codec::LengthField;
use netwheel::{Client, Executor, Pipeline, Reactor, Server};

#[test]
fn raw_echo_and_half_close() {
    let server = Server::new()
        .workers(2)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen("127.0.0.1:0")
        .unwrap()
        .start()
        .unwrap();
    let mut socket = TcpStream::connect(server.address()).unwrap();
    let data: Vec<u8> = (0..10_000_000u32).map(|n| n as u8).collect();
    let mut reader = socket.try_clone().unwrap();
    let copy = data.clone();
    let writer = std::thread::spawn(move || {
        socket.write_all(&copy).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    reader.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert!(back == data);
    let report = server.shutdown(Duration::from_secs(5));
    assert_eq!(report.aborted, 0);
}

#[test]
fn framed_on_pool_and_client() {
    let pool = Executor::new(4);
    let server = Server::new()
        .workers(2)
        .pipeline(move |_| {
            Pipeline::new(LengthField::u32()).handle_on(&pool, |cx, frame| cx.write(frame))
        })
        .listen("127.0.0.1:0")
        .unwrap()
        .start()
        .unwrap();
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let (tx, rx) = std::sync::mpsc::channel();
    let handle = Client::on(&reactor)
        .pipeline(move || {
            let tx = tx.clone();
            Pipeline::new(LengthField::u32()).handle(move |_, frame| {
                tx.send(frame).unwrap();
                Ok(())
            })
        })
        .connect(server.address())
        .unwrap();
    for n in 0..1000u32 {
        handle.try_send(n.to_be_bytes().to_vec().into()).unwrap();
    }
    for n in 0..1000u32 {
        assert_eq!(
            &rx.recv_timeout(Duration::from_secs(5)).unwrap()[..],
            n.to_be_bytes()
        );
    }
    println!("{}", server.stats());
    assert_eq!(server.shutdown(Duration::from_secs(5)).aborted, 0);
    reactor.shutdown(Duration::from_secs(1));
}
