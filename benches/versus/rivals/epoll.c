/* The limit: a hand-written epoll echo server, raw, framed, framed with a pool of threads,
 * datagrams, and links of the private stack.
 *
 * It speaks the same command line as every rival (see ../README.md):
 *   epoll_server --listen 127.0.0.1:0 --mode raw|framed|pool|udp|link --workers 1 --pool 4 --buffer 65536 --spin 0
 *
 * Edge-triggered, registered once for both directions, one shared read buffer per worker, a short read ends
 * the reading, one write per readable connection and turn. Frames have a 4-byte big-endian length.
 * Links: every login is accepted, pings and questions are answered, nobody is watched. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 4, EVENTS = 256, THREADS_MAX = 16, FRAME_MAX = 16 << 20, LINK_FRAME_MAX = 1 << 20 };
enum { LINK_HEADER = 22, LINK_LENGTH_AT = 4, LINK_TYPE_AT = 16 };
enum { QUESTION, ANSWER, ONE_WAY, LOGIN, LOGIN_ANSWER, PING, PONG };
enum mode { RAW, FRAMED, POOL, UDP, LINK };

/* Bytes a connection keeps between turns: an unfinished frame, or output the socket did not take. */
struct bytes {
    char *data;
    size_t len, cap;
};

struct connection {
    int fd;              /* -1 once closed; freed when the last job has come back */
    unsigned lane;       /* its pool thread: one thread per connection keeps the order */
    unsigned jobs;       /* handed to the pool and not yet answered */
    uint64_t heard;      /* messages since the last question of nothing, in mode link */
    struct bytes in, out;
};

/* All frames of one connection and one turn. */
struct job {
    struct job *next;
    struct worker *worker;
    struct connection *connection;
    size_t len;
    char data[];
};

struct list {
    struct job *head, **tail;
};

struct worker {
    pthread_t thread;
    int epoll, wake;
    char *buffer;
    struct bytes answer;             /* frames encoded in this turn */
    struct list lanes[THREADS_MAX];  /* jobs of this turn, one list per pool thread */
    pthread_mutex_t lock;            /* guards `done` */
    struct list done;
};

struct lane {
    pthread_t thread;
    pthread_mutex_t lock; /* guards `jobs` and `sleeping` */
    pthread_cond_t ready;
    bool sleeping;
    struct list jobs;
};

static enum mode mode = RAW;
static unsigned workers_len = 1, lanes_len = 4;
static size_t buffer_len = 65536;
static long spin_us = 0;
static int listener = -1;
static struct worker workers[THREADS_MAX];
static struct lane lanes[THREADS_MAX];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void *grow(void *data, size_t len) {
    void *grown = realloc(data, len);
    if (!grown) die("realloc");
    return grown;
}

static void list_clear(struct list *list) {
    list->head = NULL;
    list->tail = &list->head;
}

static void list_push(struct list *list, struct job *job) {
    job->next = NULL;
    *list->tail = job;
    list->tail = &job->next;
}

static void list_splice(struct list *to, struct list *from) {
    *to->tail = from->head;
    to->tail = from->tail;
    list_clear(from);
}

static struct job *list_take(struct list *list) {
    struct job *head = list->head;
    list_clear(list);
    return head;
}

static void bytes_append(struct bytes *bytes, const char *data, size_t len) {
    if (bytes->len + len > bytes->cap) {
        bytes->cap = bytes->cap * 2 > bytes->len + len ? bytes->cap * 2 : bytes->len + len;
        bytes->data = grow(bytes->data, bytes->cap);
    }
    memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

/* An idle connection holds no buffer. */
static void bytes_release(struct bytes *bytes) {
    free(bytes->data);
    memset(bytes, 0, sizeof *bytes);
}

static void connection_close(struct connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    bytes_release(&c->in);
    bytes_release(&c->out);
    if (c->jobs == 0) free(c);
}

/* Writes at once and keeps the rest; false when the peer has gone. */
static bool connection_write(struct connection *c, const char *data, size_t len) {
    while (len && c->out.len == 0) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) return false;
        if (n < 0) break;
        data += n;
        len -= (size_t)n;
    }
    if (len) bytes_append(&c->out, data, len);
    return true;
}

static bool connection_flush(struct connection *c) {
    struct bytes rest = c->out;
    memset(&c->out, 0, sizeof c->out);
    bool open = connection_write(c, rest.data, rest.len);
    free(rest.data);
    return open;
}

