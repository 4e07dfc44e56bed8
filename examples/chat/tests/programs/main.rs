//! The programs as they are used: started, talked to, killed.

mod console;
mod process;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use process::{Process, chat_client, chat_server, python};

/// A folder of one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("chat-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain name").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A client that remembers, and comes back soon.
fn client(folder: &Folder, address: &str, uid: &str) -> Process {
    let cursor = folder.file(&format!("{uid}.json"));
    let client = chat_client(&[
        "--connect",
        address,
        "--user",
        uid,
        "--script",
        "--cursor-file",
        &cursor,
        "--reconnect-secs",
        "0.1",
        "--drain-secs",
        "20",
    ]);
    client.says(&format!("* you are logged in as {uid}"));
    client
}

#[test]
fn a_client_in_python_chats_with_ours() {
    let folder = Folder::new("python");
    let (_server, address) = chat_server("127.0.0.1:0", &folder.file("chat.db"));
    let mut ann = client(&folder, &address, "ann");
    let mut bob = python(&address, "bob");
    bob.says("logged in");
    bob.types("ann hello: from python");
    assert!(bob.line().starts_with("kept "));
    ann.says("bob: hello: from python");
    ann.types("/to bob and hello to you");
    bob.says("ann: and hello to you");
}

#[test]
fn a_server_that_is_killed_loses_nothing_that_it_has_acknowledged() {
    const COUNT: usize = 300;
    let folder = Folder::new("server");
    let data = folder.file("chat.db");
    let (mut server, address) = chat_server("127.0.0.1:0", &data);
    let mut ann = client(&folder, &address, "ann");
    let mut bob = client(&folder, &address, "bob");
    for nth in 0..COUNT {
        ann.types(&format!("/to bob {nth}"));
        if nth % 100 == 50 {
            server.kill();
            (server, _) = chat_server(&address, &data);
        }
    }
    // Everything once, and in order; what the client has to say of its connection stands in between.
    for nth in 0..COUNT {
        bob.says_next(&format!("ann: {nth}"), |line| !line.starts_with('*'));
    }
    ann.types("/quit");
    assert!(ann.ends_well());
    bob.types("/quit");
    assert!(bob.ends_well());
    server.kill();
}

#[test]
fn a_client_that_is_killed_shows_at_most_one_message_twice() {
    const COUNT: usize = 200;
    let folder = Folder::new("client");
    let (_server, address) = chat_server("127.0.0.1:0", &folder.file("chat.db"));
    let mut ann = client(&folder, &address, "ann");
    let mut bob = client(&folder, &address, "bob");
    for nth in 0..COUNT {
        ann.types(&format!("/to bob {nth}"));
    }
    let (mut next, mut lives) = (0, 1);
    while next < COUNT {
        let shown = |line: &str| {
            line.strip_prefix("ann: ")
                .and_then(|number| number.parse().ok())
        };
        let Some(number): Option<usize> = shown(&bob.line()) else {
            continue;
        };
        assert!(
            number == next || (number + 1 == next && lives > 1),
            "{number} instead of {next}"
        );
        next = next.max(number + 1);
        if number == lives * 50 {
            // What it had shown when it was killed, its pipe still tells.
            bob.kill();
            for line in bob.rest() {
                if let Some(number) = shown(&line) {
                    assert_eq!(number, next);
                    next += 1;
                }
            }
            lives += 1;
            bob = client_again(&folder, &address);
        }
    }
    assert!(lives > 1, "nobody was killed");
}

/// The same client again. What waits may be shown before or after the word of its login.
fn client_again(folder: &Folder, address: &str) -> Process {
    let cursor = folder.file("bob.json");
    chat_client(&[
        "--connect",
        address,
        "--user",
        "bob",
        "--script",
        "--cursor-file",
        &cursor,
        "--reconnect-secs",
        "0.1",
    ])
}

#[test]
fn a_client_logs_in_again_by_itself_when_its_server_comes_back() {
    let folder = Folder::new("again");
    let data = folder.file("chat.db");
    let (mut server, address) = chat_server("127.0.0.1:0", &data);
    let mut ann = client(&folder, &address, "ann");
    assert!(server.ends_by_signal());
    ann.says("* the server goes down");
    ann.types("/to ann said while it was down");
    let _server = chat_server(&address, &data);
    ann.says("* you are logged in as ann");
    ann.says("ann: said while it was down");
}

