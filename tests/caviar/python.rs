//! A client in Python that knows nothing but the documentation: `client.py` beside this file.

use std::process::Command;

use netwheel::Result;
use netwheel::caviar::{RequestContext, SessionContext};

use crate::util::PATIENCE;
use crate::{echo, serve};

/// Echoes, pushes what follows `push `, and asks the client what follows `ask `.
fn talk(session: &SessionContext, request: RequestContext) -> Result<()> {
    let body = request.body().clone();
    if body.starts_with(b"push ") {
        session.push(body.slice(5..))?;
    } else if body.starts_with(b"ask ") {
        let answer = session.ask_and_wait(body.slice(4..), PATIENCE)?;
        return Ok(request.respond(answer)?);
    }
    echo(session, request)
}

#[test]
fn a_client_in_python_speaks_it_from_the_documented_wire_alone() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: python3 is not installed");
        return;
    }
    let server = serve(talk);
    let output = Command::new("python3")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/caviar/client.py"
        ))
        .args(["127.0.0.1", &server.address().port().to_string()])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(server.server().stats().panics, 0);
}