/* The business work of one frame: echo. */
static void handle(struct bytes *answer, const char *frame, size_t len) {
    bytes_append(answer, frame, len);
}

static uint32_t number_at(const char *data) {
    uint32_t number;
    memcpy(&number, data, sizeof number);
    return ntohl(number);
}

/* Bytes of a link's frame up to its body, or 0 for one that is malformed. */
static size_t link_head(const char *frame, size_t len) {
    size_t at = LINK_HEADER;
    uint32_t attachments = number_at(frame + 18);
    if (attachments > 64) return 0;
    for (uint32_t parts = 2 * attachments; parts; parts--) { /* keys and values */
        if (len - at < 4) return 0;
        uint32_t part = number_at(frame + at);
        if (len - at - 4 < part) return 0;
        at += 4 + part;
    }
    return at;
}

/* An answer: the frame's first `head` bytes, another type, and a body. */
static void link_answer(struct bytes *answer, const char *frame, size_t head, char type, const void *body, size_t len) {
    size_t start = answer->len;
    uint32_t length = htonl((uint32_t)(head + len));
    bytes_append(answer, frame, head);
    bytes_append(answer, body, len);
    memcpy(answer->data + start + LINK_LENGTH_AT, &length, sizeof length);
    answer->data[start + LINK_TYPE_AT] = type;
}

/* One frame of a link; false when it is not to be understood. */
static bool link_handle(struct connection *c, struct bytes *answer, const char *frame, size_t len) {
    size_t head = link_head(frame, len);
    if (!head || memcmp(frame, "\xab\xef\x01", 3)) return false;
    uint64_t heard = htobe64(c->heard);
    char accepted[LINK_HEADER];
    switch (frame[LINK_TYPE_AT]) {
    case QUESTION:
        if (len > head) {
            link_answer(answer, frame, head, ANSWER, frame + head, len - head);
        } else {
            link_answer(answer, frame, head, ANSWER, &heard, sizeof heard);
            c->heard = 0;
        }
        return true;
    case ONE_WAY:
        c->heard++;
        return true;
    case LOGIN:
        memcpy(accepted, frame, LINK_HEADER);
        memset(accepted + 18, 0, 4);
        link_answer(answer, accepted, LINK_HEADER, LOGIN_ANSWER, "", 1);
        return true;
    case PING:
        link_answer(answer, frame, head, PONG, frame, 0);
        return true;
    default:
        return false;
    }
}

/* Answers whole frames of a link. */
static bool link_each(struct connection *c, struct bytes *answer, const char *data, size_t len) {
    for (size_t at = 0; at < len;) {
        uint32_t frame = number_at(data + at + LINK_LENGTH_AT);
        if (!link_handle(c, answer, data + at, frame)) return false;
        at += frame;
    }
    return true;
}

/* The bytes of all whole frames of a link, likewise. */
static ssize_t whole_link_frames(const char *data, size_t len) {
    size_t at = 0;
    while (len - at >= LINK_HEADER) {
        uint32_t frame = number_at(data + at + LINK_LENGTH_AT);
        if (frame < LINK_HEADER || frame > LINK_FRAME_MAX) return -1;
        if (len - at < frame) break;
        at += frame;
    }
    return (ssize_t)at;
}

/* The bytes of all whole frames at the start of `data`, or -1 for a frame that is too long. */
static ssize_t whole_frames(const char *data, size_t len) {
    size_t at = 0;
    while (len - at >= HEADER) {
        uint32_t body;
        memcpy(&body, data + at, HEADER);
        body = ntohl(body);
        if (body > FRAME_MAX) return -1;
        if (len - at - HEADER < body) break;
        at += HEADER + body;
    }
    return (ssize_t)at;
}

static void handle_each(struct bytes *answer, const char *data, size_t len) {
    for (size_t at = 0; at < len;) {
        uint32_t body;
        memcpy(&body, data + at, HEADER);
        body = ntohl(body);
        handle(answer, data + at, HEADER + body);
        at += HEADER + body;
    }
}

static void offload(struct worker *w, struct connection *c, const char *data, size_t len) {
    struct job *job = grow(NULL, sizeof *job + len);
    job->worker = w;
    job->connection = c;
    job->len = len;
    memcpy(job->data, data, len);
    c->jobs++;
    list_push(&w->lanes[c->lane], job);
}

