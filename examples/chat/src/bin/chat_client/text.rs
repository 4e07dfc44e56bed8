//! News as text for people.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use chat::client::News;
use chat::office::Command;
use netwheel::ClientState;
use serde_json::Value;

pub(crate) const MENU: &str = "[menu] 1: log in   2: chat   3: log out   4: all commands";

/// A line for each of the news; none where there is nothing to tell.
pub(crate) fn lines(news: &News, own: &str, colours: bool) -> Vec<String> {
    match news {
        News::LoggedIn => vec![format!("* you are logged in as {own}")],
        News::LoggedOut => vec!["* you are logged out".into()],
        News::Refused { why, again: false } => vec![format!("* not logged in: {why}")],
        News::Refused { why, again: true } => {
            vec![format!("* not logged in yet: {why}; trying again")]
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
    let (name, content) = (coloured(&plain(from), colours), plain(content));
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
                format!("  [{}] {line}", message["id"])
            });
            let head = format!("* history with {}", plain(with));
            std::iter::once(head).chain(shown).collect()
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

/// Without what would move the cursor or worse: nobody's words command this terminal.
fn plain(text: &str) -> String {
    let shown = |char: char| if char.is_control() { ' ' } else { char };
    text.chars().map(shown).collect()
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
            content: "\u{1b}[2J\u{7}gone\nroot# ".into(),
        };
        assert_eq!(lines(&news, "ann", false), ["eve:  [2J gone root# "]);
    }
}
