//! Which address of several a client dials next.

use std::net::SocketAddr;

use crate::target::Target;

/// Targets, one after the other and round again; of a name, all its addresses before the next target.
pub(super) struct Rotation {
    targets: Vec<Target>,
    /// The target whose turn it is, and which of its addresses.
    target: usize,
    address: usize,
}

impl Rotation {
    /// A rotation over targets, of which there is at least one.
    pub(super) const fn new(targets: Vec<Target>) -> Self {
        Self {
            targets,
            target: 0,
            address: 0,
        }
    }

    /// Whose turn it is. An address has had it then; a name has it until its last address was picked.
    pub(super) fn turn(&mut self) -> Target {
        let target = self.targets[self.target].clone();
        if let Target::Place(_) = target {
            self.skip();
        }
        target
    }

    /// Picks one of the addresses that the name whose turn it is has at the moment; there is at least one.
    pub(super) fn pick(&mut self, found: &[SocketAddr]) -> SocketAddr {
        let picked = found[self.address % found.len()];
        self.address += 1;
        if self.address >= found.len() {
            self.skip();
        }
        picked
    }

    /// Goes on to the next target.
    pub(super) fn skip(&mut self) {
        self.target = (self.target + 1) % self.targets.len();
        self.address = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_a_name_come_before_the_next_target() {
        let parse = |text: &str| text.parse::<Target>().expect(text);
        let mut rotation = Rotation::new(vec![parse("10.0.0.1:1"), parse("name:2")]);
        let found: Vec<SocketAddr> = ["10.0.0.2:2", "10.0.0.3:2"]
            .map(|a| a.parse().expect(a))
            .into();
        for _ in 0..3 {
            assert_eq!(rotation.turn(), parse("10.0.0.1:1"));
            assert_eq!(rotation.turn(), parse("name:2"));
            assert_eq!(rotation.pick(&found), found[0]);
            assert_eq!(rotation.turn(), parse("name:2"));
            // It has lost an address meanwhile.
            assert_eq!(rotation.pick(&found[1..]), found[1]);
        }
        rotation.turn();
        rotation.skip();
        assert_eq!(
            rotation.turn(),
            parse("10.0.0.1:1"),
            "a name without addresses is passed over"
        );
    }
}
