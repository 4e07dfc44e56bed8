// Netty's side of tests/interop/netty.rs: an echo server for each framing that it is told.
//
//   java -cp JARS tests/interop/NettyEcho.java FRAMING..
//
// Prints a port for each, and runs until its input ends.

import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.DelimiterBasedFrameDecoder;
import io.netty.handler.codec.FixedLengthFrameDecoder;
import io.netty.handler.codec.LengthFieldBasedFrameDecoder;
import io.netty.handler.codec.LengthFieldPrepender;
import io.netty.handler.codec.LineBasedFrameDecoder;
import io.netty.handler.codec.MessageToByteEncoder;
import io.netty.handler.codec.protobuf.ProtobufVarint32FrameDecoder;
import io.netty.handler.codec.protobuf.ProtobufVarint32LengthFieldPrepender;
import java.net.InetSocketAddress;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

public class NettyEcho {
    static final int MAX = 2 << 20;

    public static void main(String[] framings) throws Exception {
        NioEventLoopGroup group = new NioEventLoopGroup(1);
        for (String framing : framings) {
            Channel listener = new ServerBootstrap().group(group).channel(NioServerSocketChannel.class)
                .childHandler(new ChannelInitializer<Channel>() {
                    protected void initChannel(Channel channel) {
                        frame(channel.pipeline(), framing.split(" "));
                        channel.pipeline().addLast(new Echo());
                    }
                }).bind("127.0.0.1", 0).sync().channel();
            System.out.println(((InetSocketAddress) listener.localAddress()).getPort());
        }
        while (System.in.read() >= 0) { }
        System.exit(0);
    }

    // KIND ARGUMENTS..; `kept` frames carry their header, and come back with a length of four bytes.
    static void frame(ChannelPipeline pipeline, String[] words) {
        int[] n = Arrays.stream(words).skip(1).mapToInt(NettyEcho::number).toArray();
        switch (words[0]) {
            case "prefix": { // little-endian, width, includes the length
                ByteOrder order = n[0] == 1 ? ByteOrder.LITTLE_ENDIAN : ByteOrder.BIG_ENDIAN;
                int adjustment = n[2] == 1 ? -n[1] : 0;
                pipeline.addLast(new LengthFieldBasedFrameDecoder(order, MAX, 0, n[1], adjustment, n[1], true));
                pipeline.addLast(new LengthFieldPrepender(order, n[1], 0, n[2] == 1));
                break;
            }
            case "kept": // offset, width, adjustment
                pipeline.addLast(new LengthFieldBasedFrameDecoder(MAX, n[0], n[1], n[2], 0));
                pipeline.addLast(new LengthFieldPrepender(4));
                break;
            case "varint":
                pipeline.addLast(new ProtobufVarint32FrameDecoder());
                pipeline.addLast(new ProtobufVarint32LengthFieldPrepender());
                break;
            case "fixed":
                pipeline.addLast(new FixedLengthFrameDecoder(n[0]));
                break;
            case "lines":
                pipeline.addLast(new LineBasedFrameDecoder(MAX));
                pipeline.addLast(new Suffix(words[1].equals("crlf") ? "\r\n" : "\n"));
                break;
            case "delimiters": {
                ByteBuf[] ends = Arrays.stream(words).skip(1)
                    .map(word -> Unpooled.copiedBuffer(word, StandardCharsets.UTF_8)).toArray(ByteBuf[]::new);
                pipeline.addLast(new DelimiterBasedFrameDecoder(MAX, ends));
                pipeline.addLast(new Suffix(words[1]));
                break;
            }
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    static int number(String word) {
        return word.matches("-?[0-9]+") ? Integer.parseInt(word) : 0;
    }

    static class Suffix extends MessageToByteEncoder<ByteBuf> {
        final byte[] bytes;

        Suffix(String text) {
            bytes = text.getBytes(StandardCharsets.UTF_8);
        }

        protected void encode(ChannelHandlerContext context, ByteBuf message, ByteBuf out) {
            out.writeBytes(message).writeBytes(bytes);
        }
    }

    static class Echo extends ChannelInboundHandlerAdapter {
        public void channelRead(ChannelHandlerContext context, Object message) {
            context.write(message);
        }

        public void channelReadComplete(ChannelHandlerContext context) {
            context.flush();
        }

        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            cause.printStackTrace();
            context.close();
        }
    }
}
