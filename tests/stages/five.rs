//! The order of events through five stages, while stages come and go.

use bytes::Bytes;
use netwheel::testing::Harness;
use netwheel::{CloseReason, Event, Flow, Pipeline, Result, Stage};

use crate::{Cx, Log};

/// Notes all that passes; does what messages that name it say.
struct Place(&'static str, Log);

impl Place {
    fn note(&self, what: &str) {
        self.1.note(format!("{}{what}", self.0));
    }
}

fn text(message: &Bytes) -> &str {
    std::str::from_utf8(message).expect("the tests send text")
}

impl Stage<Bytes, Bytes> for Place {
    fn on_open(&mut self, _: &mut Cx<'_>) -> Result<()> {
        self.note("+");
        Ok(())
    }

    fn on_inbound(&mut self, cx: &mut Cx<'_>, message: &mut Bytes) -> Result<Flow> {
        self.note("<");
        let log = self.1.clone();
        match text(message).strip_prefix(self.0) {
            Some(".fire") => cx.fire(self.0),
            Some(".inject") => cx.inject("more".into()),
            Some(".write") => cx.write("note".into())?,
            Some(".stop") => return Ok(Flow::Stop),
            Some(".take") => return Ok(Flow::Take),
            Some(".leave") => drop(cx.pipeline().remove(self.0)),
            Some(".hire") => {
                cx.pipeline()
                    .add_before(self.0, "x", Self("x", log.clone()))
                    .add_after(self.0, "y", Self("y", log));
            }
            Some(".swap") => drop(cx.pipeline().replace(self.0, "z", Self("z", log))),
            _ => {}
        }
        Ok(Flow::Next)
    }

    fn on_taken(&mut self, cx: &mut Cx<'_>, message: Bytes) -> Result<()> {
        self.note("=");
        cx.write(message)
    }

    fn on_outbound(&mut self, _: &mut Cx<'_>, _: &mut Bytes) -> Result<Flow> {
        self.note(">");
        Ok(Flow::Next)
    }

    fn on_event(&mut self, _: &mut Cx<'_>, event: &Event) -> Result<Flow> {
        let told = event
            .user::<&str>()
            .map_or_else(|| format!("{event:?}"), |text| (*text).to_owned());
        self.note(&format!("({told})"));
        Ok(Flow::Next)
    }

    fn on_removed(&mut self, _: &mut Cx<'_>) {
        self.note("-");
    }

    fn on_close(&mut self, _: &mut Cx<'_>, reason: CloseReason) {
        self.note(&format!("({reason})"));
    }
}

#[test]
fn events_pass_five_stages_in_order_while_stages_come_and_go() {
    let log = Log::default();
    let mut builder = Pipeline::raw();
    for name in ["a", "b", "c", "d", "e"] {
        builder = builder.stage(name, Place(name, log.clone()));
    }
    let mut harness = Harness::new(builder.handle(|cx, bytes| cx.write(bytes)));
    assert_eq!(log.take(), "a+ b+ c+ d+ e+");
    // One read each; the raw codec makes one message of it.
    let steps = [
        ("plain", "a< b< c< d< e< e> d> c> b> a>"),
        ("c.stop", "a< b< c<"),
        ("c.take", "a< b< c< c= b> a>"),
        ("c.write", "a< b< c< b> a> d< e< e> d> c> b> a>"),
        ("b.fire", "a< b< c< d< e< e> d> c> b> a> c(b) d(b) e(b)"),
        (
            "d.inject",
            "a< b< c< d< e< e> d> c> b> a> e< e> d> c> b> a>",
        ),
        ("b.leave", "a< b< c< d< e< e> d> c> b> a> b-"),
        ("b.stop", "a< c< d< e< e> d> c> a>"),
        ("d.hire", "a< c< d< e< e> d> c> a> x+ y+"),
        ("plain", "a< c< x< d< y< e< e> y> d> x> c> a>"),
        (
            "x.fire",
            "a< c< x< d< y< e< e> y> d> x> c> a> d(x) y(x) e(x)",
        ),
        ("a.swap", "a< c< x< d< y< e< e> y> d> x> c> a> a- z+"),
        ("x.leave", "z< c< x< d< y< e< e> y> d> x> c> z> x-"),
        ("e.leave", "z< c< d< y< e< e> y> d> c> z> e-"),
        ("plain", "z< c< d< y< y> d> c> z>"),
    ];
    for (message, happens) in steps {
        harness.receive(message.as_bytes());
        assert_eq!(log.take(), happens, "{message}");
    }
    harness.shutdown();
    assert_eq!(
        log.take(),
        "z(ShuttingDown) c(ShuttingDown) d(ShuttingDown) y(ShuttingDown) \
         y(shutdown) d(shutdown) c(shutdown) z(shutdown)"
    );
}
