/* Opens many WebSockets and measures what a server makes of them: echo, broadcast, idle sockets, opening and closing.
 *
 * usage: sockets MODE PORT SOCKETS AMOUNT KIND PAYLOAD-FILE
 *
 * MODE echo: each socket sends the message, waits for the same back, sends again, for AMOUNT seconds.
 * MODE broadcast: one more socket publishes (path /publish, the others /subscribe) and publishes again when all SOCKETS
 *   have the message, for AMOUNT seconds; what is counted are deliveries, latency is until the last of them has it.
 * MODE idle: each socket is echoed one message and then left alone; what is counted are the sockets still open.
 * MODE churn: AMOUNT times connect, echo, close, SOCKETS of them at a time.
 *
 * KIND is text, binary or deflate. With deflate, permessage-deflate must be agreed, and the file holds the payload
 * compressed without reference to anything before it, so that the same bytes are a right message every time; what comes
 * back is only counted then, as its bytes depend on all that went before.
 *
 * It prints `ready` when its sockets are open, begins at the first line on stdin, prints its figures, and closes at the
 * end of stdin: whoever measures the server can read its processor time and memory exactly in between.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PAYLOAD = 16 << 20, MAX_HEAD = 1024, MAX_SOCKETS = 20000, MAX_SAMPLES = 8000000 };
enum { OPENING_AT_ONCE = 64, STALL_S = 10, MASK_LENGTH = 4, STDIN_MARK = -1 };
enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80, RSV1 = 0x40 };

typedef enum { DEAD, GREETING, OPEN, WAITING, CLOSING, CLOSED } Stage;
typedef enum { ECHO, BROADCAST, IDLE, CHURN } Mode;

typedef struct {
    int fd, head_length, control_length;
    Stage stage;
    /* The frame that is coming in: its header as far as it is known, what is left of its payload. */
    unsigned char header[10], first;
    int header_length, in_payload;
    uint64_t remaining, message_length, begun_ns;
    size_t unsent;
    unsigned char control[125];
    char head[MAX_HEAD + 1];
} Socket;

static const unsigned char MASK[MASK_LENGTH] = {0x37, 0xfa, 0x21, 0x3d};
static const char KEY[] = "dGhlIHNhbXBsZSBub25jZQ==", ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

static Mode mode;
static int port, socket_count, is_deflate, poller, opening, opened_total, publisher;
static unsigned char *payload, *frame;
static size_t payload_length, frame_length;
static Socket *sockets;
static uint32_t *samples_us;
static size_t sample_count;
static uint64_t completed, failed, wrong, reached, cycles_left, end_ns, published_ns;

static void die(const char *reason) {
    fprintf(stderr, "sockets: %s\n", reason);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void sample(uint64_t begun_ns) {
    uint64_t spent_us = (now_ns() - begun_ns) / 1000;
    if (sample_count < MAX_SAMPLES)
        samples_us[sample_count++] = spent_us > UINT32_MAX ? UINT32_MAX : (uint32_t)spent_us;
}

static size_t mask_into(unsigned char *target, int first, const unsigned char *bytes, size_t length) {
    size_t used = 0;
    target[used++] = (unsigned char)first;
    if (length < 126) {
        target[used++] = 0x80 | (unsigned char)length;
    } else if (length < 65536) {
        target[used++] = 0x80 | 126;
        target[used++] = (unsigned char)(length >> 8);
        target[used++] = (unsigned char)length;
    } else {
        target[used++] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            target[used++] = (unsigned char)((uint64_t)length >> shift);
    }
    memcpy(target + used, MASK, MASK_LENGTH);
    used += MASK_LENGTH;
    for (size_t index = 0; index < length; index++)
        target[used++] = bytes[index] ^ MASK[index % MASK_LENGTH];
    return used;
}

static void watch(int index, uint32_t events, int action) {
    struct epoll_event interest = {.events = events, .data.u64 = (uint64_t)index};
    epoll_ctl(poller, action, sockets[index].fd, &interest);
}

static void open_socket(int index) {
    char request[512];
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) {
        perror("sockets: connect");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    memset(&sockets[index], 0, sizeof sockets[index]);
    sockets[index].fd = fd;
    sockets[index].stage = GREETING;
    sockets[index].begun_ns = now_ns();
    opening++;
    const char *path = mode != BROADCAST ? "/" : index == publisher ? "/publish" : "/subscribe";
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                          path, port, KEY,
                          is_deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "");
    if (send(fd, request, (size_t)length, MSG_NOSIGNAL) != length)
        die("the opening handshake cannot be sent");
    watch(index, EPOLLIN, EPOLL_CTL_ADD);
}

