/* Lets one sync fail: the n-th on a file under a directory, as a bad sector does. Loaded before the C library. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long seen;

static int fails(const char *call, int file) {
    const char *under = getenv("SYNC_FAILS_UNDER"), *at = getenv("SYNC_FAILS_AT");
    char link[64], path[PATH_MAX];
    if (!under || !at) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, under, strlen(under)) != 0) return 0;
    if (atomic_fetch_add(&seen, 1) + 1 != atol(at)) return 0;
    dprintf(STDERR_FILENO, "made to fail: %s of %s\n", call, path);
    errno = EIO;
    return 1;
}

int fsync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return fails("fsync", file) ? -1 : real(file);
}

int fdatasync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return fails("fdatasync", file) ? -1 : real(file);
}
