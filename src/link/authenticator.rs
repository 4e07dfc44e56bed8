//! Whether a node is who it says it is.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;

use super::identity::NodeId;
use crate::limits::CHALLENGE_BYTES;

/// What a listener says of a node that wants in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// It is let in.
    Accept,
    /// It is asked for a proof, which [`Authenticator::verify`] looks at.
    Challenge,
    /// It is turned away.
    Refuse,
}

/// Whom a listener lets in, by their node id and their proof of it.
///
/// Threads: the connection's worker, so it must not block; one for all connections. A panic costs the one
/// connection.
pub trait Authenticator: Send + Sync + 'static {
    /// A node asks to be let in, or somebody who gives no name.
    fn admit(&self, node: Option<&NodeId>) -> Admission;

    /// Whether `proof` answers `challenge`; called for nodes that were challenged.
    fn verify(&self, node: Option<&NodeId>, challenge: &[u8], proof: &[u8]) -> bool {
        let _ = (node, challenge, proof);
        false
    }
}

/// How a dialer proves who it is, to listeners that ask.
///
/// Threads: the connection's worker, so it must not block.
pub trait Credentials: Send + Sync + 'static {
    /// The proof that answers `challenge`; `None` gives up.
    fn prove(&self, node: Option<&NodeId>, challenge: &[u8]) -> Option<Bytes>;
}

/// Lets everybody in.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Anybody;

impl Authenticator for Anybody {
    fn admit(&self, _: Option<&NodeId>) -> Admission {
        Admission::Accept
    }
}

/// Lets in the nodes that it knows by name, on their word.
#[derive(Clone, Debug, Default)]
pub struct KnownNodes(HashSet<NodeId>);

impl KnownNodes {
    /// Lets in these nodes.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self(nodes.into_iter().collect())
    }
}

impl Authenticator for KnownNodes {
    fn admit(&self, node: Option<&NodeId>) -> Admission {
        match node {
            Some(node) if self.0.contains(node) => Admission::Accept,
            _ => Admission::Refuse,
        }
    }
}

/// Bytes that nobody can foresee and that never come twice.
pub(super) fn fresh_challenge(seed: u64) -> [u8; CHALLENGE_BYTES] {
    let mut challenge = [0; CHALLENGE_BYTES];
    for (word, bytes) in (0_u64..).zip(challenge.chunks_mut(8)) {
        // A keyed hash, whose keys come from the system and are known to nobody.
        let word = RandomState::new().hash_one((seed, word)).to_be_bytes();
        bytes.copy_from_slice(&word[..bytes.len()]);
    }
    challenge
}

#[cfg(feature = "auth")]
pub use shared_secret::SharedSecret;

#[cfg(feature = "auth")]
mod shared_secret {
    use std::fmt;

    use bytes::Bytes;
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha256;

    use super::{Admission, Authenticator, Credentials, NodeId};

    /// A secret that both sides know: the proof is HMAC-SHA256 of the challenge and the node id (feature `auth`).
    ///
    /// The secret itself never goes over the wire, and a proof is worth nothing for another challenge. Who listens
    /// in may take over an open connection all the same: use TLS where the network is not yours.
    ///
    /// Cost: two to four microseconds a login.
    #[derive(Clone)]
    pub struct SharedSecret(Bytes);

    impl SharedSecret {
        /// The secret, of any length; 32 bytes of chance are as good as it gets.
        #[must_use]
        pub fn new(secret: impl Into<Bytes>) -> Self {
            Self(secret.into())
        }

        fn mac(&self, node: Option<&NodeId>, challenge: &[u8]) -> Hmac<Sha256> {
            let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0);
            let mut mac = mac.expect("a key of any length will do");
            mac.update(challenge);
            mac.update(node.map_or(&[], |node| node.as_str().as_bytes()));
            mac
        }
    }

    impl Authenticator for SharedSecret {
        fn admit(&self, node: Option<&NodeId>) -> Admission {
            match node {
                Some(_) => Admission::Challenge,
                None => Admission::Refuse,
            }
        }

        /// Takes the same time wherever a proof begins to be wrong.
        fn verify(&self, node: Option<&NodeId>, challenge: &[u8], proof: &[u8]) -> bool {
            self.mac(node, challenge).verify_slice(proof).is_ok()
        }
    }

    impl Credentials for SharedSecret {
        fn prove(&self, node: Option<&NodeId>, challenge: &[u8]) -> Option<Bytes> {
            let proof = self.mac(node, challenge).finalize().into_bytes();
            Some(Bytes::copy_from_slice(&proof))
        }
    }

    impl fmt::Debug for SharedSecret {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("SharedSecret")
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_the_secret_the_node_and_the_challenge_together_make_the_proof() {
            let node = |name| NodeId::new(name).expect("a name");
            let secret = SharedSecret::new("a secret");
            let proof = secret.prove(Some(&node("n1")), b"once").expect("a proof");
            let holds = |secret: &SharedSecret, name, challenge: &[u8]| {
                secret.verify(Some(&node(name)), challenge, &proof)
            };
            assert!(holds(&secret, "n1", b"once"));
            assert!(!holds(&secret, "n2", b"once"));
            assert!(!holds(&secret, "n1", b"twice"));
            assert!(!holds(&SharedSecret::new("a guess"), "n1", b"once"));
            assert!(!secret.verify(Some(&node("n1")), b"once", b""));
        }

        /// The second case of RFC 4231, its data cut in two.
        #[test]
        fn the_proof_is_the_one_of_the_standard() {
            let secret = SharedSecret::new("Jefe");
            let node = NodeId::new("for nothing?").expect("a name");
            let proof = secret
                .prove(Some(&node), b"what do ya want ")
                .expect("a proof");
            let hex: String = proof.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(
                hex,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_nodes_are_let_in_and_nobody_else() {
        let node = |name| NodeId::new(name).expect("a name");
        let known = KnownNodes::new([node("n1")]);
        assert_eq!(known.admit(Some(&node("n1"))), Admission::Accept);
        assert_eq!(known.admit(Some(&node("n2"))), Admission::Refuse);
        assert_eq!(known.admit(None), Admission::Refuse);
        assert!(!known.verify(None, b"", b""));
    }

    #[test]
    fn challenges_differ_under_the_same_seed() {
        assert_ne!(fresh_challenge(1), fresh_challenge(1));
        assert_ne!(fresh_challenge(1)[..8], fresh_challenge(1)[8..16]);
    }
}
