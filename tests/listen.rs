//! Where a server listens and how its connections are spread: several addresses, Unix sockets, a shared port,
//! the fewest connections or a choice of the program's; several servers and clients on one reactor.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use netwheel::{
    Client, CloseReason, ErrorKind, HasPipeline, Pipeline, Place, Reactor, RunningServer, Server,
};
use util::{PATIENCE, any_port, ask, dial, dial_from, end, eventually};

/// Answers each question with the worker that the connection lives on.
fn tell_worker(server: Server) -> Server<HasPipeline> {
    server.pipeline(|_| Pipeline::raw().handle(|cx, _| cx.write(vec![worker_of(cx.id())].into())))
}

fn worker_of(id: netwheel::ConnectionId) -> u8 {
    u8::try_from(id.worker()).unwrap()
}

fn worker(socket: &TcpStream) -> u8 {
    ask(socket, b"?")[0]
}

fn echo(server: Server) -> Server<HasPipeline> {
    server.pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
}

#[test]
fn one_server_listens_on_several_addresses_and_knows_which_was_dialled() {
    let server = Server::new()
        .workers(2)
        .pipeline(|peer| {
            let local = peer.local.to_string();
            Pipeline::raw().handle(move |cx, _| {
                assert_eq!(cx.local().to_string(), local);
                cx.write(local.clone().into())
            })
        })
        .listen(any_port())
        .unwrap()
        .listen("127.0.0.2:0")
        .unwrap()
        .listen("[::1]:0")
        .unwrap()
        .start()
        .unwrap();
    let places: Vec<_> = server
        .places()
        .iter()
        .map(|place| place.inet().unwrap())
        .collect();
    let ips = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        [127, 0, 0, 2].into(),
        Ipv6Addr::LOCALHOST.into(),
    ];
    assert_eq!(
        places.iter().map(|place| place.ip()).collect::<Vec<_>>(),
        ips
    );
    assert_eq!(server.address(), places[0]);
    for place in &places {
        let socket = dial(*place);
        let local = place.to_string();
        std::io::Write::write_all(&mut &socket, b"?").unwrap();
        assert_eq!(util::read(&socket, local.len()), local.as_bytes());
    }
    end(server);
    for place in places {
        assert!(
            TcpStream::connect(place).is_err(),
            "nobody listens on {place} any more"
        );
    }
}

#[test]
fn a_server_on_all_addresses_knows_which_of_them_was_dialled() {
    let server = Server::new()
        .workers(1)
        .pipeline(|peer| {
            let local = peer.local.ip();
            Pipeline::raw().handle(move |cx, _| cx.write(format!("{local:?}").into()))
        })
        .listen("0.0.0.0:0")
        .unwrap()
        .start()
        .unwrap();
    let socket = dial(([127, 0, 0, 3], server.address().port()).into());
    std::io::Write::write_all(&mut &socket, b"?").unwrap();
    assert_eq!(util::read(&socket, 15), b"Some(127.0.0.3)");
    drop(socket);
    end(server);
}

