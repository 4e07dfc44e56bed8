//! The admin listener over raw sockets, as a browser or Prometheus would talk to it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, which says what it skips"
)]

mod util;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use netwheel::{Admin, ErrorKind, Net, Pipeline, Reactor, RunningServer, Server, sim::World};
use serde_json::Value;
use util::{Gate, PATIENCE, any_port, ask, dial, eventually, read_to_end, write_and_finish};

fn reactor() -> Reactor {
    Reactor::builder().workers(1).start().unwrap()
}

fn echo(on: &impl AsRef<Net>) -> RunningServer {
    Server::on(on)
        .pipeline(|_| {
            Pipeline::raw()
                .stage("<b>", Open)
                .handle(|cx, bytes| cx.write(bytes))
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap()
}

struct Open;

impl netwheel::Stage<bytes::Bytes, bytes::Bytes> for Open {}

/// An answer: its head in lower case, and its body.
struct Answer {
    head: String,
    body: String,
}

impl Answer {
    /// Reads one from a connection that may stay open.
    fn read(mut socket: &TcpStream) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let len = head.split("content-length: ").nth(1).unwrap();
        let len = len.split("\r\n").next().unwrap().parse().unwrap();
        let body = String::from_utf8(util::read(socket, len)).unwrap();
        Self { head, body }
    }

    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn send(mut socket: &TcpStream, method: &str, path: &str) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
}

fn get(at: SocketAddr, path: &str) -> Answer {
    let socket = dial(at);
    send(&socket, "GET", path);
    Answer::read(&socket)
}

#[test]
fn one_connection_gets_page_metrics_and_connections_in_order() {
    let reactor = reactor();
    let (server, admin) = (
        echo(&reactor),
        Admin::on(&reactor).listen(any_port()).unwrap(),
    );
    let client = dial(server.address());
    ask(&client, b"hello");
    let socket = dial(admin.address());
    // All at once: the list takes some turns, and still comes before what was asked behind it.
    for path in [
        "/",
        "/connections",
        "/metrics?now",
        "/metrics.json",
        "/connections",
    ] {
        send(&socket, "GET", path);
    }
    let page = Answer::read(&socket);
    assert_eq!(page.status(), "200");
    assert!(page.head.contains("content-type: text/html"));
    assert!(page.body.contains("<svg") || page.body.contains("\"svg\""));
    let list = Answer::read(&socket).json();
    let metrics = Answer::read(&socket);
    assert!(metrics.head.contains("version=0.0.4"));
    assert!(
        metrics
            .body
            .contains("netwheel_accepted_total{worker=\"0\"} 2\n")
    );
    assert_eq!(Answer::read(&socket).json()["workers"][0]["connections"], 2);
    assert_eq!(list["total"], 2);
    let peer = client.local_addr().unwrap().to_string();
    let listed = list["connections"].as_array().unwrap();
    let told = listed.iter().find(|told| told["peer"] == *peer).unwrap();
    assert_eq!(
        (&told["bytes_sent"], &told["stages"][0]),
        (&5.into(), &"<b>".into())
    );
    assert_eq!(Answer::read(&socket).json()["total"], 2);
}

#[test]
fn a_head_alone_tells_the_length_of_what_it_leaves_out() {
    let reactor = reactor();
    let admin = Admin::on(&reactor).listen(any_port()).unwrap();
    for path in ["/", "/connections"] {
        let socket = dial(admin.address());
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        write_and_finish(&socket, request.as_bytes());
        let answer = String::from_utf8(read_to_end(&socket)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n") && !answer.contains("content-length: 0"));
        assert!(answer.contains("connection: close"));
    }
}

#[test]
fn a_list_is_the_last_answer_where_the_client_asked_for_that() {
    let reactor = reactor();
    let admin = Admin::on(&reactor).listen(any_port()).unwrap();
    let mut socket = dial(admin.address());
    socket
        .write_all(b"GET /connections HTTP/1.0\r\n\r\nGET /connections HTTP/1.0\r\n\r\n")
        .unwrap();
    let answers = String::from_utf8(read_to_end(&socket)).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
    assert!(answers.contains("\"total\":1"), "{answers}");
}

#[test]
fn what_is_not_there_or_not_understood_gets_its_status() {
    let reactor = reactor();
    let admin = Admin::on(&reactor).listen(any_port()).unwrap();
    assert_eq!(get(admin.address(), "/metric").status(), "404");
    for (request, status) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
            "405 Method Not Allowed\r\nallow: GET, HEAD\r\n",
        ),
        ("GET / HTTP/1.1\r\n\r\n", "400 "),
        ("\x16\x03\x01\x02\0\x01\0\x01\x7c", "400 "),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "400 ",
        ),
    ] {
        let mut socket = dial(admin.address());
        socket.write_all(request.as_bytes()).unwrap();
        let answer = String::from_utf8_lossy(&read_to_end(&socket)).into_owned();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request:?}: {answer}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "one answer: {answer}"
        );
    }
    eventually("all of them are closed", || admin.connections() == 0);
}

