/* Forward TCP connections to one address, every chunk a fixed time after it was read.
 *
 *     forwarder HOST PORT MICROSECONDS
 *     forwarder /SOCKET - MICROSECONDS
 *
 * Prints the port of 127.0.0.1 that it listens on, and ends when its standard input
 * does, so that it never outlives who started it.
 *
 * All chunks wait equally long, hence the order of reading is the order of sending:
 * one thread and one queue are enough, and commands in flight overlap as on a line.
 * Writes block: who sends through here reads its answers.
 */
#define _GNU_SOURCE
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct end {
    int fd;
    int finished; /* its end of file has reached the other end */
    struct end *other;
};

struct chunk {
    struct chunk *next;
    long long due;
    struct end *from;
    ssize_t length; /* 0: end of file */
    char data[];
};

static struct chunk *first, **last = &first;
static struct addrinfo *target;
static long long delay;
static int events;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void watch(int fd, void *who)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = who};
    if (epoll_ctl(events, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}

static void take_in(int listener)
{
    int one = 1;
    int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    int server = socket(target->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0 || server < 0)
        fail("accept");
    if (connect(server, target->ai_addr, target->ai_addrlen)) {
        close(client); /* what the client of a server that is down sees */
        close(server);
        return;
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* not on a Unix one */
    struct end *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
    *a = (struct end){.fd = client, .other = b};
    *b = (struct end){.fd = server, .other = a};
    watch(client, a);
    watch(server, b);
}

static void read_chunk(struct end *from)
{
    static char buffer[65536];
    ssize_t length = recv(from->fd, buffer, sizeof buffer, 0);
    if (length <= 0) { /* a reset is an end like any other */
        length = 0;
        epoll_ctl(events, EPOLL_CTL_DEL, from->fd, NULL);
    }
    struct chunk *chunk = malloc(sizeof *chunk + length);
    *chunk = (struct chunk){.due = now() + delay, .from = from, .length = length};
    memcpy(chunk->data, buffer, length);
    *last = chunk;
    last = &chunk->next;
}

static void deliver(struct chunk *chunk)
{
    struct end *from = chunk->from, *to = from->other;
    ssize_t sent, done = 0;
    while (done < chunk->length) {
        sent = send(to->fd, chunk->data + done, chunk->length - done, MSG_NOSIGNAL);
        if (sent < 0)
            return; /* the reader of that end sees its end of file */
        done += sent;
    }
    if (chunk->length)
        return;
    shutdown(to->fd, SHUT_WR);
    from->finished = 1;
    if (to->finished) {
        close(from->fd);
        close(to->fd);
        free(from);
        free(to);
    }
}

/* Send what is due; return the nanoseconds until the next chunk is, -1 for none. */
static long long deliver_due(void)
{
    while (first) {
        long long left = first->due - now();
        if (left > 0)
            return left;
        struct chunk *chunk = first;
        first = chunk->next;
        if (!first)
            last = &first;
        deliver(chunk);
        free(chunk);
    }
    return -1;
}

/* Cheaper for the processor than a port; a real line would take none of it. */
static struct addrinfo *find_socket(const char *path)
{
    static struct sockaddr_un address = {.sun_family = AF_UNIX};
    static struct addrinfo found = {.ai_family = AF_UNIX,
                                    .ai_addr = (void *)&address,
                                    .ai_addrlen = sizeof address};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    return &found;
}

static int open_listener(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (void *)&address, length) || listen(listener, 1024))
        fail("listen");
    getsockname(listener, (void *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int count, char **arguments)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct epoll_event ready[64];
    int listener_mark, input_mark;
    if (count != 4)
        return 2;
    if (arguments[1][0] == '/')
        target = find_socket(arguments[1]);
    else if (getaddrinfo(arguments[1], arguments[2], &hints, &target))
        fail(arguments[1]);
    delay = atoll(arguments[3]) * 1000;
    prctl(PR_SET_TIMERSLACK, 1); /* else every wait is 50 microseconds late */
    events = epoll_create1(EPOLL_CLOEXEC);
    int listener = open_listener();
    watch(listener, &listener_mark);
    watch(STDIN_FILENO, &input_mark);
    for (;;) {
        long long left = deliver_due();
        struct timespec wait = {left / 1000000000, left % 1000000000};
        int found = epoll_pwait2(events, ready, 64, left < 0 ? NULL : &wait, NULL);
        for (int i = 0; i < found; i++) {
            if (ready[i].data.ptr == &input_mark)
                return 0;
            if (ready[i].data.ptr == &listener_mark)
                take_in(listener);
            else
                read_chunk(ready[i].data.ptr);
        }
        if (found < 0)
            fail("epoll_pwait2");
    }
}
