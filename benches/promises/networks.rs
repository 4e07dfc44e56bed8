//! A network of two namespaces that goes dark, or loses every twentieth packet.

use std::error::Error;
use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::child::Server;
use crate::latency::{Shown, ask, connect};
use crate::promise::{Outcome, Promise, Ran, Scale};

/// The first argument of this program that makes it the client in the other namespace.
pub(crate) const ROLE: &str = "ask";

pub(crate) fn promises() -> Vec<Promise> {
    vec![
        Promise {
            name: "network-goes-dark",
            says: "a peer that vanishes without a FIN is let go at its read timeout, 1 s, and not before",
            run: goes_dark,
        },
        Promise {
            name: "network-loses",
            says: "a network that loses 5 of 100 packets delays answers and loses none",
            run: loses,
        },
    ]
}

/// Two namespaces with a cable between them; taken down when it is dropped.
struct Cable {
    names: [String; 2],
}

impl Cable {
    /// `None` with the reason where this machine does not let us.
    fn lay() -> Result<Self, String> {
        let id = std::process::id();
        let names = ["a", "b"].map(|side| format!("netwheel-{id}-{side}"));
        let cable = Self { names };
        let [a, b] = &cable.names;
        for name in [a, b] {
            ip(&["netns", "add", name])?;
        }
        ip(&[
            "-n", a, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", b,
        ])?;
        for (name, address) in [(a, "10.79.0.1/24"), (b, "10.79.0.2/24")] {
            ip(&["-n", name, "addr", "add", address, "dev", "v0"])?;
            ip(&["-n", name, "link", "set", "v0", "up"])?;
        }
        Ok(cable)
    }

    fn server(&self, arguments: &[&str]) -> Result<Server, Box<dyn Error>> {
        let all = [&["--listen", "10.79.0.2:7000"], arguments].concat();
        Server::under(&["ip", "netns", "exec", &self.names[1]], &all)
    }

    /// Asks in the other namespace; what it printed.
    fn ask(&self, count: usize) -> Result<String, Box<dyn Error>> {
        let this = env::current_exe()?;
        let output = Command::new("ip")
            .args(["netns", "exec", &self.names[0]])
            .arg(this)
            .args([ROLE, "10.79.0.2:7000", &count.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err("not every answer came".into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{program}: {}", said.trim()))
        }
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// The client: asks so often, and prints what it took; then it stays until it is killed, or goes.
pub(crate) fn peer(arguments: Vec<OsString>) -> ExitCode {
    let words: Vec<String> = arguments
        .into_iter()
        .filter_map(|word| word.into_string().ok())
        .collect();
    let asked = (|| {
        let [address, count] = words.as_slice() else {
            return Err("an address and a count".into());
        };
        let (address, count) = (address.parse()?, count.parse::<u32>()?);
        let start = Instant::now();
        let mut socket = connect(address, 0)?;
        for _ in 0..count {
            ask(&mut socket)?;
        }
        println!("{}", start.elapsed().as_micros());
        Ok::<(), Box<dyn Error>>(())
    })();
    match asked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn goes_dark(_: Scale) -> Ran {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let cable = match Cable::lay() {
        Ok(cable) => cable,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let mut server = cable.server(&["--read-timeout", "1000"])?;
    // A peer of our own in the other namespace, so that it cannot say goodbye: its cable is cut first.
    let this = env::current_exe()?;
    let mut peer = Command::new("ip")
        .args(["netns", "exec", &cable.names[0]])
        .arg(this)
        .args([ROLE, "10.79.0.2:7000", "1000000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    server.wait_for("messages", |count| count > 100)?;
    ip(&["-n", &cable.names[0], "link", "set", "v0", "down"])?;
    let dark = Instant::now();
    let early = server.figure("closed")?;
    server.wait_for("closed", |count| count == 1)?;
    let took = dark.elapsed();
    let _ = peer.kill();
    let _ = peer.wait();
    let idle = server.figure("idle")?;
    Ok(Outcome::of(
        early == 0
            && idle == 1
            && took >= TIMEOUT - Duration::from_millis(20)
            && took <= TIMEOUT + Duration::from_millis(100),
        format!("let go {} after the network went dark", Shown(took)),
    ))
}

fn loses(scale: Scale) -> Ran {
    let cable = match Cable::lay() {
        Ok(cable) => cable,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    if !fs::exists("/usr/sbin/iptables")? {
        return Ok(Outcome::Skipped("there is no iptables".into()));
    }
    let _server = cable.server(&[])?;
    let count = scale.of(200, 1_000);
    let before: u64 = cable.ask(count)?.trim().parse()?;
    for name in &cable.names {
        let rule = [
            "netns",
            "exec",
            name,
            "iptables",
            "-A",
            "INPUT",
            "-m",
            "statistic",
            "--mode",
            "random",
        ];
        if let Err(reason) = ip(&[&rule[..], &["--probability", "0.05", "-j", "DROP"]].concat()) {
            return Ok(Outcome::Skipped(reason));
        }
    }
    let after: u64 = cable.ask(count)?.trim().parse()?;
    Ok(Outcome::of(
        after > before,
        format!(
            "{count} answers in {}, {} without losses",
            Shown(Duration::from_micros(after)),
            Shown(Duration::from_micros(before))
        ),
    ))
}
