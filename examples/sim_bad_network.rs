//! A thousand bad networks in a second: a small service, tested where everything goes wrong.
//!
//! ```sh
//! cargo run --release --example sim_bad_network
//! cargo run --release --example sim_bad_network -- --naive
//! ```
//! A store counts the orders of two shops. Connections break, nodes crash and lose what they had in memory,
//! partitions come and go, clocks drift; so a shop sends an order again until it is confirmed. At the end of
//! each world the faults end too, and by then each order must be counted, once. The store keeps its
//! count on a disk, which outlives a crash. With `--naive` it forgets that an order may come twice: the first seed
//! that shows it is printed, with the command to look at it again.

mod support;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use netwheel::codec::{Framing, Lines, Utf8};
use netwheel::sim::{Faults, Runs, World};
use netwheel::{
    Backoff, Client, Context, Event, Handler, Net, Pipeline, ReconnectingHandle, Result,
    RunningServer, Server, TimerKey,
};
use support::Outcome;

const EXAMPLES: &str = "\
Try it:
  cargo run --release --example sim_bad_network
  cargo run --release --example sim_bad_network -- --naive
There is no network to talk to: all of it happens in memory, in virtual time.";

/// Orders of each shop.
const ORDERS: usize = 60;
/// Orders that are sent together.
const WINDOW: usize = 5;
/// After so long without an answer an order is sent again.
const PATIENCE: Duration = Duration::from_millis(500);
/// For so long faults happen, and for so long all may take to recover from them.
const STORM: Duration = Duration::from_secs(5);
const CALM: Duration = Duration::from_secs(60);

/// Tests a service in simulated worlds.
#[derive(Parser)]
#[command(name = "sim_bad_network", after_help = EXAMPLES)]
struct Flags {
    /// How many worlds
    #[arg(long, value_name = "N", default_value_t = 1000)]
    seeds: u64,

    /// The store counts an order each time it comes
    #[arg(long)]
    naive: bool,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| test(&flags))
}

fn test(flags: &Flags) -> Outcome {
    if std::env::var_os("RUST_LOG").is_none() {
        // A line for each connect that failed is no news here.
        log::set_max_level(log::LevelFilter::Warn);
    }
    let threads = std::thread::available_parallelism()?.get();
    let runs = Runs::seeds(0..flags.seeds)
        .faults(Faults::all())
        .threads(threads);
    let test = |world: &World| every_order_counts_once(world, flags.naive);
    // What went wrong has been printed by then.
    let summary = catch_unwind(AssertUnwindSafe(|| runs.run(test)))
        .map_err(|_| "a world has failed; its seed and the command to repeat it stand above")?;
    support::say(format_args!("{summary}"));
    Ok(())
}

fn every_order_counts_once(world: &World, naive: bool) {
    let disk = Arc::new(Mutex::new(Disk::default()));
    let kept = Arc::clone(&disk);
    let store = world.node("store");
    store.start(move |net| serve(net, &kept, naive));
    let shops: Vec<_> = ["north", "south"]
        .into_iter()
        .map(|name| {
            let orders: Orders = (0..ORDERS).map(|n| format!("{name}-{n}")).collect();
            let orders = Arc::new(Mutex::new(orders));
            let kept = Arc::clone(&orders);
            world.node(name).start(move |net| sell(net, &kept));
            orders
        })
        .collect();
    let sold = || {
        shops
            .iter()
            .all(|orders| orders.lock().is_ok_and(|orders| orders.is_empty()))
    };
    world.run_for(STORM);
    if let Err(stuck) = world.drain_until(CALM, sold) {
        panic!("{stuck}");
    }
    let counted = disk.lock().map_or(0, |disk| disk.count);
    assert_eq!(counted, shops.len() * ORDERS, "orders are counted once");
}

/// What the store writes to its disk before it confirms anything.
#[derive(Default)]
struct Disk {
    count: usize,
    seen: BTreeSet<String>,
}

/// The program of the store: set up again after each crash.
fn serve(
    net: &Net,
    disk: &Arc<Mutex<Disk>>,
    naive: bool,
) -> Result<RunningServer, netwheel::Error> {
    let disk = Arc::clone(disk);
    Server::on(net)
        .pipeline(move |_| {
            let disk = Arc::clone(&disk);
            Pipeline::new(Lines::new().then(Utf8::new())).handle(move |cx, order: String| {
                if let Ok(mut disk) = disk.lock()
                    && (disk.seen.insert(order.clone()) || naive)
                {
                    disk.count += 1;
                }
                cx.write(order)
            })
        })
        .listen("0.0.0.0:7000")?
        .start()
}

/// Orders that are not confirmed yet; on the shop's disk.
type Orders = BTreeSet<String>;

/// The program of a shop.
fn sell(
    net: &Net,
    orders: &Arc<Mutex<Orders>>,
) -> Result<ReconnectingHandle<String>, netwheel::Error> {
    let orders = Arc::clone(orders);
    Client::on(net)
        .reconnect(Backoff::every(PATIENCE).jitter(0.3))
        .pipeline(move || {
            Pipeline::new(Lines::new().then(Utf8::new())).handler(Shop(Arc::clone(&orders)))
        })
        .connect("store:7000")
}

struct Shop(Arc<Mutex<Orders>>);

impl Shop {
    /// Sends some of what is open, and looks again later.
    fn send(&self, cx: &mut Context<'_, String, String>) -> Result<()> {
        let some = |orders: &Orders| orders.iter().take(WINDOW).cloned().collect();
        let open: Vec<_> = self
            .0
            .lock()
            .map_or_else(|_| Vec::new(), |orders| some(&orders));
        for order in open {
            cx.write(order)?;
        }
        cx.timer(PATIENCE, TimerKey(0));
        Ok(())
    }
}

impl Handler<String, String> for Shop {
    fn on_open(&mut self, cx: &mut Context<'_, String, String>) -> Result<()> {
        self.send(cx)
    }

    fn on_message(&mut self, cx: &mut Context<'_, String, String>, order: String) -> Result<()> {
        let confirmed =
            |orders: &mut Orders| orders.remove(&order) && orders.len().is_multiple_of(WINDOW);
        match self.0.lock().is_ok_and(|mut orders| confirmed(&mut orders)) {
            true => self.send(cx),
            false => Ok(()),
        }
    }

    fn on_event(&mut self, cx: &mut Context<'_, String, String>, event: &Event) -> Result<()> {
        match event {
            Event::Timer(_) => self.send(cx),
            _ => Ok(()),
        }
    }
}