static void open_next(void) {
    int total = socket_count + (mode == BROADCAST);
    while (mode != CHURN && opened_total < total && opening < OPENING_AT_ONCE)
        open_socket(opened_total++);
}

static void drop(int index) {
    Socket *peer = &sockets[index];
    if (peer->stage == GREETING)
        die("the server closed during the opening handshake");
    close(peer->fd);
    if (peer->stage == CLOSED) {
        completed++;
        sample(peer->begun_ns);
    } else {
        failed++;
    }
    peer->stage = DEAD;
    if (mode == CHURN && cycles_left) {
        cycles_left--;
        open_socket(index);
    }
}

/* Sends what is left of the message; the rest follows when the socket takes more. */
static void push(int index) {
    Socket *peer = &sockets[index];
    int had_waited = peer->unsent != frame_length;
    while (peer->unsent) {
        ssize_t put = send(peer->fd, frame + (frame_length - peer->unsent), peer->unsent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno == EAGAIN) {
            if (!had_waited)
                watch(index, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            return;
        }
        /* A socket that is gone says so to the next recv. */
        peer->unsent = put < 0 ? 0 : peer->unsent - (size_t)put;
    }
    if (had_waited)
        watch(index, EPOLLIN, EPOLL_CTL_MOD);
}

static void send_message(int index) {
    if (mode != BROADCAST)
        sockets[index].stage = WAITING;
    if (mode != CHURN)
        sockets[index].begun_ns = now_ns();
    sockets[index].unsent = frame_length;
    push(index);
}

/* Control frames are small and rare, so they are sent at once and only while no message is half sent. */
static void send_control(int index, int opcode, const unsigned char *bytes, size_t length) {
    unsigned char answer[2 + MASK_LENGTH + 125];
    size_t total = mask_into(answer, FIN | opcode, bytes, length);
    if (sockets[index].unsent == 0 && send(sockets[index].fd, answer, total, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        failed++;
}

static void publish(void) {
    reached = 0;
    published_ns = now_ns();
    send_message(publisher);
}

static void on_open(int index) {
    sockets[index].stage = OPEN;
    opening--;
    if (mode == IDLE || mode == CHURN)
        send_message(index);
    open_next();
}

static void on_message(int index) {
    static const unsigned char NORMAL[] = {1000 >> 8, 1000 & 255};
    Socket *peer = &sockets[index];
    if (peer->stage != (mode == BROADCAST ? OPEN : WAITING)) {
        wrong++;
        return;
    }
    if (mode == CHURN) {
        peer->stage = CLOSING;
        send_control(index, CLOSE, NORMAL, sizeof NORMAL);
        return;
    }
    peer->stage = OPEN;
    if (mode == IDLE)
        return;
    completed++;
    if (mode == ECHO) {
        sample(peer->begun_ns);
        if (now_ns() < end_ns)
            send_message(index);
    } else if (++reached == (uint64_t)socket_count) {
        sample(published_ns);
        if (now_ns() < end_ns)
            publish();
    }
}

/* Takes in a whole frame; returns 0 when the socket is gone. */
static int on_frame(int index) {
    Socket *peer = &sockets[index];
    int opcode = peer->first & 15;
    peer->in_payload = peer->header_length = 0;
    if (opcode == PING)
        send_control(index, PONG, peer->control, (size_t)peer->control_length);
    if (opcode == CLOSE && peer->stage == CLOSING) {
        peer->stage = CLOSED;
    } else if (opcode == CLOSE) {
        drop(index);
        return 0;
    }
    if (opcode < CLOSE && peer->first & FIN) {
        if (is_deflate ? peer->message_length == 0 : peer->message_length != payload_length)
            wrong++;
        peer->message_length = 0;
        on_message(index);
    }
    return peer->stage != DEAD;
}

/* Returns how many bytes the header that begins so is long, as far as can be told yet. */
static int header_size(const Socket *peer) {
    int length = peer->header_length < 2 ? 0 : peer->header[1] & 127;
    return length == 126 ? 4 : length == 127 ? 10 : 2;
}

static void begin_payload(Socket *peer) {
    int size = peer->header_length;
    uint64_t length = size > 2 ? 0 : peer->header[1] & 127;
    for (int place = 2; place < size; place++)
        length = length << 8 | peer->header[place];
    if (peer->header[1] & 0x80)
        die("the server masks its frames");
    peer->first = peer->header[0];
    peer->remaining = length;
    peer->in_payload = 1;
    peer->control_length = 0;
}

static void take_payload(Socket *peer, const unsigned char *bytes, size_t taken) {
    if ((peer->first & 15) >= CLOSE) {
        if (peer->control_length + taken > sizeof peer->control)
            die("a control frame is too long");
        memcpy(peer->control + peer->control_length, bytes, taken);
        peer->control_length += (int)taken;
        return;
    }
    int is_too_long = !is_deflate && peer->message_length + taken > payload_length;
    if (is_too_long || (!is_deflate && memcmp(payload + peer->message_length, bytes, taken)))
        wrong++;
    peer->message_length += taken;
}

static void feed_frames(int index, const unsigned char *bytes, size_t length) {
    Socket *peer = &sockets[index];
    for (;;) {
        while (!peer->in_payload && length) {
            peer->header[peer->header_length++] = *bytes++;
            length--;
            if (peer->header_length >= 2 && peer->header_length == header_size(peer))
                begin_payload(peer);
        }
        if (!peer->in_payload)
            return;
        size_t taken = peer->remaining < length ? (size_t)peer->remaining : length;
        take_payload(peer, bytes, taken);
        bytes += taken;
        length -= taken;
        peer->remaining -= taken;
        if (peer->remaining || !on_frame(index))
            return;
    }
}

static void feed_head(int index, const unsigned char *bytes, size_t length) {
    Socket *peer = &sockets[index];
    size_t room = (size_t)(MAX_HEAD - peer->head_length), taken = length < room ? length : room;
    memcpy(peer->head + peer->head_length, bytes, taken);
    int before = peer->head_length;
    peer->head_length += (int)taken;
    peer->head[peer->head_length] = 0;
    char *end = strstr(peer->head, "\r\n\r\n");
    if (!end && taken < length)
        die("the answer to the opening handshake is too long");
    if (!end)
        return;
    size_t used = (size_t)(end + 4 - peer->head - before);
    *end = 0;
    if (strncmp(peer->head, "HTTP/1.1 101 ", 13) || !strstr(peer->head, ACCEPT))
        die("the opening handshake is refused");
    int is_agreed = strcasestr(peer->head, "permessage-deflate") != NULL;
    if (is_agreed != is_deflate)
        die(is_deflate ? "permessage-deflate is not agreed" : "permessage-deflate is answered unasked");
    on_open(index);
    if (length > used)
        feed_frames(index, bytes + used, length - used);
}

static void receive(int index) {
    static unsigned char buffer[1 << 18];
    ssize_t got = recv(sockets[index].fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        drop(index);
    else if (sockets[index].stage == GREETING)
        feed_head(index, buffer, (size_t)got);
    else
        feed_frames(index, buffer, (size_t)got);
}

/* Handles what is ready; returns whether stdin is. */
static int turn(int timeout_ms) {
    struct epoll_event ready[256];
    int found = epoll_wait(poller, ready, 256, timeout_ms), is_spoken_to = 0;
    for (int place = 0; place < found; place++) {
        int index = (int)(int64_t)ready[place].data.u64;
        if (index == STDIN_MARK) {
            is_spoken_to = 1;
            continue;
        }
        if (ready[place].events & EPOLLOUT && sockets[index].stage != DEAD && sockets[index].unsent)
            push(index);
        if (ready[place].events & ~(uint32_t)EPOLLOUT && sockets[index].stage != DEAD)
            receive(index);
    }
    return is_spoken_to;
}

/* Handles pings and the like until a line comes on stdin; returns 0 at its end. */
static int heed(void) {
    char line[64];
    while (!turn(1000))
        ;
    return read(STDIN_FILENO, line, sizeof line) > 0;
}

static int count_in(Stage stage) {
    int count = 0;
    for (int index = 0; index < socket_count + (mode == BROADCAST); index++)
        count += sockets[index].stage == stage;
    return count;
}

static void open_all(void) {
    uint64_t stalled_ns = now_ns() + STALL_S * 1000000000ull;
    int total = socket_count + (mode == BROADCAST), before = 0, now;
    if (mode == CHURN)
        return;
    open_next();
    while ((now = count_in(OPEN)) < total) {
        turn(100);
        if (now > before)
            stalled_ns = now_ns() + STALL_S * 1000000000ull;
        before = now;
        if (failed || wrong)
            die("a socket fails while all are opened");
        if (now_ns() > stalled_ns)
            die("the server opens no more sockets");
    }
}

static int is_done(void) {
    if (mode == IDLE)
        return 1;
    if (mode == CHURN)
        return !cycles_left && count_in(DEAD) == socket_count;
    return now_ns() >= end_ns && !count_in(WAITING) && (mode == ECHO || reached == (uint64_t)socket_count);
}

static void run(double amount) {
    uint64_t begun = now_ns(), before = 0, stalled_ns = begun + STALL_S * 1000000000ull;
    end_ns = begun + (uint64_t)(amount * 1e9);
    completed = 0;
    for (int index = 0; mode == ECHO && index < socket_count; index++)
        send_message(index);
    for (int index = 0; mode == CHURN && index < socket_count && cycles_left; index++, cycles_left--)
        open_socket(index);
    if (mode == BROADCAST)
        publish();
    for (;;) {
        turn(20);
        uint64_t now = now_ns();
        /* Counting who still waits is dear with many sockets, so it begins only when no more is sent. */
        if ((mode == CHURN || now >= end_ns) && is_done())
            break;
        if (completed > before)
            stalled_ns = now + STALL_S * 1000000000ull;
        before = completed;
        if (failed || wrong || now > stalled_ns)
            break;
    }
    end_ns = now_ns() - begun;
}

static int by_size(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double quantile_ms(double share) {
    size_t rank = (size_t)(share * (double)sample_count);
    return sample_count ? samples_us[rank < sample_count ? rank : sample_count - 1] / 1000.0 : 0;
}

static void print_figures(void) {
    qsort(samples_us, sample_count, sizeof *samples_us, by_size);
    printf("{\"messages\": %llu, \"failed\": %llu, \"wrong\": %llu, \"open\": %d, \"unanswered\": %d, "
           "\"seconds\": %.6f, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f}\n",
           (unsigned long long)completed, (unsigned long long)failed, (unsigned long long)wrong, count_in(OPEN),
           count_in(WAITING), (double)end_ns / 1e9, quantile_ms(0.50), quantile_ms(0.99), quantile_ms(0.999),
           quantile_ms(1.0));
    fflush(stdout);
}

static void load_payload(const char *path, int opcode) {
    FILE *file = fopen(path, "rb");
    payload = malloc(MAX_PAYLOAD);
    frame = malloc(MAX_PAYLOAD + 16);
    if (!file || !payload || !frame)
        die("the payload cannot be read");
    payload_length = fread(payload, 1, MAX_PAYLOAD, file);
    fclose(file);
    frame_length = mask_into(frame, FIN | opcode | (is_deflate ? RSV1 : 0), payload, payload_length);
}

static int place_of(const char *word, const char **known, int count) {
    while (count-- && strcmp(word, known[count]))
        ;
    return count;
}

int main(int count, char **words) {
    static const char *MODES[] = {"echo", "broadcast", "idle", "churn"}, *KINDS[] = {"text", "binary", "deflate"};
    int place = count == 7 ? place_of(words[1], MODES, 4) : -1, kind = count == 7 ? place_of(words[5], KINDS, 3) : -1;
    socket_count = count == 7 ? atoi(words[3]) : 0;
    if (place < 0 || kind < 0 || socket_count < 1 || socket_count > MAX_SOCKETS) {
        fprintf(stderr, "usage: sockets echo|broadcast|idle|churn PORT SOCKETS AMOUNT text|binary|deflate PAYLOAD-FILE\n");
        return 2;
    }
    mode = (Mode)place;
    port = atoi(words[2]);
    publisher = socket_count;
    is_deflate = kind == 2;
    cycles_left = (uint64_t)atoll(words[4]);
    load_payload(words[6], kind == 1 ? BINARY : TEXT);
    poller = epoll_create1(0);
    sockets = calloc((size_t)socket_count + 1, sizeof *sockets);
    samples_us = calloc(MAX_SAMPLES, sizeof *samples_us);
    struct epoll_event spoken = {.events = EPOLLIN, .data.u64 = (uint64_t)(int64_t)STDIN_MARK};
    if (poller < 0 || !sockets || !samples_us || epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &spoken)) {
        perror("sockets");
        return 1;
    }
    open_all();
    printf("ready\n");
    fflush(stdout);
    if (heed()) {
        run(atof(words[4]));
        print_figures();
        while (heed())
            ;
    }
    return 0;
}
