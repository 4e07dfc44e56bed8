//! The life of a server: listen, say so, keep figures, drain when told to.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use log::{info, warn};
use netwheel::{ErrorKind, HasPipeline, Server, Stats};

use super::flags::ServerFlags;
use super::signals::stop_signals;
use super::stats_file::StatsFile;
use super::{Outcome, say};

/// Time between two writings of the stats file.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// Runs `server` with these flags until SIGINT or SIGTERM, then drains it.
///
/// `complete` adds to the figures what only the program knows.
pub(crate) fn serve(
    flags: &ServerFlags,
    server: Server<HasPipeline>,
    complete: impl Fn(&mut Stats),
) -> Outcome {
    let signals = stop_signals()?;
    let server = listen(flags, server)?.start()?;
    let net = server.net().clone();
    let file = flags.stats_file.as_deref().map(StatsFile::new);
    let keep_figures = || {
        let mut stats = net.stats();
        complete(&mut stats);
        file.as_ref().map_or(Ok(()), |file| file.write(&stats))
    };

    #[cfg(feature = "admin")]
    let _admin = show(flags, &net)?;
    keep_figures()?;
    for place in server.places() {
        say(format_args!("listening on {place}"));
    }
    let signal = loop {
        match signals.recv_timeout(STATS_INTERVAL) {
            Ok(signal) => break signal,
            Err(RecvTimeoutError::Timeout) => {
                keep_figures().unwrap_or_else(|error| warn!("{error}"));
            }
            Err(RecvTimeoutError::Disconnected) => return Err("the signal thread has died".into()),
        }
    };
    info!("{signal}: draining for at most {:?}", flags.drain());
    let report = server.shutdown(flags.drain());
    info!(
        "stopped after {:?}: {} connections drained, {} cut off",
        report.elapsed, report.drained, report.aborted
    );
    keep_figures()?;
    Ok(())
}

/// The admin listener, where the flags ask for one; what it shows to a browser is at the address in the log.
#[cfg(feature = "admin")]
fn show(
    flags: &ServerFlags,
    net: &netwheel::Net,
) -> Result<Option<netwheel::RunningServer>, String> {
    let Some(place) = &flags.admin else {
        return Ok(None);
    };
    let admin = netwheel::Admin::on(net).listen(place);
    let admin = admin.map_err(|error| format!("{error} (--admin)"))?;
    for place in admin.places() {
        info!("metrics and connections at http://{place}/");
    }
    Ok(Some(admin))
}

fn listen(flags: &ServerFlags, server: Server<HasPipeline>) -> Result<Server<HasPipeline>, String> {
    let mut server = server.reactor(flags.reactor()).reuse_port(flags.reuse_port);
    for place in &flags.listen {
        server = server.listen(place).map_err(|error| match error.kind() {
            ErrorKind::Address => {
                format!("{error}; give --listen another address (port 0: any free port)")
            }
            _ => format!("{error}; give --listen an address that this user may listen on"),
        })?;
    }
    Ok(server)
}
