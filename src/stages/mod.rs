//! Stages that most protocols want: silence, timeouts, who may come in, what passes, and how fast.
//!
//! | Netty | here | it |
//! |---|---|---|
//! | `IdleStateHandler` | [`Idle`] | tells of silence, or ends it |
//! | `ReadTimeoutHandler` | [`ReadTimeout`] | ends a peer that is silent |
//! | `WriteTimeoutHandler` | [`WriteTimeout`] | ends a peer that takes a message too slowly |
//! | | [`FrameTimeout`] | ends a peer that dribbles a frame |
//! | `RuleBasedIpFilter`, `IpSubnetFilter` | [`IpFilter`] | lets in by address, reloadable |
//! | `UniqueIpFilter` | [`PerAddress`] | so many connections of one address |
//! | `LoggingHandler` | [`Logging`] | shows what passes |
//! | `ChannelTrafficShapingHandler`, `GlobalTrafficShapingHandler` | [`Traffic`] | counts and shapes bytes, of one connection or of many together |
//!
//! All are ordinary [`Stage`](crate::Stage)s: made in the pipeline's factory, added and removed by name at any time. None
//! allocates or touches a timer per message. Those that watch bytes ([`Idle`], the timeouts, [`Traffic`]) see what
//! passes the socket, so their place in the list does not matter; the others see what passes their place. Doors
//! ([`IpFilter`], [`PerAddress`]) belong first: whom they turn away is not shown to what stands behind them.
//!
//! ```
//! use std::time::Duration;
//! use netwheel::stages::{FrameTimeout, Idle, IpFilter, PerAddress};
//! use netwheel::{Pipeline, Server, codec::LengthField};
//!
//! # fn main() -> netwheel::Result<()> {
//! let filter = IpFilter::parse("allow 127.0.0.0/8\nallow 10.0.0.0/8\ndeny all")?;
//! let few = PerAddress::at_most(16);
//! let server = Server::new().pipeline(move |_peer| {
//!     Pipeline::new(LengthField::u32())
//!         .stage("door", filter.clone())
//!         .stage("few", few.clone())
//!         .stage("idle", Idle::close_after(Duration::from_secs(60)))
//!         .stage("frame", FrameTimeout::after(Duration::from_secs(10)))
//!         .handle(|cx, frame| cx.write(frame))
//! });
//! # let _ = server;
//! # Ok(())
//! # }
//! ```

mod idle;
mod ip_filter;
mod ip_rules;
mod logging;
mod per_address;
mod timeouts;
mod traffic;

pub use idle::{Idle, IdleEvent, Silence};
pub use ip_filter::IpFilter;
pub use ip_rules::{IpRange, IpRules, Verdict};
pub use logging::Logging;
pub use per_address::PerAddress;
pub use timeouts::{FrameTimeout, ReadTimeout, WriteTimeout};
pub use traffic::Traffic;
