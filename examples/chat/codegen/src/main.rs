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
    let code = fs::read_to_string(out.join("netwheel.chat.rs"))?;
    fs::remove_file(out.join("netwheel.chat.rs"))?;
    let sum = sum(&fs::read(proto.join("chat.proto"))?);
    let head = format!("// Of a chat.proto with the sum {sum:016x}, which a test compares.\n");
    fs::write(out.join("schema.rs"), head + &code)?;
    Ok(())
}

/// FNV-1a, of 64 bits.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
