//! The machine and the versions that the figures belong to.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// The lock file says which versions of the rivals were linked.
const LOCK: &str = include_str!("../Cargo.lock");

#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub date: String,
    pub commit: String,
    pub processor: String,
    pub cores: usize,
    pub kernel: String,
    pub is_virtual: bool,
    /// Running tasks, averaged over the minute before the start: noise when not near 0.
    pub load: String,
    /// Name and version of what was compared.
    pub versions: Vec<(&'static str, String)>,
}

impl Machine {
    pub fn describe() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            date: output("date", &["-u", "+%Y-%m-%d"]),
            commit: output("git", &["rev-parse", "--short", "HEAD"]),
            processor: processor
                .unwrap_or_default()
                .trim_matches([':', ' ', '\t'])
                .to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease"),
            is_virtual: cpuinfo.contains(" hypervisor"),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            versions: versions(),
        }
    }

    /// One paragraph for a report.
    pub fn words(&self) -> String {
        let Self {
            date,
            commit,
            processor,
            cores,
            kernel,
            load,
            ..
        } = self;
        let kind = if self.is_virtual {
            "virtual machine"
        } else {
            "bare metal"
        };
        let versions = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"));
        let versions = versions.collect::<Vec<_>>().join(", ");
        format!(
            "{date}, commit {commit}. {processor}, {cores} cores, {kind}, Linux {kernel}; \
             load average {load} at the start. {versions}."
        )
    }
}

fn versions() -> Vec<(&'static str, String)> {
    let built = [
        ("compiler", env!("RUSTC_VERSION"), ""),
        ("C compiler", env!("CC_VERSION"), env!("RIVAL_C_MISSING")),
        ("Java", env!("JAVA_VERSION"), env!("RIVAL_NETTY_MISSING")),
        ("Go", env!("GO_VERSION"), env!("RIVAL_GO_MISSING")),
    ];
    let linked = [
        "netwheel",
        "mio",
        "tokio",
        "tokio-util",
        "rustls",
        "tokio-rustls",
        "crossbeam-channel",
    ];
    let linked = linked
        .into_iter()
        .filter_map(|name| Some((name, locked(name)?)));
    let built = built.into_iter().filter(|(.., missing)| missing.is_empty());
    linked
        .chain(built.map(|(name, version, _)| (name, version.to_owned())))
        .collect()
}

/// A package's version in the lock file.
fn locked(package: &str) -> Option<String> {
    let (_, rest) = LOCK.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0.to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tokio 1.51.0 to 1.52.1 regressed (tokio issue 8065): comparing with those would flatter us.
    #[test]
    fn tokio_is_a_good_version() {
        let version = locked("tokio").expect("tokio is locked");
        let mut parts = version
            .split('.')
            .filter_map(|part| part.parse::<u32>().ok());
        let version = (parts.next(), parts.next(), parts.next());
        assert!(version >= (Some(1), Some(53), Some(1)), "{version:?}");
    }
}
