/* Sends one request over and over at a fixed rate and reports latency from the moment each request was due.
 *
 * usage: pace PORT CONNECTIONS RATE SECONDS [SETTLING] < request
 *
 * Open loop: request i is due at i / RATE whatever the server does, and its latency counts from then, so that a server
 * that stalls pays for everyone it kept waiting (no coordinated omission). RATE 0 is the closed loop: as fast as the
 * connections allow. With SETTLING, the load runs that many seconds before, and what counts is each answer that comes
 * within SECONDS, however early it was asked for: the only fair count when an answer takes longer than the run.
 * It spins instead of sleeping: its own waking up must not be counted as the server's latency.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_REQUEST = 1 << 20, MAX_HEAD = 8192, MAX_CONNECTIONS = 4096, MAX_SAMPLES = 8000000, GRACE_S = 2 };

typedef struct {
    int fd, in_body, chunked, busy;
    size_t head_length;
    int64_t remaining;
    uint64_t due_ns;
    char tail[5];
    char head[MAX_HEAD + 1];
} Connection;

static char request[MAX_REQUEST];
static size_t request_length;
static Connection *connections;
static int connection_count, port, poller;
static int *idle, idle_first, idle_count;
static uint32_t *samples_us;
static size_t sample_count;
static uint64_t completed, failed, reconnected, count_from_ns, count_until_ns = UINT64_MAX;

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void put_idle(int index) {
    connections[index].busy = 0;
    idle[(idle_first + idle_count++) % connection_count] = index;
}

static int take_idle(void) {
    int index = idle[idle_first];
    idle_first = (idle_first + 1) % connection_count;
    idle_count--;
    return index;
}

static void open_connection(int index) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    struct epoll_event interest = {.events = EPOLLIN, .data.u32 = (uint32_t)index};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) {
        perror("pace: connect");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    memset(&connections[index], 0, offsetof(Connection, head));
    connections[index].fd = fd;
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &interest);
}

static void reopen(int index) {
    close(connections[index].fd);
    reconnected++;
    if (reconnected > 1000000) {
        fprintf(stderr, "pace: the server closes every connection\n");
        exit(1);
    }
    open_connection(index);
    put_idle(index);
}

static void finish(int index) {
    Connection *connection = &connections[index];
    uint64_t now = now_ns(), spent_us = (now - connection->due_ns) / 1000;
    if (now >= count_from_ns && now < count_until_ns) {
        if (sample_count < MAX_SAMPLES)
            samples_us[sample_count++] = spent_us > UINT32_MAX ? UINT32_MAX : (uint32_t)spent_us;
        completed++;
    }
    connection->in_body = connection->chunked = 0;
    connection->head_length = 0;
    memset(connection->tail, 0, sizeof connection->tail);
    put_idle(index);
}

static void keep_tail(Connection *connection, const char *bytes, size_t length) {
    size_t width = sizeof connection->tail;
    if (length >= width) {
        memcpy(connection->tail, bytes + length - width, width);
    } else {
        memmove(connection->tail, connection->tail + length, width - length);
        memcpy(connection->tail + width - length, bytes, length);
    }
}

static int feed_body(Connection *connection, const char *bytes, size_t length) {
    if (connection->chunked) {
        keep_tail(connection, bytes, length);
        return memcmp(connection->tail, "0\r\n\r\n", 5) == 0;
    }
    connection->remaining -= (int64_t)length;
    return connection->remaining <= 0;
}

/* Returns 1 when the answer is whole, 0 when more must come, -1 when it is none that can be measured. */
static int feed(Connection *connection, const char *bytes, size_t length) {
    if (connection->in_body)
        return feed_body(connection, bytes, length);
    size_t room = MAX_HEAD - connection->head_length, taken = length < room ? length : room;
    memcpy(connection->head + connection->head_length, bytes, taken);
    connection->head_length += taken;
    connection->head[connection->head_length] = 0;
    char *end = memmem(connection->head, connection->head_length, "\r\n\r\n", 4);
    if (!end)
        return taken < length ? -1 : 0;
    size_t head_size = (size_t)(end + 4 - connection->head), before = connection->head_length - taken;
    *end = 0;
    if (strncmp(connection->head, "HTTP/1.1 20", 11) != 0)
        return -1;
    char *field = strcasestr(connection->head, "\r\ncontent-length:");
    connection->chunked = !field;
    if (field)
        connection->remaining = atoll(field + 17);
    else if (!strcasestr(connection->head, "\r\ntransfer-encoding:"))
        return -1;
    connection->in_body = 1;
    return feed_body(connection, bytes + (head_size - before), length - (head_size - before));
}

