//! Messages there and back through Python's modules.
//!
//! Needs `python3`, and its module `google.protobuf` for protobuf.

use std::process::Command;

use netwheel::RunningServer;

use crate::util;

/// Whether Python is there, with a module.
fn python_has(module: &str) -> bool {
    let import = format!("import {module}");
    let output = Command::new("python3").args(["-c", &import]).output();
    let found = output.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: python3 with the module {module} is not installed");
    }
    found
}

/// Runs a program of Python, which is given the server's port and fails where an answer is not the expected one.
fn run_python(program: &str, server: RunningServer) {
    let port = server.address().port().to_string();
    let output = Command::new("python3")
        .args(["-c", program, &port])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    util::end(server);
}

/// What every program begins with: a socket, and as many bytes of it as are asked for.
const SOCKET: &str = "
import socket, struct, sys
peer = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=20)
def take(count):
    data = b''
    while len(data) < count:
        more = peer.recv(count - len(data))
        assert more, 'the server has closed'
        data += more
    return data
";

#[test]
fn python_reads_our_gzip_and_json_and_we_its() {
    use netwheel::codec::{Gzip, Json, LengthField};
    use netwheel::{Framing, Pipeline};

    const PROGRAM: &str = "
import gzip, json, os
for size in (0, 1, 100, 300_000):
    text = 'ü\\n\"' + os.urandom(size).hex()
    packed = gzip.compress(json.dumps([size, text]).encode())
    peer.sendall(struct.pack('>I', len(packed)) + packed)
    answer = json.loads(gzip.decompress(take(struct.unpack('>I', take(4))[0])))
    assert answer == {'id': size, 'text': text}, answer
";

    #[derive(serde::Serialize)]
    struct Answer {
        id: u64,
        text: String,
    }

    if !python_has("gzip") {
        return;
    }
    let server = util::serve(1, |_| {
        let messages = Gzip::new(Json::<(u64, String), Answer>::new());
        Pipeline::new(LengthField::u32().then(messages))
            .handle(|cx, (id, text)| cx.write(Answer { id, text }))
    });
    run_python(&format!("{SOCKET}{PROGRAM}"), server);
}

#[test]
fn python_reads_our_protobuf_and_we_its() {
    use netwheel::codec::{Protobuf, Varint32};
    use netwheel::{Framing, Pipeline};

    const PROGRAM: &str = "
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
Field = descriptor_pb2.FieldDescriptorProto
file = descriptor_pb2.FileDescriptorProto(name='ask.proto', package='test', syntax='proto3')
ask = file.message_type.add(name='Ask')
def field(name, number, kind, label=Field.LABEL_OPTIONAL, of=None):
    ask.field.add(name=name, number=number, type=kind, label=label, type_name=of)
field('id', 1, Field.TYPE_SINT64)
field('text', 2, Field.TYPE_STRING)
field('list', 3, Field.TYPE_UINT32, Field.LABEL_REPEATED)
field('ratio', 4, Field.TYPE_DOUBLE)
field('inner', 5, Field.TYPE_MESSAGE, of='.test.Ask')
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
Ask = message_factory.GetMessageClass(pool.FindMessageTypeByName('test.Ask'))
def varint(value):
    out = b''
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])
def length():
    value = shift = 0
    while True:
        byte = take(1)[0]
        value, shift = value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value
for size in (0, 1, 127, 128, 20_000, 300_000):
    sent = Ask(id=-size, text='ü' * size, list=range(size % 1000), ratio=size / 7)
    sent.inner.id = -2**63
    data = sent.SerializeToString()
    peer.sendall(varint(len(data)) + data)
    got = Ask.FromString(take(length()))
    sent.id = -sent.id
    assert got == sent, (size, got)
";

    #[derive(Clone, PartialEq, prost::Message)]
    struct Ask {
        #[prost(sint64, tag = "1")]
        id: i64,
        #[prost(string, tag = "2")]
        text: String,
        #[prost(uint32, repeated, tag = "3")]
        list: Vec<u32>,
        #[prost(double, tag = "4")]
        ratio: f64,
        #[prost(message, optional, boxed, tag = "5")]
        inner: Option<Box<Self>>,
    }

    if !python_has("google.protobuf") {
        return;
    }
    let server = util::serve(1, |_| {
        Pipeline::new(Varint32::new().then(Protobuf::<Ask, Ask>::new())).handle(|cx, mut ask| {
            ask.id = -ask.id;
            cx.write(ask)
        })
    });
    run_python(&format!("{SOCKET}{PROGRAM}"), server);
}
