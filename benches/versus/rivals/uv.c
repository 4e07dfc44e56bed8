/* libuv as a rival: raw echo, one loop, one shared read buffer, `uv_try_write` before a queued write.
 *
 * It speaks the command line of every rival (see ../README.md), and knows mode raw only. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct rest {
    uv_write_t request;
    char data[];
};

static size_t buffer_len = 65536;
static char *buffer;

static void check(int result, const char *what) {
    if (result >= 0) return;
    fprintf(stderr, "%s: %s\n", what, uv_strerror(result));
    exit(1);
}

static void *allocate(size_t len) {
    void *data = malloc(len);
    if (!data) abort();
    return data;
}

static void on_closed(uv_handle_t *handle) { free(handle); }

/* Safe with one buffer for all: what is not written at once is copied before the next read. */
static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    (void)handle;
    (void)suggested;
    *out = uv_buf_init(buffer, (unsigned)buffer_len);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *in);

/* A peer that did not read was not read from. */
static void on_written(uv_write_t *request, int status) {
    if (status == 0) uv_read_start(request->handle, on_allocate, on_read);
    free(request);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *in) {
    if (count < 0) {
        uv_close((uv_handle_t *)stream, on_closed);
        return;
    }
    if (count == 0) return;
    uv_buf_t out = uv_buf_init(in->base, (unsigned)count);
    int written = uv_try_write(stream, &out, 1);
    if (written < 0) written = 0;
    if (written == count) return;
    size_t len = (size_t)(count - written);
    struct rest *rest = allocate(sizeof *rest + len);
    memcpy(rest->data, in->base + written, len);
    out = uv_buf_init(rest->data, (unsigned)len);
    uv_read_stop(stream);
    check(uv_write(&rest->request, stream, &out, 1, on_written), "write");
}

static void on_connection(uv_stream_t *listener, int status) {
    check(status, "accept");
    uv_tcp_t *connection = allocate(sizeof *connection);
    uv_tcp_init(listener->loop, connection);
    check(uv_accept(listener, (uv_stream_t *)connection), "accept");
    uv_tcp_nodelay(connection, 1);
    uv_read_start((uv_stream_t *)connection, on_allocate, on_read);
}

int main(int argc, char **argv) {
    char host[64] = "127.0.0.1";
    int port = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--buffer")) buffer_len = (size_t)atol(argv[i + 1]);
        else if (!strcmp(argv[i], "--listen")) sscanf(argv[i + 1], "%63[^:]:%d", host, &port);
    }
    signal(SIGPIPE, SIG_IGN);
    buffer = allocate(buffer_len);
    uv_tcp_t listener;
    struct sockaddr_in name;
    struct sockaddr_storage bound;
    int len = sizeof bound;
    check(uv_ip4_addr(host, port, &name), "--listen");
    uv_tcp_init(uv_default_loop(), &listener);
    check(uv_tcp_bind(&listener, (struct sockaddr *)&name, 0), "bind");
    check(uv_listen((uv_stream_t *)&listener, 1024, on_connection), "listen");
    check(uv_tcp_getsockname(&listener, (struct sockaddr *)&bound, &len), "listen");
    printf("listening on %s:%d\n", host, ntohs(((struct sockaddr_in *)&bound)->sin_port));
    fflush(stdout);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
