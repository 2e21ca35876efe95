/* Faults of a machine that a test cannot have: put before libc by LD_PRELOAD, switched by files in $INJECT_DIR.
 * clock: seconds that the time of day is off. full: no room to write. broken: reads fail. network: the disk is another
 * machine's. readonly: a part of the paths that cannot be opened for writing. slow: milliseconds that a read takes. watch:
 * every path that is opened is noted in the file `opened`. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* Whether a switch is on, and what is written in it. */
static int is_on(const char *name, char *text, size_t size) {
  const char *folder = getenv("INJECT_DIR");
  char path[1024];
  if (!folder) return 0;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  int kept = errno, fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0);
  errno = kept;
  if (fd < 0) return 0;
  long got = syscall(SYS_read, fd, text, size - 1);
  text[got > 0 ? got : 0] = 0;
  syscall(SYS_close, fd);
  return 1;
}

static void note(const char *opened) {
  char text[4096], path[1024];
  if (!is_on("watch", text, sizeof text)) return;
  snprintf(path, sizeof path, "%s/opened", getenv("INJECT_DIR"));
  int length = snprintf(text, sizeof text, "%s\n", opened), kept = errno;
  int fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT, 0600);
  if (fd >= 0) {
    syscall(SYS_write, fd, text, length < (int)sizeof text ? length : (int)sizeof text - 1);
    syscall(SYS_close, fd);
  }
  errno = kept;
}

static int is_file(int fd) {
  struct stat found;
  return fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

static int fails(const char *name, int fd, int error) {
  char text[64];
  if (!is_file(fd) || !is_on(name, text, sizeof text)) return 0;
  errno = error;
  return 1;
}

int clock_gettime(clockid_t id, struct timespec *now) {
  char text[64];
  int result = syscall(SYS_clock_gettime, id, now);
  if (result == 0 && id == CLOCK_REALTIME && is_on("clock", text, sizeof text)) now->tv_sec += atol(text);
  return result;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  return fails("full", fd, ENOSPC) ? -1 : syscall(SYS_write, fd, bytes, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  return fails("full", fd, ENOSPC) ? -1 : syscall(SYS_pwrite64, fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
  char text[64];
  if (is_on("slow", text, sizeof text)) usleep(atol(text) * 1000);
  return fails("broken", fd, EIO) ? -1 : syscall(SYS_pread64, fd, bytes, count, at);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t at) { return pread64(fd, bytes, count, at); }

int statfs64(const char *path, struct statfs64 *found) {
  char text[64];
  int result = syscall(SYS_statfs, path, found);
  if (result == 0 && is_on("network", text, sizeof text)) found->f_type = 0x6969;
  return result;
}

int statfs(const char *path, struct statfs *found) { return statfs64(path, (struct statfs64 *)found); }

int open64(const char *path, int flags, ...) {
  char text[1024];
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  note(path);
  if ((flags & (O_WRONLY | O_RDWR)) && is_on("readonly", text, sizeof text) && strstr(path, text)) {
    errno = EROFS;
    return -1;
  }
  return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  return open64(path, flags, mode);
}
