//! A listener that shows what a reactor measures: to people a page, to Prometheus its text, to programs JSON.
//!
//! | path | what |
//! |---|---|
//! | `/` | one page that draws itself anew each second; it loads nothing from elsewhere |
//! | `/metrics` | [`Metrics::prometheus`](crate::Metrics::prometheus) |
//! | `/metrics.json` | [`Metrics::to_json`](crate::Metrics::to_json) |
//! | `/connections` | the connections that live, as JSON: their number, and the first 1,000 described |
//!
//! It is a server like any other: a codec (`http.rs`), a stage (`routes.rs`), and a few ready-made stages against
//! peers that dribble or stay for ever. It reads and changes nothing: there are GET and HEAD.

mod http;
mod routes;

use std::net::SocketAddr;
use std::time::Duration;

use self::http::Http;
use self::routes::Routes;
use crate::address::{IntoPlace, Place};
use crate::error::{Error, ErrorKind};
use crate::limits::{FRAME_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::net::Net;
use crate::pipeline::Pipeline;
use crate::server::{RunningServer, Server};
use crate::stages::{FrameTimeout, Idle};

/// A connection that asks nothing for so long is closed.
const IDLE_TIMEOUT: Duration = FRAME_TIMEOUT;

/// An admin listener to be (feature `admin`).
///
/// ```
/// use netwheel::{Admin, Reactor};
///
/// # fn main() -> Result<(), netwheel::Error> {
/// let reactor = Reactor::builder().workers(1).start()?;
/// let admin = Admin::on(&reactor).listen("127.0.0.1:0")?;
/// println!("look at http://{}/", admin.address());
/// # Ok(())
/// # }
/// ```
///
/// Whoever reaches it may read it, so it listens on loopback only, unless it is told to be
/// [public](Self::public). Its own connections count in what it shows.
///
/// Threads: those of the network that it is [`on`](Self::on), whose workers it shares with all else there. Cost:
/// one connection a looker; a page takes a snapshot a second. Limit: heads of
/// [`ADMIN_HEAD_BYTES_MAX`](crate::limits::ADMIN_HEAD_BYTES_MAX) bytes, 30 s of silence.
#[derive(Clone, Debug)]
#[must_use]
pub struct Admin {
    on: Net,
    shown: Net,
    public: bool,
}

impl Admin {
    /// A listener on this network, which shows it.
    pub fn on(net: &impl AsRef<Net>) -> Self {
        let net = net.as_ref().clone();
        Self {
            on: net.clone(),
            shown: net,
            public: false,
        }
    }

    /// Shows another network than the one it is on: with a small reactor of its own the listener answers also
    /// while every worker of the other hangs.
    pub fn showing(mut self, net: &impl AsRef<Net>) -> Self {
        self.shown = net.as_ref().clone();
        self
    }

    /// Allows addresses beyond loopback. There is no login: put it behind something that has one.
    pub fn public(mut self) -> Self {
        self.public = true;
        self
    }

    /// Listens and serves, until the answer is shut down or dropped, or the network ends.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for an address that others reach, unless it is [`public`](Self::public);
    /// otherwise as [`Server::listen`].
    pub fn listen(self, at: impl IntoPlace) -> Result<RunningServer, Error> {
        let place = at.into_place()?;
        if let Place::Inet(address) = &place
            && !self.public
        {
            refuse_beyond_loopback(*address)?;
        }
        let shown = self.shown;
        Server::on(&self.on)
            .pipeline(move |_| {
                Pipeline::new(Http::default())
                    .stage("idle", Idle::close_after(IDLE_TIMEOUT))
                    .stage("head", FrameTimeout::after(HANDSHAKE_TIMEOUT))
                    .stage("routes", Routes::new(shown.clone()))
                    .handle(|_, _| Ok(()))
            })
            .listen(place)?
            .start()
    }
}

fn refuse_beyond_loopback(address: SocketAddr) -> Result<(), Error> {
    if address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let text = format!(
        "the admin listener has no login, and others than this machine reach {address}; listen on \
        127.0.0.1, or call Admin::public()"
    );
    Err(Error::new(ErrorKind::Config, text))
}
