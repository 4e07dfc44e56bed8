//! What one dial of a client needs: a pipeline that is tied to the outbox of its handle.

use std::sync::Arc;

use crate::connection::Service;
use crate::error::CloseReason;
use crate::handle::Outbox;
use crate::options::Options;
use crate::pipeline::{AnyPipeline, Pipeline};

/// Makes the pipeline of a connection, on its worker, and ties it to an outbox.
pub(super) type Make<Out> = Arc<dyn Fn(&Arc<Outbox<Out>>) -> AnyPipeline + Send + Sync>;

/// Forgets what the pipelines of a factory take in.
pub(super) fn make_by<In, Out, F>(factory: &Arc<F>) -> Make<Out>
where
    In: 'static,
    Out: Send + 'static,
    F: Fn() -> Pipeline<In, Out> + Send + Sync + 'static,
{
    let factory = Arc::clone(factory);
    Arc::new(move |outbox| factory().adopt(Arc::clone(outbox)))
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
