/** The C library's functions in use. Addresses, sizes and pointers are Numbers, see `ffi.ts`. */

import { raiseErrno } from './errno.ts';
import { bind, library } from './ffi.ts';

type Call3 = (fd: number, address: number, length: number) => number;

function load() {
  const program = library(null);
  return {
    close: bind<(fd: number) => number>(program, 'int close(int fd)'),
    fcntl: bind<(fd: number, command: number, argument: number) => number>(
      program,
      'int fcntl(int fd, int command, int64_t argument)',
    ),
    read: bind<Call3>(program, 'int64_t read(int fd, int64_t address, int64_t length)'),
    write: bind<Call3>(program, 'int64_t write(int fd, int64_t address, int64_t length)'),
    writev: bind<Call3>(program, 'int64_t writev(int fd, int64_t vectors, int count)'),
    open: bind<(path: string, flags: number) => number>(program, 'int open(const char *path, int flags)'),
    ioctl: bind<(fd: number, request: number, argument: number) => number>(
      program,
      'int ioctl(int fd, int64_t request, int64_t argument)',
    ),
    poll: bind<(fds: number, count: number, timeoutMs: number) => number>(
      program,
      'int poll(int64_t fds, int64_t count, int timeoutMs)',
    ),
    eventfd: bind<(initial: number, flags: number) => number>(program, 'int eventfd(uint32_t initial, int flags)'),
    mmap: bind<(hint: number, length: number, protection: number, flags: number, fd: number, offset: number) => number>(
      program,
      'int64_t mmap(int64_t hint, int64_t length, int protection, int flags, int fd, int64_t offset)',
    ),
    memcpy: bind<(to: number, from: number, length: number) => number>(
      program,
      'int64_t memcpy(int64_t to, int64_t from, int64_t length)',
    ),
    madvise: bind<(address: number, length: number, advice: number) => number>(
      program,
      'int madvise(int64_t address, int64_t length, int advice)',
    ),
    malloc_trim: bind<(keep: number) => number>(program, 'int malloc_trim(int64_t keep)'),
    munmap: bind<(address: number, length: number) => number>(program, 'int munmap(int64_t address, int64_t length)'),
    socket: bind<Call3>(program, 'int socket(int domain, int type, int protocol)'),
    socketpair: bind<(domain: number, type: number, protocol: number, pair: number) => number>(
      program,
      'int socketpair(int domain, int type, int protocol, int64_t pair)',
    ),
    dup3: bind<Call3>(program, 'int dup3(int from, int to, int flags)'),
    bind: bind<Call3>(program, 'int bind(int fd, int64_t address, int length)'),
    connect: bind<Call3>(program, 'int connect(int fd, int64_t address, int length)'),
    getsockname: bind<Call3>(program, 'int getsockname(int fd, int64_t address, int64_t length)'),
    setsockopt: bind<(fd: number, level: number, option: number, value: number, length: number) => number>(
      program,
      'int setsockopt(int fd, int level, int option, int64_t value, int length)',
    ),
    getsockopt: bind<(fd: number, level: number, option: number, value: number, length: number) => number>(
      program,
      'int getsockopt(int fd, int level, int option, int64_t value, int64_t length)',
    ),
    send: bind<(fd: number, address: number, length: number, flags: number) => number>(
      program,
      'int64_t send(int fd, int64_t address, int64_t length, int flags)',
    ),
    recv: bind<(fd: number, address: number, length: number, flags: number) => number>(
      program,
      'int64_t recv(int fd, int64_t address, int64_t length, int flags)',
    ),
    clock_gettime: bind<(clock: number, timespec: number) => number>(
      program,
      'int clock_gettime(int clock, int64_t timespec)',
    ),
    flock: bind<(fd: number, operation: number) => number>(program, 'int flock(int fd, int operation)'),
    sendmmsg: bind<(fd: number, messages: number, count: number, flags: number) => number>(
      program,
      'int sendmmsg(int fd, int64_t messages, int count, int flags)',
    ),
    recvmmsg: bind<(fd: number, messages: number, count: number, flags: number, timeout: number) => number>(
      program,
      'int recvmmsg(int fd, int64_t messages, int count, int flags, int64_t timeout)',
    ),
  };
}

let loaded: ReturnType<typeof load> | undefined;

export function libc(): ReturnType<typeof load> {
  loaded ??= load();
  return loaded;
}

/** The result of a call, or an error that names it. To stand around the call itself, as errno is read here. */
export function check(result: number, call: string, hint = ''): number {
  return result < 0 ? raiseErrno(call, hint) : result;
}
