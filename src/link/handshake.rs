//! The login: what a dialer says first, and what a listener answers.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::authenticator::{Admission, Authenticator, Credentials, fresh_challenge};
use super::identity::{LoginKey, NodeId, PeerKey};
use crate::address::Address;

/// What a dialer says when it logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "wires make it and take it apart")]
pub struct Hello {
    /// Its name, where it gives one.
    pub node: Option<NodeId>,
    /// What answers a challenge.
    pub proof: Option<Bytes>,
}

/// What a listener answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "wires make it and take it apart")]
pub enum Reply {
    /// Come in.
    Accepted,
    /// Go away.
    Refused(Refusal),
    /// Prove it: answer this.
    Challenge(Bytes),
}

/// Why a login was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Its address is not allowed.
    IpDenied,
    /// Its node id is missing or unknown, or its proof is wrong.
    BadNodeId,
    /// It is logged in already, over another connection.
    Duplicate,
    /// It said too little within the time for a handshake.
    Timeout,
    /// It said something else than a handshake, or one too many.
    NotHandshake,
    /// The listener keeps as many peers as it may.
    OverLimit,
    /// The listener gave no reason that this side knows.
    Unknown,
}

impl Refusal {
    /// The reason as it stands in logs and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IpDenied => "ip-denied",
            Self::BadNodeId => "bad-node-id",
            Self::Duplicate => "duplicate",
            Self::Timeout => "timeout",
            Self::NotHandshake => "not-handshake",
            Self::OverLimit => "over-limit",
            Self::Unknown => "unknown",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Self {
        let all = [
            Self::IpDenied,
            Self::BadNodeId,
            Self::Duplicate,
            Self::Timeout,
            Self::NotHandshake,
            Self::OverLimit,
        ];
        let known = all.into_iter().find(|one| one.name().as_bytes() == name);
        known.unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The dialer's side of one login.
///
/// ```text
///   ──hello──> asked ──accepted──> active
///               │ └──challenge──> (hello with its proof) ──> proved ──accepted──> active
///               └──refused, or a second challenge──> refused
/// ```
pub(super) struct DialerHandshake {
    node: Option<NodeId>,
    credentials: Option<Arc<dyn Credentials>>,
    proved: bool,
}

/// What a dialer does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DialerStep {
    Say(Hello),
    Active,
    Refused(Refusal),
}

impl DialerHandshake {
    pub(super) const fn new(
        node: Option<NodeId>,
        credentials: Option<Arc<dyn Credentials>>,
    ) -> Self {
        Self {
            node,
            credentials,
            proved: false,
        }
    }

    pub(super) fn hello(&self) -> Hello {
        Hello {
            node: self.node.clone(),
            proof: None,
        }
    }

    pub(super) fn handle_reply(&mut self, reply: &Reply) -> DialerStep {
        match reply {
            Reply::Accepted => DialerStep::Active,
            Reply::Refused(why) => DialerStep::Refused(*why),
            Reply::Challenge(_) if self.proved => DialerStep::Refused(Refusal::NotHandshake),
            Reply::Challenge(challenge) => {
                self.proved = true;
                let node = self.node.as_ref();
                let credentials = self.credentials.as_ref();
                match credentials.and_then(|credentials| credentials.prove(node, challenge)) {
                    Some(proof) => DialerStep::Say(Hello {
                        node: self.node.clone(),
                        proof: Some(proof),
                    }),
                    None => DialerStep::Refused(Refusal::BadNodeId),
                }
            }
        }
    }
}

/// Whom a listener lets in, asked in this order: the address, the node, its proof, whether it is in already. So
/// nobody learns of nodes, or of who is logged in, who may not even come.
pub(super) struct Door {
    pub(super) allows: Arc<dyn Fn(Address) -> bool + Send + Sync>,
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) key: LoginKey,
}

/// The listener's side of one login.
///
/// ```text
///   awaits a hello ──address, node, place──> active
///        │    └──challenge──> awaits the proof ──place──> active
///        └── any check fails, or anything else comes ──> refused
/// ```
pub(super) struct ListenerHandshake {
    from: Address,
    /// The node that was challenged, and with what.
    asked: Option<(Option<NodeId>, Bytes)>,
}

/// What a listener does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListenerStep<G> {
    Challenge(Bytes),
    /// It is let in, and has this place.
    Active(PeerKey, G),
    Refused(Refusal),
}

impl ListenerHandshake {
    pub(super) const fn new(from: Address) -> Self {
        Self { from, asked: None }
    }