#[test]
fn the_menu_of_the_seed_logs_in_chats_and_logs_out() {
    let folder = Folder::new("menu");
    let (_server, address) = chat_server("127.0.0.1:0", &folder.file("chat.db"));
    let mut ann = chat_client(&["--connect", &address, "--script", "--cursor-file", "none"]);
    for line in ["1", "no password", "ann:ann"] {
        ann.types(line);
    }
    ann.says("* you are logged in as ann");
    ann.types("2");
    ann.types("ann:a:b:c");
    ann.says("ann: a:b:c");
    ann.types("3");
    ann.says("* you are logged out");
    ann.types("/dance");
    ann.says("* there is no /dance; /help lists what there is");
    ann.types("4");
    ann.says("  /quit ");
    ann.types("/quit");
    assert!(ann.ends_well());
}

#[test]
fn users_of_a_file_log_in_with_their_password_only() {
    let folder = Folder::new("users");
    let users = folder.file("users");
    let add = ["--users", &users, "--add-user", "ann:secret"];
    assert!(Process::server(&add).ends_well());
    let mut add = Process::server(&["--users", &users, "--add-user", "bob"]);
    add.types("from stdin");
    assert!(add.ends_well());
    let server = Process::server(&["--listen", "127.0.0.1:0", "--users", &users]);
    let address = server.line().trim_start_matches("listening on ").to_owned();
    let flags = [
        "--connect",
        &address,
        "--user",
        "ann",
        "--script",
        "--cursor-file",
        "none",
    ];
    let wrong = chat_client(&flags);
    wrong.says("* not logged in: wrong user or password");
    let mut right = chat_client(&[&flags[..], &["--password", "secret"]].concat());
    right.says("* you are logged in as ann");
    let mut bob = chat_client(&["--connect", &address, "--script", "--cursor-file", "none"]);
    bob.types("/login bob");
    bob.types("from stdin");
    bob.says("* you are logged in as bob");
    right.types("/to eve are you there?");
    right.says("* not sent: there is nobody of that name");
}

/// How the load test ends, and the last line of what it says on stderr.
fn bench(flags: &[&str], meanwhile: impl FnOnce()) -> (bool, String) {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_chat_bench"));
    let bench = bench.args(["--users", "8", "--talkers", "4", "--rate", "100"]);
    let bench = bench.args(flags).env("RUST_LOG", "off");
    let bench = bench.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    meanwhile();
    let output = bench.expect("a program").wait_with_output().expect("ours");
    let stderr = String::from_utf8(output.stderr).expect("text");
    let last = stderr.lines().last().unwrap_or_default().to_owned();
    (output.status.success(), last)
}

#[test]
fn a_load_test_says_what_happened_to_its_users() {
    let folder = Folder::new("bench");
    let (mut server, address) = chat_server("127.0.0.1:0", &folder.file("chat.db"));
    let well = bench(&["--connect", &address, "--seconds", "0.5"], || {});
    assert!(well.0, "{}", well.1);
    // Somebody else is u3.
    let mut u3 = client(&folder, &address, "u3");
    let (well, said) = bench(&["--connect", &address, "--seconds", "0.5"], || {});
    assert!(!well && said.contains("u3 is not logged in"), "{said}");
    u3.types("/quit");
    assert!(u3.ends_well());
    // The server dies while they talk: one who only listens hears when that is.
    let mut listener = client(&folder, &address, "listener");
    let talk = [
        "--connect",
        &address,
        "--seconds",
        "60",
        "--room-share",
        "1",
    ];
    listener.types("/join #room0");
    let (well, said) = bench(&talk, || {
        while !listener.line().starts_with("#room0 u") {}
        server.kill();
    });
    assert!(!well && said.contains("the connection of u"), "{said}");
    let (well, said) = bench(&["--connect", &address], || {});
    assert!(!well && said.contains("no connection to"), "{said}");
}
