//! What a typed line means.

use chat::office::Command;

/// Commands, and what they do.
pub(crate) const COMMANDS: [(&str, &str); 10] = [
    (
        "/to",
        "NAME [WORDS]: says the words to a user or a #room, and the next lines too",
    ),
    (
        "/join",
        "#ROOM: hears a room, and says the next lines there",
    ),
    ("/leave", "[#ROOM]: hears no more of it"),
    ("/who", "[#ROOM]: who is there, or online"),
    (
        "/history",
        "NAME [BEFORE]: the last messages, or those before that number",
    ),
    (
        "/watch",
        "NAME: whether a user is online, and when that changes",
    ),
    (
        "/login",
        "NAME [PASSWORD]: as somebody else; asks for the password",
    ),
    ("/logout", ""),
    ("/help", ""),
    ("/quit", ""),
];

/// Messages of a page of history: what fits on a screen.
pub(crate) const PAGE: usize = 20;

/// Where in a line a password begins, if there is one: it is neither shown nor remembered.
pub(crate) fn secret(typed: &str) -> Option<usize> {
    let rest = typed.trim_start().strip_prefix("/login ")?.trim_start();
    let (_, password) = rest.split_once(' ')?;
    Some(typed.len() - password.len())
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Line {
    Nothing,
    /// To whom, where it is said, and what, if anything.
    To(Option<String>, Option<String>),
    Ask(Command),
    /// Leave the room of the present conversation.
    LeaveThis,
    /// As whom, and with what password, unless that is to be asked for.
    LogIn(String, Option<String>),
    LogOut,
    Help,
    Quit,
    /// It makes no sense, for that reason.
    Wrong(String),
}

/// Reads a line.
pub(crate) fn read(typed: &str) -> Line {
    if typed.is_empty() {
        return Line::Nothing;
    }
    if !typed.starts_with('/') {
        return Line::To(None, Some(typed.to_owned()));
    }
    let (command, rest) = typed.split_once(' ').unwrap_or((typed, ""));
    let rest = rest.trim();
    let (first, words) = rest.split_once(' ').unwrap_or((rest, ""));
    let (first, words) = (first.to_owned(), words.trim().to_owned());
    match command {
        "/to" if !first.is_empty() => Line::To(Some(first), (!words.is_empty()).then_some(words)),
        "/join" if first.starts_with('#') => Line::Ask(Command::Join {
            room: first,
            after: None,
        }),
        "/leave" if first.is_empty() => Line::LeaveThis,
        "/leave" => Line::Ask(Command::Leave { room: first }),
        "/who" => Line::Ask(Command::Who {
            room: (!first.is_empty()).then_some(first),
        }),
        "/history" if !first.is_empty() => history(first, &words),
        "/watch" if !first.is_empty() => Line::Ask(Command::Watch { uid: first }),
        "/login" if !first.is_empty() => Line::LogIn(first, (!words.is_empty()).then_some(words)),
        "/logout" => Line::LogOut,
        "/help" => Line::Help,
        "/quit" => Line::Quit,
        _ => Line::Wrong(wrong(command)),
    }
}

fn history(with: String, before: &str) -> Line {
    let before = match before {
        "" => None,
        number => match number.parse() {
            Ok(number) => Some(number),
            Err(_) => return Line::Wrong(format!("{number} is no number of a message")),
        },
    };
    Line::Ask(Command::History {
        with,
        before,
        limit: Some(PAGE),
    })
}

fn wrong(command: &str) -> String {
    match COMMANDS.iter().find(|known| known.0 == command) {
        Some((command, how)) => format!("{command} {how}"),
        None => format!("there is no {command}; /help lists what there is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_they_mean() {
        let to = |to: &str, words: &str| Line::To(Some(to.into()), Some(words.into()));
        assert_eq!(read("/to bob a:b:c  d"), to("bob", "a:b:c  d"));
        assert_eq!(read("/to #tea"), Line::To(Some("#tea".into()), None));
        assert_eq!(read("hello"), Line::To(None, Some("hello".into())));
        assert_eq!(read("/leave"), Line::LeaveThis);
        let page = Command::History {
            with: "bob".into(),
            before: Some(7),
            limit: Some(20),
        };
        assert_eq!(read("/history bob 7"), Line::Ask(page));
        assert_eq!(
            read("/login ann p w"),
            Line::LogIn("ann".into(), Some("p w".into()))
        );
        assert_eq!(read("/login ann"), Line::LogIn("ann".into(), None));
        assert_eq!(read("/who"), Line::Ask(Command::Who { room: None }));
    }

    #[test]
    fn a_password_is_all_that_follows_the_name() {
        assert_eq!(
            secret("/login ann p w").map(|at| &"/login ann p w"[at..]),
            Some("p w")
        );
        for typed in ["/login ann", "/to ann p", "/login", "login ann p"] {
            assert_eq!(secret(typed), None, "{typed}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_explained() {
        for typed in ["/join tea", "/to", "/dance", "/history bob x"] {
            assert!(matches!(read(typed), Line::Wrong(_)), "{typed}");
        }
    }
}
