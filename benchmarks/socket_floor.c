/* Echoes WebSocket frames from a bare epoll loop: the least that receiving, unmasking and sending back cost.
 *
 * usage: socket_floor PORT
 *
 * It knows the one opening handshake that the load sends, and one whole frame at a time on each socket.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_SOCKETS = 16384, MAX_FRAME = 1 << 17, MASK_LENGTH = 4 };

static const char ANSWER[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/* What has come of the frame at hand, by descriptor; `is_open` once the handshake was answered. */
static struct {
    unsigned char *bytes;
    size_t length;
    int is_open;
} peers[MAX_SOCKETS];

static int listen_on(int port) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 2048)) {
        perror("socket_floor");
        exit(4);
    }
    return listener;
}

static void accept_all(int listener, int poller) {
    int one = 1, peer;
    while ((peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event interest = {.events = EPOLLIN, .data.fd = peer};
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (peer >= MAX_SOCKETS || !(peers[peer].bytes = malloc(MAX_FRAME))) {
            close(peer);
            continue;
        }
        peers[peer].length = 0;
        peers[peer].is_open = 0;
        epoll_ctl(poller, EPOLL_CTL_ADD, peer, &interest);
    }
}

static void send_all(int peer, const unsigned char *bytes, size_t length) {
    while (length) {
        ssize_t put = send(peer, bytes, length, MSG_NOSIGNAL);
        if (put < 0 && errno == EAGAIN) {
            struct pollfd writable = {.fd = peer, .events = POLLOUT};
            poll(&writable, 1, 1000);
            continue;
        }
        if (put < 0)
            return;
        bytes += put;
        length -= (size_t)put;
    }
}

static void echo(int peer, const unsigned char *frame, size_t head, size_t size) {
    static unsigned char back[MAX_FRAME];
    const unsigned char *masked = frame + head + MASK_LENGTH;
    uint64_t mask, word;
    memcpy(&mask, frame + head, MASK_LENGTH);
    mask |= mask << 32;
    memcpy(back, frame, head);
    back[1] &= 0x7f;
    size_t place = 0;
    for (; place + 8 <= size; place += 8) {
        memcpy(&word, masked + place, 8);
        word ^= mask;
        memcpy(back + head + place, &word, 8);
    }
    for (; place < size; place++)
        back[head + place] = masked[place] ^ frame[head + place % MASK_LENGTH];
    send_all(peer, back, head + size);
}

static void take(int peer) {
    unsigned char *bytes = peers[peer].bytes;
    ssize_t got = recv(peer, bytes + peers[peer].length, MAX_FRAME - peers[peer].length, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        close(peer);
        free(bytes);
        return;
    }
    size_t length = peers[peer].length += (size_t)got;
    if (!peers[peer].is_open) {
        if (length >= 4 && memcmp(bytes + length - 4, "\r\n\r\n", 4) == 0) {
            peers[peer].is_open = 1;
            peers[peer].length = 0;
            send_all(peer, (const unsigned char *)ANSWER, sizeof ANSWER - 1);
        }
        return;
    }
    size_t head = length < 2 ? 0 : (bytes[1] & 127) == 126 ? 4 : (bytes[1] & 127) == 127 ? 10 : 2, size = 0;
    if (!head || length < head)
        return;
    size = head == 2 ? bytes[1] & 127 : 0;
    for (size_t place = 2; place < head; place++)
        size = size << 8 | bytes[place];
    if (length >= head + MASK_LENGTH + size) {
        echo(peer, bytes, head, size);
        peers[peer].length = 0;
    }
}

int main(int count, char **words) {
    if (count != 2) {
        fprintf(stderr, "usage: socket_floor PORT\n");
        return 2;
    }
    int listener = listen_on(atoi(words[1])), poller = epoll_create1(0);
    struct epoll_event interest = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &interest);
    for (;;) {
        int found = epoll_wait(poller, ready, 256, -1);
        for (int index = 0; index < found; index++) {
            if (ready[index].data.fd == listener)
                accept_all(listener, poller);
            else
                take(ready[index].data.fd);
        }
    }
}