/* One read's worth of input; false when the connection is to be closed. */
static bool ingest(struct worker *w, struct connection *c, const char *data, size_t len) {
    if (mode == RAW) return connection_write(c, data, len);
    bool partial = c->in.len > 0;
    if (partial) {
        bytes_append(&c->in, data, len);
        data = c->in.data;
        len = c->in.len;
    }
    ssize_t whole = mode == LINK ? whole_link_frames(data, len) : whole_frames(data, len);
    if (whole < 0) return false;
    bool open = true;
    if (whole && mode == POOL) {
        offload(w, c, data, (size_t)whole);
    } else if (whole) {
        w->answer.len = 0;
        if (mode != LINK) handle_each(&w->answer, data, (size_t)whole);
        else if (!link_each(c, &w->answer, data, (size_t)whole)) return false;
        open = connection_write(c, w->answer.data, w->answer.len);
    }
    size_t rest = len - (size_t)whole;
    if (!partial) {
        if (rest) bytes_append(&c->in, data + whole, rest);
    } else if (rest) {
        memmove(c->in.data, c->in.data + whole, rest);
        c->in.len = rest;
    } else {
        bytes_release(&c->in);
    }
    return open;
}

static void connection_ready(struct worker *w, struct connection *c, uint32_t events) {
    if (c->out.len && !connection_flush(c)) return connection_close(c);
    /* A peer that does not read is not read from; its next edge is the writable one. */
    while (c->out.len == 0) {
        ssize_t n = read(c->fd, w->buffer, buffer_len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0 || !ingest(w, c, w->buffer, (size_t)n)) return connection_close(c);
        if ((size_t)n < buffer_len && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return;
    }
}

/* Answers what has arrived, until nothing is left. */
static void datagrams_ready(struct worker *w) {
    for (;;) {
        struct sockaddr_in peer;
        socklen_t peer_len = sizeof peer;
        ssize_t n = recvfrom(listener, w->buffer, buffer_len, 0, (struct sockaddr *)&peer, &peer_len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return;
        sendto(listener, w->buffer, (size_t)n, 0, (struct sockaddr *)&peer, peer_len);
    }
}

static void accept_all(void) {
    static unsigned accepted = 0;
    for (int i = 0; i < 64; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        c->lane = accepted % lanes_len;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
        if (epoll_ctl(workers[accepted++ % workers_len].epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
    }
}

/* Hands this turn's jobs over: one lock and at most one wake-up per pool thread. */
static void hand_over(struct worker *w) {
    for (unsigned i = 0; i < lanes_len; i++) {
        if (!w->lanes[i].head) continue;
        pthread_mutex_lock(&lanes[i].lock);
        list_splice(&lanes[i].jobs, &w->lanes[i]);
        bool wake = lanes[i].sleeping;
        lanes[i].sleeping = false;
        pthread_mutex_unlock(&lanes[i].lock);
        if (wake) pthread_cond_signal(&lanes[i].ready);
    }
}

static void take_answers(struct worker *w) {
    uint64_t count;
    if (read(w->wake, &count, sizeof count) < 0 && errno != EAGAIN) die("eventfd");
    pthread_mutex_lock(&w->lock);
    struct job *job = list_take(&w->done);
    pthread_mutex_unlock(&w->lock);
    while (job) {
        struct job *next = job->next;
        struct connection *c = job->connection;
        c->jobs--;
        if (c->fd < 0 || !connection_write(c, job->data, job->len)) connection_close(c);
        free(job);
        job = next;
    }
}

static int wait_spinning(struct worker *w, struct epoll_event *events) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        int n = epoll_wait(w->epoll, events, EVENTS, 0);
        if (n) return n;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((now.tv_sec - start.tv_sec) * 1000000 + (now.tv_nsec - start.tv_nsec) / 1000 >= spin_us) break;
    }
    return epoll_wait(w->epoll, events, EVENTS, -1);
}

static void *worker_run(void *argument) {
    struct worker *w = argument;
    struct epoll_event events[EVENTS];
    for (;;) {
        int n = spin_us ? wait_spinning(w, events) : epoll_wait(w->epoll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        bool answers = false;
        for (int i = 0; i < n; i++) {
            void *source = events[i].data.ptr;
            if (source == &listener && mode == UDP) datagrams_ready(w);
            else if (source == &listener) accept_all();
            else if (source == w) answers = true;
            else connection_ready(w, source, events[i].events);
        }
        /* Last, so that a connection freed here has no event left in the batch. */
        if (answers) take_answers(w);
        if (mode == POOL) hand_over(w);
    }
    return NULL;
}

static void *lane_run(void *argument) {
    struct lane *lane = argument;
    struct bytes answer = {0};
    for (;;) {
        pthread_mutex_lock(&lane->lock);
        while (!lane->jobs.head) {
            lane->sleeping = true;
            pthread_cond_wait(&lane->ready, &lane->lock);
            lane->sleeping = false;
        }
        struct job *job = list_take(&lane->jobs);
        pthread_mutex_unlock(&lane->lock);
        struct list done[THREADS_MAX];
        for (unsigned i = 0; i < workers_len; i++) list_clear(&done[i]);
        while (job) {
            struct job *next = job->next;
            answer.len = 0;
            handle_each(&answer, job->data, job->len);
            memcpy(job->data, answer.data, job->len);
            list_push(&done[job->worker - workers], job);
            job = next;
        }
        for (unsigned i = 0; i < workers_len; i++) {
            if (!done[i].head) continue;
            pthread_mutex_lock(&workers[i].lock);
            bool wake = !workers[i].done.head;
            list_splice(&workers[i].done, &done[i]);
            pthread_mutex_unlock(&workers[i].lock);
            uint64_t one = 1;
            if (wake && write(workers[i].wake, &one, sizeof one) < 0) die("eventfd");
        }
    }
    return NULL;
}

static void worker_open(struct worker *w) {
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->buffer = grow(NULL, buffer_len);
    pthread_mutex_init(&w->lock, NULL);
    list_clear(&w->done);
    for (unsigned i = 0; i < lanes_len; i++) list_clear(&w->lanes[i]);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = w};
    if (w->epoll < 0 || w->wake < 0 || epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->wake, &event) < 0) die("epoll");
}

static void listen_on(const char *address) {
    char host[64];
    const char *colon = strrchr(address, ':');
    struct sockaddr_in name = {.sin_family = AF_INET};
    if (!colon || (size_t)(colon - address) >= sizeof host) die("--listen");
    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    name.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &name.sin_addr) != 1) die("--listen");
    int on = 1;
    socklen_t len = sizeof name;
    int type = mode == UDP ? SOCK_DGRAM : SOCK_STREAM;
    listener = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (mode != UDP) setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* inherited by what it accepts */
    if (bind(listener, (struct sockaddr *)&name, len) < 0) die("bind");
    if (mode != UDP && listen(listener, 1024) < 0) die("listen");
    getsockname(listener, (struct sockaddr *)&name, &len);
    printf("listening on %s:%d\n", host, ntohs(name.sin_port));
    fflush(stdout);
}

