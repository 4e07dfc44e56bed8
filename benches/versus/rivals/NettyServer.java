import io.netty.bootstrap.ServerBootstrap;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.LengthFieldBasedFrameDecoder;
import io.netty.handler.codec.LengthFieldPrepender;
import io.netty.util.concurrent.DefaultEventExecutorGroup;
import io.netty.util.concurrent.EventExecutorGroup;
import java.net.InetSocketAddress;
import java.util.HashMap;
import java.util.Map;

/**
 * Netty as a rival, as its user guide has it: write per message, one flush when the read is complete.
 *
 * <p>It speaks the command line of every rival (see ../README.md); the read buffer is Netty's own, adaptive.
 */
public final class NettyServer {
    private static final int FRAME_BYTES_MAX = 16 << 20;

    private static final class Echo extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            context.write(message, context.voidPromise());
        }

        @Override
        public void channelReadComplete(ChannelHandlerContext context) {
            context.flush();
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            context.close();
        }
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int i = 0; i + 1 < arguments.length; i += 2) options.put(arguments[i], arguments[i + 1]);
        String mode = options.getOrDefault("--mode", "raw");
        String[] listen = options.getOrDefault("--listen", "127.0.0.1:0").split(":");
        int workers = Integer.parseInt(options.getOrDefault("--workers", "1"));
        int pool = Integer.parseInt(options.getOrDefault("--pool", "4"));

        EventLoopGroup acceptor = new NioEventLoopGroup(1);
        EventLoopGroup loops = new NioEventLoopGroup(workers);
        EventExecutorGroup business = mode.equals("pool") ? new DefaultEventExecutorGroup(pool) : null;
        ChannelInitializer<SocketChannel> initializer = new ChannelInitializer<>() {
            @Override
            protected void initChannel(SocketChannel channel) {
                ChannelPipeline pipeline = channel.pipeline();
                if (!mode.equals("raw")) {
                    pipeline.addLast(new LengthFieldBasedFrameDecoder(FRAME_BYTES_MAX, 0, 4, 0, 4));
                    pipeline.addLast(new LengthFieldPrepender(4));
                }
                // A null group means the channel's own loop.
                pipeline.addLast(business, new Echo());
            }
        };
        Channel listener = new ServerBootstrap()
            .group(acceptor, loops)
            .channel(NioServerSocketChannel.class)
            .option(ChannelOption.SO_BACKLOG, 1024)
            .childOption(ChannelOption.TCP_NODELAY, true)
            .childHandler(initializer)
            .bind(listen[0], Integer.parseInt(listen[1]))
            .sync()
            .channel();
        InetSocketAddress bound = (InetSocketAddress) listener.localAddress();
        System.out.println("listening on " + listen[0] + ":" + bound.getPort());
        listener.closeFuture().sync();
    }
}
