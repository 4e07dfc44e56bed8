//! What one dial of a client needs: a pipeline that is tied to the outbox of its handle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use log::info;

use crate::address::Place;
use crate::connection::Service;
use crate::error::{CloseReason, Error};
use crate::handle::Outbox;
use crate::net::Net;
use crate::options::Options;
use crate::pipeline::{AnyPipeline, Pipeline};
use crate::schedule::TaskId;

/// Makes the pipeline of a connection, on its worker, and ties it to an outbox.
pub(super) type Make<Out> = Arc<dyn Fn(&Arc<Outbox<Out>>) -> AnyPipeline + Send + Sync>;

/// Forgets what the pipelines of a factory take in. Connections that were not used for `idle` close.
pub(super) fn make_by<In, Out, F>(factory: &Arc<F>, idle: Option<Duration>) -> Make<Out>
where
    In: 'static,
    Out: Send + 'static,
    F: Fn() -> Pipeline<In, Out> + Send + Sync + 'static,
{
    let factory = Arc::clone(factory);
    Arc::new(move |outbox| {
        let mut pipeline = factory();
        if let Some(idle) = idle {
            pipeline.close_when_disused(idle);
        }
        pipeline.adopt(Arc::clone(outbox))
    })
}

/// The service of one connection; however it ends, and if it never begins, the outbox ends with it.
pub(super) fn service_of<Out: Send + 'static>(
    make: &Make<Out>,
    outbox: &Arc<Outbox<Out>>,
    options: &Options,
) -> Arc<Service> {
    let (make, outbox) = (Arc::clone(make), Abandoned(Arc::clone(outbox)));
    let factory = move |_peer: &_| {
        let doomed = Doomed(&outbox.0);
        let pipeline = make(&outbox.0);
        std::mem::forget(doomed);
        pipeline
    };
    Service::new(Box::new(factory), options.clone())
}

/// The only dial of a client that dials once.
pub(super) struct FirstDial<Out> {
    pub(super) net: Net,
    pub(super) options: Options,
    pub(super) connect_timeout: Duration,
    pub(super) make: Make<Out>,
    pub(super) outbox: Arc<Outbox<Out>>,
}

impl<Out: Send + 'static> FirstDial<Out> {
    pub(super) fn dial(&self, to: &Place) -> Result<(), Error> {
        let service = service_of(&self.make, &self.outbox, &self.options);
        let network = self.net.network();
        network
            .connect(to, &service, self.connect_timeout)
            .inspect_err(|_| {
                self.outbox.shut_down(CloseReason::Refused);
            })
    }

    /// Dials the first address of a name, once that is known, unless it takes too long.
    pub(super) fn look_up(self, host: String, port: u16) -> Result<(), Error> {
        let (net, timeout) = (self.net.clone(), self.connect_timeout);
        let (late, name) = (Arc::clone(&self.outbox), host.clone());
        let give_up = move || {
            info!(target: "netwheel::client", "no answer to {name} within {timeout:?}");
            late.shut_down(CloseReason::HandshakeTimeout);
        };
        let network = net.network();
        let task = network
            .schedule(timeout, Box::new(give_up))
            .map_err(|(error, _)| error)?;
        let first = Unanswered(Some(self));
        let done = move |found| first.answered(task, found);
        network.resolve(&host, port, timeout, Box::new(done));
        Ok(())
    }
}

/// A dial that waits for its address. Dropped before it has come, the network has ended.
struct Unanswered<Out: Send + 'static>(Option<FirstDial<Out>>);

impl<Out: Send + 'static> Unanswered<Out> {
    fn answered(mut self, late: TaskId, found: Result<Vec<SocketAddr>, Error>) {
        let Some(first) = self.0.take() else { return };
        first.net.network().cancel(late);
        if first.outbox.is_ending() {
            // Closed meanwhile, or given up: nobody is dialled.
            first.outbox.shut_down(CloseReason::Local);
            return;
        }
        if let Err(error) = found.and_then(|found| first.dial(&Place::Inet(found[0]))) {
            info!(target: "netwheel::client", "{error}");
            first.outbox.shut_down(CloseReason::Refused);
        }
    }
}

impl<Out: Send + 'static> Drop for Unanswered<Out> {
    fn drop(&mut self) {
        if let Some(first) = &self.0 {
            first.outbox.shut_down(CloseReason::Shutdown);
        }
    }
}

/// Ends the handle of a connect whose factory panics: it is dropped only then.
struct Doomed<'a, Out>(&'a Outbox<Out>);

impl<Out> Drop for Doomed<'_, Out> {
    fn drop(&mut self) {
        self.0.shut_down(CloseReason::Panic);
    }
}

/// Ends the handle of a connect whose socket was dropped before a worker made a connection of it.
struct Abandoned<Out>(Arc<Outbox<Out>>);

impl<Out> Drop for Abandoned<Out> {
    fn drop(&mut self) {
        self.0.shut_down(CloseReason::Shutdown);
    }
}
