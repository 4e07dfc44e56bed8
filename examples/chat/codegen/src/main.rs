//! Writes `src/protocol/schema.rs` from `proto/chat.proto`, without a `protoc` of the system:
//!
//! ```sh
//! cargo run --manifest-path examples/chat/codegen/Cargo.toml && cargo fmt -p chat
//! ```

use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let proto = package.join("proto");
    let descriptors = protox::compile([proto.join("chat.proto")], [&proto])?;
    let out = package.join("src/protocol");
    prost_build::Config::new()
        .out_dir(&out)
        .compile_fds(descriptors)?;
    fs::rename(out.join("netwheel.chat.rs"), out.join("schema.rs"))?;
    Ok(())
}
