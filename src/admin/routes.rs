//! What is answered to which path.

use std::sync::Weak;

use bytes::Bytes;

use super::http::{Manner, Request, Response, Status};
use crate::error::{CloseReason, Result};
use crate::inspection::Inquiry;
use crate::limits::{ADMIN_LIST_TIMEOUT, ADMIN_LISTED_MAX};
use crate::net::Net;
use crate::pipeline::{Context, Event, Flow, Stage, TimerKey};

const PAGE: &str = include_str!("page.html");
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// What Prometheus calls its text.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const LATE: TimerKey = TimerKey(0);

type Cx<'a> = Context<'a, Request, Response>;

/// Answers the requests of one connection, in order.
///
/// A list of connections is gathered by all workers; reading pauses until it is there, so that no later
/// request is answered before it. It comes by a handle, and so passes this stage on its way out.
pub(super) struct Routes {
    net: Net,
    lists_asked: u32,
    awaited: Option<Awaited>,
}

/// A list of connections that is being gathered.
struct Awaited {
    number: u32,
    manner: Manner,
    inquiry: Weak<Inquiry>,
}

impl Routes {
    pub(super) fn new(net: Net) -> Self {
        Self {
            net,
            lists_asked: 0,
            awaited: None,
        }
    }

    fn get(&mut self, cx: &mut Cx<'_>, path: &str, manner: Manner) -> Result<()> {
        let (status, media_type, body) = match path {
            "/" => (Status::Ok, HTML, Bytes::from_static(PAGE.as_bytes())),
            "/metrics" => (
                Status::Ok,
                PROMETHEUS,
                self.net.metrics().prometheus().into(),
            ),
            "/metrics.json" => (Status::Ok, JSON, self.net.metrics().to_json().into()),
            "/connections" => return self.ask_for_list(cx, manner),
            _ => {
                return plain(
                    cx,
                    Status::NotFound,
                    "there is /, /metrics, /metrics.json and /connections",
                    manner,
                );
            }
        };
        let response = Response {
            status,
            media_type,
            body,
            manner,
            number: 0,
        };
        answer(cx, response)
    }

    fn ask_for_list(&mut self, cx: &mut Cx<'_>, manner: Manner) -> Result<()> {
        self.lists_asked += 1;
        let (number, handle) = (self.lists_asked, cx.handle());
        let inquiry = Inquiry::new(ADMIN_LISTED_MAX, move |listing| {
            let response = Response {
                status: Status::Ok,
                media_type: JSON,
                body: listing.to_json().into(),
                manner,
                number,
            };
            // Where it finds no room, or nobody, the deadline has an answer.
            drop(handle.try_send(response));
        });
        match self.net.network().inspect(inquiry) {
            Ok(inquiry) => {
                self.awaited = Some(Awaited {
                    number,
                    manner,
                    inquiry,
                });
                cx.pause_reading();
                cx.timer(ADMIN_LIST_TIMEOUT, LATE);
                Ok(())
            }
            Err(error) => plain(cx, Status::Unavailable, &error.to_string(), manner),
        }
    }

    /// Nobody waits for a list any more.
    fn give_up(&mut self) -> Option<Awaited> {
        let awaited = self.awaited.take()?;
        if let Some(inquiry) = awaited.inquiry.upgrade() {
            inquiry.abandon();
        }
        Some(awaited)
    }
}

impl Stage<Request, Response> for Routes {
    fn on_inbound(&mut self, cx: &mut Cx<'_>, request: &mut Request) -> Result<Flow> {
        match request {
            Request::Get { path, manner } => self.get(cx, path, *manner)?,
            Request::Flawed(status) => {
                let manner = Manner {
                    head_only: false,
                    keep_alive: false,
                };
                plain(
                    cx,
                    *status,
                    "this is for GET and HEAD of a few pages",
                    manner,
                )?;
            }
        }
        Ok(Flow::Stop)
    }

    /// Only lists pass here: what this stage writes itself goes further outward.
    fn on_outbound(&mut self, cx: &mut Cx<'_>, response: &mut Response) -> Result<Flow> {
        let number = response.number;
        if self
            .awaited
            .take_if(|awaited| awaited.number == number)
            .is_none()
        {
            return Ok(Flow::Stop);
        }
        cx.cancel_timer(LATE);
        cx.resume_reading();
        if !response.manner.keep_alive {
            cx.close_after_flush(CloseReason::Local);
        }
        Ok(Flow::Next)
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result<Flow> {
        if let Event::Timer(LATE) = event
            && let Some(Awaited { manner, .. }) = self.give_up()
        {
            cx.resume_reading();
            let text = "a worker does not answer: a handler blocks it, and the log says which";
            plain(cx, Status::Unavailable, text, manner)?;
        }
        Ok(Flow::Next)
    }

    fn on_close(&mut self, _: &mut Cx<'_>, _: CloseReason) {
        self.give_up();
    }
}

fn plain(cx: &mut Cx<'_>, status: Status, text: &str, manner: Manner) -> Result<()> {
    let response = Response {
        status,
        media_type: TEXT,
        body: format!("{text}\n").into(),
        manner,
        number: 0,
    };
    answer(cx, response)
}

fn answer(cx: &mut Cx<'_>, response: Response) -> Result<()> {
    let keep_alive = response.manner.keep_alive;
    cx.write(response)?;
    if !keep_alive {
        cx.close_after_flush(CloseReason::Local);
    }
    Ok(())
}
