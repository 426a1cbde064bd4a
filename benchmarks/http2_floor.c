/* Answers every cleartext HTTP/2 request with one constant from a bare epoll loop: the least that HTTP/2 costs. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADERS = 1, SETTINGS = 4, PING = 6, ACK = 1, FRAME_HEAD = 9, MOST_PEERS = 4096, ROOM = 65536 };

static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
static const char HELLO[] = "\0\0\0\4\0\0\0\0\0"; /* empty SETTINGS */
static const char ACKNOWLEDGED[] = "\0\0\0\4\1\0\0\0\0";

/* :status 200, content-length: 13 and date as literals that are not indexed, then DATA; stream ids are filled in. */
static char answer[256];
static int answer_length, data_at;

struct peer {
    int is_greeted, kept;
    unsigned char buffer[ROOM];
};
static struct peer *peers[MOST_PEERS];
static char out[ROOM * 8];
static int queued;

static void put_frame(int type, int flags, const char *payload, int length) {
    char head[FRAME_HEAD] = {0, (char)(length >> 8), (char)length, (char)type, (char)flags, 0, 0, 0, 0};
    memcpy(answer + answer_length, head, FRAME_HEAD);
    memcpy(answer + answer_length + FRAME_HEAD, payload, (size_t)length);
    answer_length += FRAME_HEAD + length;
}

static void make_answer(void) {
    static const char fields[] = "\x88"
                                 "\x0f\x0d\x02"
                                 "13"
                                 "\x0f\x12\x1d"
                                 "Sat, 01 Jan 2000 00:00:00 GMT";
    put_frame(HEADERS, 4, fields, sizeof fields - 1);
    data_at = answer_length;
    put_frame(0, 1, "Hello, world!", 13);
}

static int listen_on(int port) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 2048)) {
        perror("http2_floor");
        exit(4);
    }
    return listener;
}

static void accept_all(int listener, int poller) {
    int one = 1, peer;
    while ((peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event interest = {.events = EPOLLIN, .data.fd = peer};
        if (peer >= MOST_PEERS || (!peers[peer] && !(peers[peer] = malloc(sizeof *peers[peer])))) {
            close(peer);
            continue;
        }
        peers[peer]->is_greeted = peers[peer]->kept = 0;
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(poller, EPOLL_CTL_ADD, peer, &interest);
    }
}

static void queue(const void *bytes, int length) {
    memcpy(out + queued, bytes, (size_t)length);
    queued += length;
}

static void heed(const unsigned char *frame) {
    int type = frame[3], flags = frame[4];
    if (type == HEADERS && flags & 1) {
        int at = queued;
        queue(answer, answer_length);
        memcpy(out + at + 5, frame + 5, 4);
        memcpy(out + at + data_at + 5, frame + 5, 4);
    } else if (type == SETTINGS && !(flags & ACK)) {
        queue(ACKNOWLEDGED, FRAME_HEAD);
    }
}

/* Header blocks are not read and windows not counted: the load sends whole requests and opens its windows wide. */
static int serve(int socket_fd) {
    struct peer *peer = peers[socket_fd];
    ssize_t got = recv(socket_fd, peer->buffer + peer->kept, (size_t)(ROOM - peer->kept), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 1;
    if (got <= 0)
        return 0;
    int have = peer->kept + (int)got, at = 0;
    queued = 0;
    if (!peer->is_greeted) {
        if (have < (int)sizeof PREFACE - 1) {
            peer->kept = have;
            return 1;
        }
        peer->is_greeted = 1;
        at = sizeof PREFACE - 1;
        queue(HELLO, FRAME_HEAD);
    }
    while (have - at >= FRAME_HEAD) {
        const unsigned char *frame = peer->buffer + at;
        int length = FRAME_HEAD + (frame[0] << 16 | frame[1] << 8 | frame[2]);
        if (length > ROOM)
            return 0;
        if (have - at < length)
            break;
        heed(frame);
        at += length;
    }
    peer->kept = have - at;
    memmove(peer->buffer, peer->buffer + at, (size_t)peer->kept);
    return !queued || send(socket_fd, out, (size_t)queued, MSG_NOSIGNAL) == queued;
}

int main(int count, char **words) {
    if (count != 2) {
        fprintf(stderr, "usage: http2_floor PORT\n");
        return 2;
    }
    make_answer();
    int listener = listen_on(atoi(words[1])), poller = epoll_create1(0);
    struct epoll_event interest = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &interest);
    for (;;) {
        int found = epoll_wait(poller, ready, 256, -1);
        for (int index = 0; index < found; index++) {
            if (ready[index].data.fd == listener)
                accept_all(listener, poller);
            else if (!serve(ready[index].data.fd))
                close(ready[index].data.fd);
        }
    }
}