#[test]
fn it_answers_on_a_reactor_of_its_own_while_the_other_hangs() {
    let (watched, own) = (reactor(), reactor());
    let gate = Gate::new();
    let stop = gate.clone();
    let server = Server::on(&watched)
        .pipeline(move |_| {
            let stop = stop.clone();
            Pipeline::raw().handle(move |cx, bytes| {
                stop.pass();
                cx.write(bytes)
            })
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let admin = Admin::on(&own)
        .showing(&watched)
        .listen(any_port())
        .unwrap();
    let mut client = dial(server.address());
    client.write_all(b"x").unwrap();
    gate.wait();
    let metrics = get(admin.address(), "/metrics.json").json();
    assert_eq!(metrics["workers"][0]["connections"], 1);
    let stalled =
        || get(admin.address(), "/metrics.json").json()["workers"][0]["stalls_warned"] != 0;
    eventually("the stall shows", stalled);
    let list = get(admin.address(), "/connections");
    assert_eq!(list.status(), "503");
    assert!(list.body.contains("a handler blocks it"), "{}", list.body);
    gate.open();
    assert_eq!(util::read(&client, 1), b"x");
    assert_eq!(get(admin.address(), "/connections").json()["total"], 1);
}

#[test]
fn others_than_this_machine_are_let_in_only_where_that_is_said() {
    let reactor = reactor();
    let refused = Admin::on(&reactor).listen("0.0.0.0:0").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.to_string().contains("Admin::public"), "{refused}");
    let admin = Admin::on(&reactor).public().listen("0.0.0.0:0").unwrap();
    let at = SocketAddr::from(([127, 0, 0, 1], admin.address().port()));
    assert_eq!(get(at, "/").status(), "200");
}

#[test]
fn it_runs_in_a_world_of_memory_too() {
    let world = World::new(3);
    let server = echo_in(&world);
    let admin = Admin::on(&world).listen("127.0.0.1:80").unwrap();
    let (told, answers) = std::sync::mpsc::channel();
    let client = netwheel::Client::on(&world)
        .pipeline(move || {
            let told = told.clone();
            Pipeline::raw().handle(move |_, bytes: bytes::Bytes| {
                told.send(bytes).unwrap();
                Ok(())
            })
        })
        .connect("127.0.0.1:80")
        .unwrap();
    let request = "GET /connections HTTP/1.1\r\nHost: a\r\n\r\n";
    client.try_send(request.into()).unwrap();
    world.run_until_idle();
    let answer: Vec<u8> = answers
        .try_iter()
        .flat_map(|bytes| bytes.to_vec())
        .collect();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("\"total\":2,"), "both ends: {answer}");
    drop((client, admin, server));
}

fn echo_in(world: &World) -> RunningServer {
    Server::on(world)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen("10.0.0.1:7")
        .unwrap()
        .start()
        .unwrap()
}

/// The browser's own words for the page after its scripts ran, where there is a browser.
#[test]
fn a_browser_draws_the_page() {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let is_there = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let Some(browser) = names.iter().find(is_there) else {
        println!("skipped: there is no chromium");
        return;
    };
    let reactor = reactor();
    let (server, admin) = (
        echo(&reactor),
        Admin::on(&reactor).listen(any_port()).unwrap(),
    );
    let client = dial(server.address());
    ask(&client, b"hello");
    let profile = std::env::temp_dir().join(format!("netwheel-admin-{}", std::process::id()));
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=4000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("http://{}/", admin.address()))
        .output()
        .unwrap();
    let drawn = String::from_utf8_lossy(&output.stdout);
    let _ = std::fs::remove_dir_all(&profile);
    assert!(drawn.contains(">live<"), "{drawn}");
    let peer = client.local_addr().unwrap().to_string();
    assert!(
        drawn.contains(&peer) && drawn.contains("&lt;b&gt;"),
        "{drawn}"
    );
    drop(client);
    server.shutdown(PATIENCE);
}