static unsigned threads(const char *value) {
    int n = atoi(value);
    return n < 1 ? 1 : n > THREADS_MAX ? THREADS_MAX : (unsigned)n;
}

static enum mode mode_of(const char *word) {
    if (!strcmp(word, "raw")) return RAW;
    if (!strcmp(word, "udp")) return UDP;
    if (!strcmp(word, "link")) return LINK;
    return !strcmp(word, "framed") ? FRAMED : POOL;
}

int main(int argc, char **argv) {
    const char *address = "127.0.0.1:0";
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--listen")) address = value;
        else if (!strcmp(name, "--mode")) mode = mode_of(value);
        else if (!strcmp(name, "--workers")) workers_len = threads(value);
        else if (!strcmp(name, "--pool")) lanes_len = threads(value);
        else if (!strcmp(name, "--buffer")) buffer_len = (size_t)atol(value);
        else if (!strcmp(name, "--spin")) spin_us = atol(value);
    }
    for (unsigned i = 0; i < workers_len; i++) worker_open(&workers[i]);
    for (unsigned i = 0; i < lanes_len; i++) {
        pthread_mutex_init(&lanes[i].lock, NULL);
        pthread_cond_init(&lanes[i].ready, NULL);
        list_clear(&lanes[i].jobs);
        if (mode == POOL && pthread_create(&lanes[i].thread, NULL, lane_run, &lanes[i])) die("pthread_create");
    }
    listen_on(address);
    struct epoll_event event = {.events = mode == UDP ? EPOLLIN | EPOLLET : EPOLLIN, .data.ptr = &listener};
    if (epoll_ctl(workers[0].epoll, EPOLL_CTL_ADD, listener, &event) < 0) die("epoll_ctl");
    for (unsigned i = 1; i < workers_len; i++)
        if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i])) die("pthread_create");
    worker_run(&workers[0]);
}
