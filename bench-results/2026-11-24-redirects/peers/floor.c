// The floor: what the kernel takes for a request. One read and one write per wake-up, a constant answer, nothing else.
// cc -O2 -o floor floor.c; floor PORT FILE-WITH-THE-ANSWER [close]   (close: after each answer)
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char answer[4096], request[16384];
    if (argc < 3) return fputs("usage: floor PORT FILE [close]\n", stderr), 2;
    int size = read(open(argv[2], O_RDONLY), answer, sizeof answer), one = 1, close_after = argc > 3;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (size <= 0 || bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) return perror("floor"), 1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (read(fd, request, sizeof request) <= 0 || write(fd, answer, size) != size || close_after) close(fd);
            } else if ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event.data.fd = fd;
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
