/* Answers every request with one constant from a bare epoll loop: the least that serving HTTP over a socket costs. */
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

static const char ANSWER[] = "HTTP/1.1 200 OK\r\n"
                             "content-type: text/plain; charset=utf-8\r\n"
                             "content-length: 13\r\n"
                             "date: Sat, 01 Jan 2000 00:00:00 GMT\r\n\r\n"
                             "Hello, world!";

static int listen_on(int port) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 2048)) {
        perror("floor");
        exit(4);
    }
    return listener;
}

static void accept_all(int listener, int poller) {
    int one = 1, peer;
    while ((peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event interest = {.events = EPOLLIN, .data.fd = peer};
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(poller, EPOLL_CTL_ADD, peer, &interest);
    }
}

static void answer(int peer) {
    char head[65536];
    ssize_t got = recv(peer, head, sizeof head, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        close(peer);
        return;
    }
    /* No parsing: the load sends one whole request at a time, and the floor is what is left without a protocol. */
    int is_whole = got >= 4 && memcmp(head + got - 4, "\r\n\r\n", 4) == 0;
    if (is_whole && send(peer, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) < 0)
        close(peer);
}

int main(int count, char **words) {
    if (count != 2) {
        fprintf(stderr, "usage: floor PORT\n");
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
                answer(ready[index].data.fd);
        }
    }
}
