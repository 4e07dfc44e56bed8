//! The address that a sender puts into its messages.

use super::message::{ADDRESS_UNKNOWN, Message};
use crate::address::Address;
use crate::error::Result;
use crate::pipeline::{Context, Flow, Stage};

/// An IPv4 address as a number, as the protocol's document has it; -1 for anything else.
pub(super) fn number_of(address: Address) -> i64 {
    match address.ip().map(|ip| ip.to_canonical()) {
        Some(std::net::IpAddr::V4(ip)) => i64::from(u32::from(ip)),
        _ => ADDRESS_UNKNOWN,
    }
}

/// The stage that puts this end's address into each message on its way out.
///
/// Messages wait in a link that outlives connections, so it is known no earlier.
pub(super) struct Signed;

impl Stage<Message, Message> for Signed {
    fn on_outbound(
        &mut self,
        cx: &mut Context<'_, Message, Message>,
        message: &mut Message,
    ) -> Result<Flow> {
        message.address = number_of(cx.local());
        Ok(Flow::Next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_is_a_number_and_nothing_else_is() {
        let number = |text: &str| number_of(Address::Inet(text.parse().expect("an address")));
        assert_eq!(number("127.0.0.1:7001"), 0x7f00_0001);
        assert_eq!(number("[::ffff:255.255.255.255]:1"), 0xffff_ffff);
        assert_eq!(number("[::1]:7001"), -1);
        assert_eq!(number_of(Address::Unix), -1);
    }
}
