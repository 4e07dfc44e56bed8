//! The client in a terminal.

use super::process::{Process, chat_server, terminal};
use super::{Folder, client};

/// A folder, a server, and the client of ann in a terminal.
fn ann(name: &str, columns: u32) -> (Folder, (Process, String), Process) {
    let folder = Folder::new(name);
    let server = chat_server("127.0.0.1:0", &folder.file("chat.db"));
    let flags = [
        "--connect",
        &server.1,
        "--user",
        "ann",
        "--cursor-file",
        "none",
    ];
    let flags = [&flags[..], &["--reconnect-secs", "0.1"]].concat();
    let mut ann = terminal(columns, &flags);
    ann.waits("logged in as ann> ");
    (folder, server, ann)
}

/// The screen's lines from one on.
fn from<'a>(screen: &'a [String], first: &str) -> &'a [String] {
    let at = screen.iter().position(|line| line == first);
    &screen[at.unwrap_or_else(|| panic!("no {first:?} in {screen:?}"))..]
}

#[test]
fn what_comes_while_a_line_is_typed_stands_above_it() {
    let (folder, (_server, address), mut ann) = ann("terminal", 80);
    ann.types("type /to bob half a li");
    ann.waits("half a li");
    let mut bob = client(&folder, &address, "bob");
    bob.types("/to ann hello");
    ann.waits("bob: hello> /to bob half a li");
    assert_eq!(
        from(&ann.screen(), "bob: hello"),
        ["bob: hello", "> /to bob half a li"]
    );
}

#[test]
fn a_narrow_terminal_shows_wide_letters_and_what_comes_in_between() {
    let (folder, (_server, address), mut ann) = ann("narrow", 40);
    ann.types("type /to bob \\u65e5\\u672c\\u8a9e \\U0001f600 and more than fits on a line of this terminal");
    ann.waits("of this terminal");
    let mut bob = client(&folder, &address, "bob");
    bob.types("/to ann \u{65e5}\u{672c} and words that are longer than a line of it, too");
    ann.waits("a line of it, too> /to bob");
    ann.waits("of this terminal");
    assert_eq!(
        from(&ann.screen(), "bob: 日本 and words that are longer than"),
        [
            "bob: 日本 and words that are longer than",
            " a line of it, too",
            "> /to bob 日本語 😀 and more than fits o",
            "n a line of this terminal"
        ]
    );
    ann.types("type \\r");
    bob.says("ann: 日本語 😀 and more than fits on a line of this terminal");
}

#[test]
fn a_message_cannot_command_the_terminal_of_others() {
    let (folder, (_server, address), mut ann) = ann("escape", 80);
    let mut bob = client(&folder, &address, "bob");
    bob.types("/to ann \u{1b}[2J\u{1b}[31m\u{9b}1Agone\u{202e}");
    ann.waits("gone");
    let screen = ann.screen();
    assert!(from(&screen, "* you are logged in as ann").contains(&"bob:  [2J [31m 1Agone".into()));
}

#[test]
fn pasted_lines_are_one_message() {
    let (folder, (_server, address), mut ann) = ann("paste", 80);
    let bob = client(&folder, &address, "bob");
    ann.types("type /to bob \\x1b[200~one\\ntwo\\r\\n/quit\\x1b[201~");
    ann.waits("/quit");
    ann.types("type \\r");
    for line in ["ann: one", "    two", "    /quit"] {
        bob.says(line);
    }
}

#[test]
fn control_c_drops_a_line_and_ends_the_chat_when_it_comes_again() {
    let (folder, (_server, address), mut ann) = ann("interrupt", 80);
    let bob = client(&folder, &address, "bob");
    ann.types("type /to bob never\\x03");
    ann.waits("never* Ctrl-C once more ends the chat> ");
    ann.types("type /to bob said\\r");
    bob.says_next("ann: said", |line| !line.starts_with('*'));
    ann.types("type /to bob nev\\x03");
    ann.waits("nev* Ctrl-C once more ends the chat> ");
    ann.types("type \\x03");
    ann.types("end");
    assert_eq!(ann.line(), "ended 0");
}

#[test]
fn control_d_ends_the_chat() {
    let (_folder, _server, mut ann) = ann("end", 80);
    ann.types("type \\x04");
    ann.types("end");
    assert_eq!(ann.line(), "ended 0");
}

#[test]
fn tab_completes_commands_and_names() {
    let (_folder, _server, mut ann) = ann("tab", 80);
    ann.types("type /jo\\t#tea\\r");
    ann.waits("you are in #tea");
    ann.types("type /w\\t\\t");
    ann.waits("/watch");
    ann.types("type ho #\\t\\r");
    ann.waits("* #tea: ann");
}

#[test]
fn a_password_is_not_shown_and_not_remembered() {
    let (_folder, _server, mut ann) = ann("password", 80);
    ann.types("type /login eve\\r");
    ann.waits("password> ");
    ann.types("type eve");
    ann.waits("password> ***");
    ann.types("type \\r");
    ann.waits("logged in as eve> ");
    ann.types("type /login ann ann");
    ann.waits("/login ann ***");
    ann.types("type \\r");
    ann.waits("logged in as eve> /login ann ***");
    // The line before these is nothing that was hidden.
    ann.types("type \\x1b[A");
    ann.waits("> /login eve");
    let shown = ann.screen().concat();
    assert!(!shown.contains("ann ann"), "{shown}");
}

#[test]
fn a_line_that_is_typed_outlives_its_server() {
    let (folder, (mut server, address), mut ann) = ann("outlives", 80);
    ann.types("type /to ann half a li");
    ann.waits("half a li");
    assert!(server.ends_by_signal());
    ann.waits("no connection");
    let _server = chat_server(&address, &folder.file("chat.db"));
    ann.types("type ne\\r");
    ann.waits("ann: half a line");
    assert!(!ann.screen().is_empty());
}