    /// A hello has come; `claim` takes the place of the peer, as one step that of two racing logins one survives.
    pub(super) fn handle_hello<G>(
        &mut self,
        hello: &Hello,
        door: &Door,
        seed: u64,
        claim: impl FnOnce(&PeerKey) -> Result<G, Refusal>,
    ) -> ListenerStep<G> {
        if !(door.allows)(self.from) {
            return ListenerStep::Refused(Refusal::IpDenied);
        }
        let node = hello.node.as_ref();
        if let Some((asked, challenge)) = self.asked.take() {
            let proof = hello.proof.as_deref().unwrap_or_default();
            if asked.as_ref() != node || !door.authenticator.verify(node, &challenge, proof) {
                return ListenerStep::Refused(Refusal::BadNodeId);
            }
        } else {
            match door.authenticator.admit(node) {
                Admission::Accept => {}
                Admission::Refuse => return ListenerStep::Refused(Refusal::BadNodeId),
                Admission::Challenge => {
                    let challenge = Bytes::copy_from_slice(&fresh_challenge(seed));
                    self.asked = Some((node.cloned(), challenge.clone()));
                    return ListenerStep::Challenge(challenge);
                }
            }
        }
        let Some(key) = door.key.of(node, self.from) else {
            return ListenerStep::Refused(Refusal::BadNodeId);
        };
        match claim(&key) {
            Ok(place) => ListenerStep::Active(key, place),
            Err(why) => ListenerStep::Refused(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::authenticator::{Anybody, KnownNodes};

    fn node(name: &str) -> NodeId {
        NodeId::new(name).expect("a name")
    }

    fn door(allow: bool, authenticator: impl Authenticator) -> Door {
        Door {
            allows: Arc::new(move |_| allow),
            authenticator: Arc::new(authenticator),
            key: LoginKey::default(),
        }
    }

    fn hello(name: &str, proof: Option<&'static [u8]>) -> Hello {
        Hello {
            node: Some(node(name)),
            proof: proof.map(Bytes::from_static),
        }
    }

    const FREE: fn(&PeerKey) -> Result<(), Refusal> = |_| Ok(());
    const TAKEN: fn(&PeerKey) -> Result<(), Refusal> = |_| Err(Refusal::Duplicate);

    #[test]
    fn the_address_comes_first_then_the_node_then_the_place() {
        let known = || KnownNodes::new([node("n1")]);
        let ask = |door: &Door, name, claim: fn(&PeerKey) -> Result<(), Refusal>| {
            let mut handshake = ListenerHandshake::new(Address::Unix);
            handshake.handle_hello(&hello(name, None), door, 1, claim)
        };
        let refused = ListenerStep::Refused;
        assert_eq!(
            ask(&door(false, known()), "n2", TAKEN),
            refused(Refusal::IpDenied)
        );
        assert_eq!(
            ask(&door(true, known()), "n2", TAKEN),
            refused(Refusal::BadNodeId)
        );
        assert_eq!(
            ask(&door(true, known()), "n1", TAKEN),
            refused(Refusal::Duplicate)
        );
        let active = ListenerStep::Active(PeerKey::Node(node("n1")), ());
        assert_eq!(ask(&door(true, known()), "n1", FREE), active);
    }

    /// Knows that the proof of any challenge is "right".
    struct Right;

    impl Authenticator for Right {
        fn admit(&self, _: Option<&NodeId>) -> Admission {
            Admission::Challenge
        }

        fn verify(&self, _: Option<&NodeId>, _: &[u8], proof: &[u8]) -> bool {
            proof == b"right"
        }
    }

    impl Credentials for Right {
        fn prove(&self, _: Option<&NodeId>, _: &[u8]) -> Option<Bytes> {
            Some(Bytes::from_static(b"right"))
        }
    }

    #[test]
    fn a_challenge_is_answered_once_by_the_node_that_was_asked() {
        for (second, active) in [
            (hello("n1", Some(b"right")), true),
            (hello("n1", Some(b"wrong")), false),
            (hello("n2", Some(b"right")), false),
            (hello("n1", None), false),
        ] {
            let (door, mut handshake) = (door(true, Right), ListenerHandshake::new(Address::Unix));
            let early = hello("n1", Some(b"right"));
            let step = handshake.handle_hello(&early, &door, 1, FREE);
            assert!(
                matches!(step, ListenerStep::Challenge(_)),
                "a proof of nothing"
            );
            let step = handshake.handle_hello(&second, &door, 1, FREE);
            assert_eq!(
                matches!(step, ListenerStep::Active(..)),
                active,
                "{second:?}"
            );
        }
    }

    #[test]
    fn a_dialer_proves_itself_once_and_takes_no_for_an_answer() {
        let challenge = Reply::Challenge(Bytes::from_static(b"?"));
        let mut dialer = DialerHandshake::new(Some(node("n1")), Some(Arc::new(Right)));
        assert_eq!(dialer.hello(), hello("n1", None));
        let proof = DialerStep::Say(hello("n1", Some(b"right")));
        assert_eq!(dialer.handle_reply(&challenge), proof);
        let refused = DialerStep::Refused(Refusal::NotHandshake);
        assert_eq!(dialer.handle_reply(&challenge), refused);
        let no = Reply::Refused(Refusal::Duplicate);
        assert_eq!(
            dialer.handle_reply(&no),
            DialerStep::Refused(Refusal::Duplicate)
        );
        assert_eq!(dialer.handle_reply(&Reply::Accepted), DialerStep::Active);

        let mut without = DialerHandshake::new(None, None);
        let refused = DialerStep::Refused(Refusal::BadNodeId);
        assert_eq!(without.handle_reply(&challenge), refused);
    }

    #[test]
    fn reasons_are_read_as_they_are_written() {
        for why in [Refusal::IpDenied, Refusal::Timeout, Refusal::NotHandshake] {
            assert_eq!(Refusal::of_name(why.name().as_bytes()), why);
        }
        assert_eq!(Refusal::of_name(b"\xff"), Refusal::Unknown);
        assert!(matches!(
            door(true, Anybody).authenticator.admit(None),
            Admission::Accept
        ));
    }
}