#[cfg(unix)]
mod unix {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;

    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("netwheel-{name}-{}.sock", std::process::id()))
    }

    fn ask(mut socket: &UnixStream, question: &[u8]) -> Vec<u8> {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(question).unwrap();
        let mut answer = vec![0; question.len()];
        socket.read_exact(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_unix_socket_is_served_beside_a_port_and_its_file_goes_with_the_server() {
        let path = path("beside");
        let text = format!("unix:{}", path.display());
        let server = echo(Server::new().workers(2))
            .listen(&*text)
            .unwrap()
            .listen(any_port())
            .unwrap()
            .start()
            .unwrap();
        assert_eq!(server.places()[0], Place::Unix(path.clone()));
        let (local, inet) = (UnixStream::connect(&path).unwrap(), dial(server.address()));
        assert_eq!(ask(&local, b"by path"), b"by path");
        assert_eq!(super::ask(&inet, b"by port"), b"by port");
        drop((local, inet));
        end(server);
        assert!(!path.exists());
    }

    #[test]
    fn large_amounts_and_fin_pass_a_unix_socket() {
        let path = path("large");
        let server = echo(Server::new().workers(1))
            .listen(Place::Unix(path.clone()))
            .unwrap()
            .start()
            .unwrap();
        let socket = UnixStream::connect(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                util::Pattern::default().write(&socket, 5 << 20);
                socket.shutdown(std::net::Shutdown::Write).unwrap();
            });
            util::Pattern::default().read(&socket, 5 << 20, 100_000);
            assert_eq!((&socket).read(&mut [0]).unwrap(), 0);
        });
        end(server);
    }

    #[test]
    fn a_client_of_ours_dials_a_unix_socket() {
        let path = path("client");
        let server = echo(Server::new().workers(1))
            .listen(Place::Unix(path.clone()))
            .unwrap()
            .start()
            .unwrap();
        let (answers, answered) = mpsc::channel();
        let client = Client::on(server.net())
            .pipeline(move || {
                let answers = answers.clone();
                Pipeline::raw().handle(move |_, bytes| Ok(answers.send(bytes)?))
            })
            .connect(Place::Unix(path))
            .unwrap();
        client.try_send(Bytes::from_static(b"hello")).unwrap();
        assert_eq!(answered.recv_timeout(PATIENCE).unwrap(), "hello");
        client.close_after_flush();
        client.wait_closed(PATIENCE).unwrap();
        end(server);
    }

    #[test]
    fn a_file_whose_server_has_died_is_taken_over_and_a_living_one_is_not() {
        let path = path("dead");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a listener of std leaves its file");
        let server = echo(Server::new().workers(1))
            .listen(Place::Unix(path.clone()))
            .unwrap()
            .start()
            .unwrap();
        let refused = echo(Server::new())
            .listen(Place::Unix(path.clone()))
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Address);
        assert!(refused.to_string().contains("netwheel-dead"), "{refused}");
        assert_eq!(ask(&UnixStream::connect(&path).unwrap(), b"mine"), b"mine");
        end(server);
    }
}

#[test]
fn workers_that_share_a_port_accept_by_themselves() {
    let server = tell_worker(Server::new().workers(2).reuse_port(true))
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    // The kernel spreads by hash: of 64 connections some go to either.
    let sockets: Vec<_> = (0..64).map(|_| dial(server.address())).collect();
    let second: u32 = sockets.iter().map(|socket| u32::from(worker(socket))).sum();
    assert!(
        (1..64).contains(&second),
        "{second} of 64 are on the second worker"
    );
    assert_eq!((server.connections(), server.stats().accepted), (64, 64));
    drop(sockets);
    end(server);
}

#[test]
fn a_shared_port_is_free_as_soon_as_its_server_has_been_shut_down() {
    let reactor = Reactor::builder().workers(4).start().unwrap();
    for _ in 0..50 {
        let server = echo(Server::on(&reactor).reuse_port(true))
            .listen(any_port())
            .unwrap()
            .start()
            .unwrap();
        let address = server.address();
        server.shutdown(PATIENCE);
        let taken = TcpListener::bind(address);
        assert!(taken.is_ok(), "{taken:?}");
    }
}

#[test]
fn connections_are_handed_out_in_turn() {
    let server = tell_worker(Server::new().workers(4))
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let sockets: Vec<_> = (0..16).map(|_| dial(server.address())).collect();
    let workers: Vec<u8> = sockets.iter().map(worker).collect();
    for turn in workers.chunks(4) {
        assert_eq!(turn, &workers[..4], "{workers:?}");
    }
    assert_eq!(
        workers[..4].iter().map(|worker| 1 << worker).sum::<u8>(),
        0b1111
    );
    drop(sockets);
    end(server);
}

