//! News as text for people.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use chat::client::News;
use chat::office::Command;
use netwheel::ClientState;
use serde_json::Value;

use crate::line::PAGE;

pub(crate) const MENU: &str = "[menu] 1: log in   2: chat   3: log out   4: all commands";

/// A line for each of the news; none where there is nothing to tell.
pub(crate) fn lines(news: &News, own: &str, colours: bool) -> Vec<String> {
    match news {
        News::LoggedIn => vec![format!("* you are logged in as {own}")],
        News::LoggedOut => vec!["* you are logged out".into()],
        News::Refused { why, again: false } => vec![
            format!("* not logged in: {}", plain(why)),
            format!("* /login {own} asks for the password"),
        ],
        News::Refused { why, again: true } => {
            vec![format!("* not logged in yet: {}; trying again", plain(why))]
        }
        News::Said {
            from, to, content, ..
        } => vec![said(from, to, content, own, colours)],
        News::Forgotten { why } => vec![
            "* the cursor file is damaged: some of what you said may not be sent, and some be shown again".into(),
            format!("* {}", plain(why)),
        ],
        News::NotSent { why, .. } => vec![format!("* not sent: {}", plain(why))],
        News::Answer {
            result: Err(why), ..
        } => vec![format!("* {}", plain(why))],
        News::Answer {
            command,
            result: Ok(blocks),
        } => answer(command, blocks, own, colours),
        News::Event(event) => vec![happened(event)],
        _ => Vec::new(),
    }
}

/// What becomes of the connection; of the tries in between nobody needs to hear.
pub(crate) fn state(state: &ClientState) -> Option<String> {
    match state {
        ClientState::Down(cause) => Some(format!("* no connection: {cause}")),
        ClientState::Waiting(time) => Some(format!("* next try in {:.1} s", time.as_secs_f64())),
        _ => None,
    }
}

fn said(from: &str, to: &str, content: &str, own: &str, colours: bool) -> String {
    let (name, content) = (coloured(&plain(from), colours), words(content));
    match to.starts_with('#') {
        true => format!("{} {name}: {content}", plain(to)),
        false if from == own && to != own => format!("{name} to {}: {content}", plain(to)),
        false => format!("{name}: {content}"),
    }
}

fn answer(command: &Command, blocks: &[Value], own: &str, colours: bool) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed = |name: &str| {
        let lists = blocks.iter().filter_map(|block| block[name].as_array());
        lists.flatten().cloned().collect::<Vec<_>>()
    };
    match command {
        Command::Join { room, .. } => {
            let members = blocks
                .first()
                .map_or(0, |block| block["members"].as_u64().unwrap_or(0));
            vec![format!("* you are in {room}; {members} there")]
        }
        Command::Leave { room } => vec![format!("* you have left {room}")],
        Command::Who { room } => {
            let names: Vec<_> = listed("users")
                .iter()
                .map(|name| plain(&text(name)))
                .collect();
            let place = room.as_deref().unwrap_or("online");
            vec![format!("* {place}: {}", names.join(", "))]
        }
        Command::Watch { .. } => blocks.iter().map(presence).collect(),
        Command::History { with, .. } => {
            let shown = listed("messages").into_iter().map(|message| {
                let line = said(
                    &text(&message["from"]),
                    &text(&message["to"]),
                    &text(&message["content"]),
                    own,
                    colours,
                );
                format!("  [{}] {line}", message["id"].as_u64().unwrap_or(0))
            });
            let head = format!("* history with {}", plain(with));
            let mut lines: Vec<_> = std::iter::once(head).chain(shown).collect();
            // A page that is full has one before it, as a rule.
            if let (PAGE.., Some(first)) = (lines.len() - 1, listed("messages").first()) {
                let first = first["id"].as_u64().unwrap_or(0);
                lines.push(format!("* before these: /history {} {first}", plain(with)));
            }
            lines
        }
    }
}

fn happened(event: &Value) -> String {
    let text = |name: &str| plain(event[name].as_str().unwrap_or_default());
    match event["event"].as_str() {
        Some("joined") => format!("* {} has come to {}", text("uid"), text("room")),
        Some("left") => format!("* {} has left {}", text("uid"), text("room")),
        Some("presence") => presence(event),
        Some("shutdown") => "* the server goes down".into(),
        _ => format!("* {}", plain(&event.to_string())),
    }
}

fn presence(event: &Value) -> String {
    let name = plain(event["uid"].as_str().unwrap_or_default());
    match event["online"].as_bool() {
        Some(true) => format!("* {name} is online"),
        _ => format!("* {name} is not online"),
    }
}

/// Something said; its further lines stand where no line of anybody else begins.
fn words(content: &str) -> String {
    let lines: Vec<_> = content.lines().map(plain).collect();
    lines.join("\n    ")
}

/// Without what would move the cursor or worse: nobody's words command this terminal.
fn plain(text: &str) -> String {
    let shown = |char: char| if is_harmful(char) { ' ' } else { char };
    text.chars().map(shown).collect()
}

/// Whether a character is a command to the terminal, or turns the direction of what follows it. Those that join
/// letters and emoji are neither.
fn is_harmful(char: char) -> bool {
    let turns = matches!(char, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(char, '\u{2028}'..='\u{2029}' | '\u{fff9}'..='\u{fffb}');
    char.is_control() || turns || breaks
}

/// A name in a colour of its own.
fn coloured(name: &str, colours: bool) -> String {
    if !colours {
        return name.to_owned();
    }
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(name);
    format!("\u{1b}[1;{}m{name}\u{1b}[0m", 31 + hash % 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_others_do_not_reach_the_terminal() {
        let news = News::Said {
            id: 1,
            from: "eve".into(),
            to: "ann".into(),
            content: "\u{1b}[2J\u{7}gone\u{9b}1A\u{202e}back\r\nroot# ".into(),
        };
        assert_eq!(
            lines(&news, "ann", false),
            ["eve:  [2J gone 1A back\n    root# "]
        );
        let news = News::Refused {
            why: "\u{1b}[31mno".into(),
            again: true,
        };
        let expected = ["* not logged in yet:  [31mno; trying again"];
        assert_eq!(lines(&news, "ann", false), expected);
    }

    #[test]
    fn emoji_and_letters_of_all_scripts_stay_as_they_are() {
        let content = "👩\u{200d}👩\u{200d}👧 Ünï 日本 ع";
        let news = News::Said {
            id: 1,
            from: "eve".into(),
            to: "ann".into(),
            content: content.into(),
        };
        assert_eq!(lines(&news, "ann", false), [format!("eve: {content}")]);
    }

    #[test]
    fn a_full_page_of_history_says_how_to_see_the_one_before() {
        let command = Command::History {
            with: "bob".into(),
            before: None,
            limit: None,
        };
        let page = |first: usize| {
            let messages: Vec<_> = (first..=first + PAGE - 1)
                .map(|id| serde_json::json!({ "id": id, "from": "bob", "to": "ann", "content": "x" }))
                .collect();
            News::Answer {
                command: command.clone(),
                result: Ok(vec![serde_json::json!({ "messages": messages })]),
            }
        };
        let shown = lines(&page(41), "ann", false);
        assert_eq!(shown.len(), PAGE + 2);
        assert_eq!(shown[PAGE + 1], "* before these: /history bob 41");
    }
}
