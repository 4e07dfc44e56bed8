//! Who reaches whom: partitions, nodes that are down, and how long the way is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::fabric::Due;

/// Names a node of one world, in the order in which they were made; 0 is the world's own network.
pub(super) type NodeId = usize;

/// The first two numbers of the addresses of nodes.
const NODES_NET: [u8; 2] = [10, 1];

/// The ways between the nodes of a world.
#[derive(Debug)]
pub(super) struct Links {
    /// Whether each node is down.
    down: Vec<bool>,
    /// Whether a crash of each node would be followed by a restart: whether it runs a program.
    pub(super) restarts: Vec<bool>,
    /// Pairs of which the first does not reach the second, by the partition that does it.
    cuts: BTreeMap<u64, Vec<(NodeId, NodeId)>>,
    /// How long the way from one node to another is, where that was said.
    delays: BTreeMap<(NodeId, NodeId), RangeInclusive<Duration>>,
    /// What waits until there is a way. Nothing of a connection is lost: its sender's kernel sends it anew.
    held: Vec<Due>,
    numbers: u64,
}

impl Links {
    /// The links of a world without nodes of its own.
    pub(super) fn new() -> Self {
        Self {
            down: vec![false],
            restarts: vec![false],
            cuts: BTreeMap::new(),
            delays: BTreeMap::new(),
            held: Vec::new(),
            numbers: 0,
        }
    }

    pub(super) fn add_node(&mut self) -> NodeId {
        self.down.push(false);
        self.restarts.push(false);
        self.down.len() - 1
    }

    /// How many nodes there are, the world's own network counted in.
    pub(super) fn nodes(&self) -> usize {
        self.down.len()
    }

    /// Whose address it is, as seen from a node.
    pub(super) fn node_of(&self, ip: IpAddr, from: NodeId) -> NodeId {
        if ip.is_loopback() {
            return from;
        }
        let node = match ip {
            IpAddr::V4(ip) => match ip.octets() {
                [a, b, high, low] if [a, b] == NODES_NET => {
                    usize::from(u16::from_be_bytes([high, low]))
                }
                _ => 0,
            },
            IpAddr::V6(_) => 0,
        };
        if node < self.nodes() { node } else { 0 }
    }

    pub(super) fn set_down(&mut self, node: NodeId, down: bool) {
        self.down[node] = down;
    }

    /// Whether a node is up, and would come up again after a crash.
    pub(super) fn may_crash(&self, node: NodeId) -> bool {
        self.restarts[node] && !self.down[node]
    }

    /// Whether nothing gets from one node to another.
    pub(super) fn blocks(&self, from: NodeId, to: NodeId) -> bool {
        self.down[to] || self.is_cut(from, to)
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        let mut cut = self.cuts.values().flatten();
        cut.any(|pair| *pair == (from, to))
    }

    /// Takes ways away; answers the number by which they come back.
    pub(super) fn cut(&mut self, pairs: Vec<(NodeId, NodeId)>) -> u64 {
        self.numbers += 1;
        self.cuts.insert(self.numbers, pairs);
        self.numbers
    }

    pub(super) fn heal(&mut self, cut: u64) {
        self.cuts.remove(&cut);
    }

    pub(super) fn heal_all(&mut self) {
        self.cuts.clear();
    }

    /// Keeps something until there is a way.
    pub(super) fn hold(&mut self, due: Due) {
        self.held.push(due);
    }

    /// All that is kept, in order.
    pub(super) fn release(&mut self) -> Vec<Due> {
        std::mem::take(&mut self.held)
    }

    pub(super) fn set_delay(&mut self, from: NodeId, to: NodeId, delay: RangeInclusive<Duration>) {
        self.delays.insert((from, to), delay);
    }

    /// How long the way is, where that was said.
    pub(super) fn delay(&self, from: NodeId, to: NodeId) -> Option<&RangeInclusive<Duration>> {
        self.delays.get(&(from, to))
    }
}

/// The address of a node.
///
/// # Panics
///
/// For a node beyond 65,535.
pub(super) fn address_of(node: NodeId) -> IpAddr {
    let node = u16::try_from(node).expect("at most 65,535 nodes");
    let [high, low] = node.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(NODES_NET[0], NODES_NET[1], high, low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_nodes_that_are_there() {
        let mut links = Links::new();
        let (a, b) = (links.add_node(), links.add_node());
        assert_eq!(links.node_of(address_of(b), 0), b);
        assert_eq!(links.node_of(address_of(b + 1), a), 0);
        assert_eq!(links.node_of(Ipv4Addr::LOCALHOST.into(), a), a);
        assert_eq!(address_of(258).to_string(), "10.1.1.2");
    }

    #[test]
    fn cuts_add_up_and_go_one_by_one() {
        let mut links = Links::new();
        let (a, b) = (links.add_node(), links.add_node());
        let one_way = links.cut(vec![(a, b)]);
        let both = links.cut(vec![(a, b), (b, a)]);
        links.heal(both);
        assert!(links.blocks(a, b) && !links.blocks(b, a));
        links.heal(one_way);
        assert!(!links.blocks(a, b));
        links.set_down(b, true);
        assert!(links.blocks(a, b) && !links.blocks(b, a));
    }
}
