// A library that makes calls of tallyd fail. Tests load it with LD_PRELOAD.
//
// FAULT names the fault, FAULT_THREAD the thread that it hits, and FAULT_FILE a file that turns it on by existing. Some faults
// read their amount from that file.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int hits(const char *fault) {
    const char *wanted = getenv("FAULT"), *thread = getenv("FAULT_THREAD"), *file = getenv("FAULT_FILE");
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    return wanted && thread && file && !strcmp(wanted, fault) && !strcmp(name, thread) && !access(file, F_OK);
}

static void stall(void) {
    while (hits("stall")) {
        usleep(10000);
    }
}

int recvmmsg(int socket, struct mmsghdr *headers, unsigned count, int flags, struct timespec *timeout) {
    int (*real)(int, struct mmsghdr *, unsigned, int, struct timespec *) = dlsym(RTLD_NEXT, "recvmmsg");
    stall();
    if (hits("ENOSYS")) {
        errno = ENOSYS;
        return -1;
    }
    if (hits("ENOMEM")) {
        errno = ENOMEM;
        return -1;
    }
    int received = real(socket, headers, count, flags, timeout);
    // A length beyond the buffer makes the receiver panic.
    if (received > 0 && hits("panic")) {
        headers[0].msg_len = 1 << 30;
    }
    return received;
}

int getsockopt(int socket, int level, int name, void *value, socklen_t *length) {
    int (*real)(int, int, int, void *, socklen_t *) = dlsym(RTLD_NEXT, "getsockopt");
    // The flush asks for drops of the kernel in each interval.
    stall();
    int result = real(socket, level, name, value, length);
    // nix panics if an option has another length than expected.
    if (hits("short")) {
        *length = 1;
    }
    return result;
}

int accept4(int socket, struct sockaddr *address, socklen_t *length, int flags) {
    int (*real)(int, struct sockaddr *, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4");
    if (hits("EINVAL")) {
        errno = EINVAL;
        return -1;
    }
    return real(socket, address, length, flags);
}

ssize_t write(int file, const void *bytes, size_t count) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    // More than was asked for makes the exporter panic. Eight bytes wake another thread.
    return count > 8 && hits("written") ? (ssize_t)count + 1 : real(file, bytes, count);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    // The wall clock is off by as many seconds as the file says.
    if (clock == CLOCK_REALTIME && hits("clock")) {
        FILE *file = fopen(getenv("FAULT_FILE"), "r");
        long seconds = 0;
        if (file && fscanf(file, "%ld", &seconds) == 1) {
            now->tv_sec += seconds;
        }
        if (file) {
            fclose(file);
        }
    }
    return result;
}
