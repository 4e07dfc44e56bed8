// Netty's side of tests/interop/netty.rs: an echo server for each framing that it is told, or a client of an
// echo server for each.
//
//   java -cp JARS tests/interop/NettyEcho.java FRAMING..
//   java -cp JARS tests/interop/NettyEcho.java client SIZES [PORT FRAMING]..
//
// The servers print a port each, and run until their input ends. The client prints how many messages of each
// framing came back as they were sent; those that a framing cannot carry are not sent.

import io.netty.bootstrap.Bootstrap;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.channel.socket.nio.NioSocketChannel;
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
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

public class NettyEcho {
    static final int MAX = 2 << 20;

    public static void main(String[] arguments) throws Exception {
        try {
            if (arguments[0].equals("client")) {
                client(arguments);
            } else {
                serve(arguments);
            }
            System.exit(0);
        } catch (Throwable failure) {
            // Its threads would keep the program alive.
            failure.printStackTrace();
            System.exit(1);
        }
    }

    static void client(String[] arguments) throws Exception {
        int[] sizes = Arrays.stream(arguments[1].split(",")).mapToInt(Integer::parseInt).toArray();
        NioEventLoopGroup group = new NioEventLoopGroup(1);
        for (int at = 2; at < arguments.length; at += 2) {
            String framing = arguments[at + 1];
            BlockingQueue<byte[]> back = new LinkedBlockingQueue<>();
            Channel channel = new Bootstrap().group(group).channel(NioSocketChannel.class)
                .handler(new ChannelInitializer<Channel>() {
                    protected void initChannel(Channel channel) {
                        frame(channel.pipeline(), framing.split(" "));
                        channel.pipeline().addLast(new Collect(back));
                    }
                }).connect("127.0.0.1", Integer.parseInt(arguments[at])).sync().channel();
            int came = 0;
            for (int size : sizes) {
                if (framing.startsWith("fixed") && !framing.equals("fixed " + size)) {
                    continue; // it has no encoder that would pad
                }
                byte[] message = new byte[size];
                Arrays.fill(message, (byte) ('a' + size % 26));
                if (!channel.writeAndFlush(Unpooled.wrappedBuffer(message)).await().isSuccess()) {
                    continue;
                }
                byte[] answer = back.poll(30, TimeUnit.SECONDS);
                if (!Arrays.equals(message, answer)) {
                    throw new IllegalStateException(framing + ": " + size + " bytes did not come back");
                }
                came++;
            }
            channel.close().sync();
            System.out.println(came);
        }
    }

    static void serve(String[] framings) throws Exception {
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

    static class Collect extends SimpleChannelInboundHandler<ByteBuf> {
        final BlockingQueue<byte[]> messages;

        Collect(BlockingQueue<byte[]> messages) {
            this.messages = messages;
        }

        protected void channelRead0(ChannelHandlerContext context, ByteBuf message) {
            byte[] bytes = new byte[message.readableBytes()];
            message.readBytes(bytes);
            messages.add(bytes);
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