static void receive(int index) {
    static char buffer[1 << 18];
    Connection *connection = &connections[index];
    ssize_t got = recv(connection->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    int verdict = got <= 0 ? -1 : feed(connection, buffer, (size_t)got);
    if (verdict > 0)
        finish(index);
    else if (verdict < 0 && connection->busy) {
        failed++;
        reopen(index);
    } else if (verdict < 0) {
        /* An idle connection was closed: it stands in the idle ring already, so only its socket is replaced. */
        close(connection->fd);
        reconnected++;
        open_connection(index);
    }
}

static void send_request(int index, uint64_t due_ns) {
    Connection *connection = &connections[index];
    size_t sent = 0;
    connection->due_ns = due_ns;
    connection->busy = 1;
    while (sent < request_length) {
        ssize_t put = send(connection->fd, request + sent, request_length - sent, MSG_NOSIGNAL);
        if (put < 0) {
            failed++;
            reopen(index);
            return;
        }
        sent += (size_t)put;
    }
}

static int by_size(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double quantile_ms(double share) {
    if (!sample_count)
        return 0;
    size_t rank = (size_t)(share * (double)sample_count);
    return samples_us[rank < sample_count ? rank : sample_count - 1] / 1000.0;
}

static void run(double rate, double seconds, double settling) {
    struct epoll_event ready[256];
    uint64_t begun = now_ns(), number = 0, now = begun, due = begun;
    uint64_t end = begun + (uint64_t)((settling + seconds) * 1e9);
    if (settling > 0) {
        count_from_ns = begun + (uint64_t)(settling * 1e9);
        count_until_ns = end;
    }
    /* What was due before the end is still sent after it, for a while: leaving it out would flatter a late server. */
    while (now < end + GRACE_S * 1000000000ull) {
        while (idle_count && due <= now && due < end) {
            send_request(take_idle(), due);
            number++;
            due = rate > 0 ? begun + (uint64_t)((double)number * 1e9 / rate) : now;
        }
        if (due >= end && (idle_count == connection_count || settling > 0))
            break;
        int found = epoll_wait(poller, ready, 256, rate > 0 ? 0 : 20);
        for (int index = 0; index < found; index++)
            receive((int)ready[index].data.u32);
        now = now_ns();
        if (rate <= 0)
            due = now;
    }
    double spent = settling > 0 ? seconds : (double)(now - begun) / 1e9;
    uint64_t wanted = rate > 0 ? (uint64_t)(rate * seconds) : settling > 0 ? completed : number;
    qsort(samples_us, sample_count, sizeof *samples_us, by_size);
    printf("{\"requests\": %llu, \"wanted\": %llu, \"failed\": %llu, \"reconnected\": %llu, \"seconds\": %.6f, "
           "\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f}\n",
           (unsigned long long)completed, (unsigned long long)wanted, (unsigned long long)failed,
           (unsigned long long)reconnected, spent < seconds ? seconds : spent, quantile_ms(0.50), quantile_ms(0.99),
           quantile_ms(0.999), quantile_ms(1.0));
}

int main(int count, char **words) {
    if (count != 5 && count != 6) {
        fprintf(stderr, "usage: pace PORT CONNECTIONS RATE SECONDS [SETTLING] < request\n");
        return 2;
    }
    port = atoi(words[1]);
    connection_count = atoi(words[2]);
    double rate = atof(words[3]), seconds = atof(words[4]), settling = count == 6 ? atof(words[5]) : 0;
    request_length = fread(request, 1, sizeof request, stdin);
    int is_sane = connection_count >= 1 && connection_count <= MAX_CONNECTIONS && seconds > 0 && seconds <= 600;
    if (!is_sane || !request_length) {
        fprintf(stderr, "pace: 1 to %d connections, at most 600 seconds, and a request on stdin\n", MAX_CONNECTIONS);
        return 2;
    }
    connections = calloc((size_t)connection_count, sizeof *connections);
    idle = calloc((size_t)connection_count, sizeof *idle);
    samples_us = calloc(MAX_SAMPLES, sizeof *samples_us);
    poller = epoll_create1(0);
    if (!connections || !idle || !samples_us || poller < 0) {
        perror("pace");
        return 1;
    }
    for (int index = 0; index < connection_count; index++) {
        open_connection(index);
        put_idle(index);
    }
    run(rate, seconds, settling);
    return 0;
}