#[test]
fn connections_go_where_the_fewest_are() {
    let reactor = Reactor::builder().workers(2).least_connections();
    let server = tell_worker(Server::new().reactor(reactor))
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let sockets: Vec<_> = (0..8).map(|_| dial(server.address())).collect();
    let (first, second): (Vec<_>, Vec<_>) =
        sockets.into_iter().partition(|socket| worker(socket) == 0);
    assert_eq!((first.len(), second.len()), (4, 4));
    drop(first);
    eventually("those of the first have gone", || server.connections() == 4);
    let others: Vec<_> = (0..4).map(|_| dial(server.address())).collect();
    assert!(
        others.iter().all(|socket| worker(socket) == 0),
        "the first had none"
    );
    drop((second, others));
    end(server);
}

#[test]
fn connections_go_where_the_program_says() {
    let reactor = Reactor::builder()
        .workers(3)
        .choose_worker(|peer, connections| {
            assert_eq!(connections.len(), 3);
            match peer.address.ip() {
                Some(IpAddr::V4(ip)) => usize::from(ip.octets()[3]),
                _ => 0,
            }
        });
    let server = tell_worker(Server::new().reactor(reactor))
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    for host in 2..6 {
        let sockets = [(); 3].map(|()| dial_from(host, server.address()));
        assert_eq!(sockets.each_ref().map(worker), [host % 3; 3]);
    }
    end(server);
}

#[test]
fn more_connections_than_allowed_are_refused_and_counted() {
    let reactor = Reactor::builder().workers(2).connections_max(3);
    let server = tell_worker(Server::new().reactor(reactor))
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let sockets: Vec<_> = (0..3).map(|_| dial(server.address())).collect();
    for socket in &sockets {
        worker(socket);
    }
    let refused = dial(server.address());
    assert!(!matches!(
        std::io::Read::read(&mut &refused, &mut [0]),
        Ok(1..)
    ));
    eventually("it is counted", || server.stats().refused == 1);
    assert_eq!((server.connections(), server.stats().accepted), (3, 3));
    drop(sockets);
    eventually("there is room again", || server.connections() == 0);
    worker(&dial(server.address()));
    end(server);
}

/// A server on `reactor` that answers with `answer`.
fn answering(reactor: &Reactor, answer: &'static [u8]) -> RunningServer {
    Server::on(reactor)
        .pipeline(move |_| {
            Pipeline::raw().handle(move |cx, _| cx.write(Bytes::from_static(answer)))
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap()
}

#[test]
fn several_servers_and_clients_live_on_one_reactor_and_end_one_by_one() {
    let reactor = Reactor::builder().workers(2).start().unwrap();
    let (one, two) = (answering(&reactor, b"one"), answering(&reactor, b"two"));
    let (answers, answered) = mpsc::channel();
    let client = Client::on(&reactor).pipeline(move || {
        let answers = answers.clone();
        Pipeline::raw().handle(move |_, bytes| Ok(answers.send(bytes)?))
    });
    let mut handles = Vec::new();
    for (server, answer) in [(&one, "one"), (&two, "two"), (&one, "one"), (&two, "two")] {
        let handle = client.connect(server.address()).unwrap();
        handle.try_send(Bytes::from_static(b"?")).unwrap();
        assert_eq!(answered.recv_timeout(PATIENCE).unwrap(), answer);
        handles.push(handle);
    }
    assert_eq!((one.connections(), two.connections()), (2, 2));
    let stats = reactor.stats();
    assert_eq!((stats.accepted, stats.connected, stats.active()), (4, 4, 8));

    assert_eq!(one.shutdown(PATIENCE).aborted, 0);
    for (handle, ends) in handles.iter().zip([true, false, true, false]) {
        if ends {
            assert_eq!(
                handle.wait_closed(PATIENCE).unwrap(),
                CloseReason::PeerClosed
            );
        } else {
            assert_eq!(handle.closed(), None);
            handle.try_send(Bytes::from_static(b"?")).unwrap();
            assert_eq!(answered.recv_timeout(PATIENCE).unwrap(), "two");
        }
    }
    let report = reactor.shutdown(Duration::from_secs(5));
    assert_eq!(report.aborted, 0);
    assert!(handles.iter().all(|handle| handle.closed().is_some()));
    assert_eq!(two.connections(), 0);
}
