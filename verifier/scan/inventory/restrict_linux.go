package inventory

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// needed are the system calls of a Go program that computes, reads and writes files, and of SQLite. All others fail: there is
// no way to start a program, to reach a network or another process, and little of the kernel to attack.
var needed = append([]uintptr{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_LSEEK, unix.SYS_CLOSE,
	unix.SYS_OPENAT, unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_FCNTL, unix.SYS_FLOCK, unix.SYS_FTRUNCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC,
	unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_READLINKAT, unix.SYS_GETDENTS64, unix.SYS_GETCWD, unix.SYS_MEMFD_CREATE, unix.SYS_DUP3,
	unix.SYS_COPY_FILE_RANGE, unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_PIPE2, unix.SYS_EVENTFD2,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_PPOLL,
	unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_MPROTECT, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_BRK,
	unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_SET_TID_ADDRESS,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY,
	unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETRUSAGE, unix.SYS_UNAME,
	unix.SYS_GETRANDOM, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}, neededHere...)

// Offsets in what a filter sees of a system call: https://docs.kernel.org/userspace-api/seccomp_filter.html
const (
	offsetNumber       = 0
	offsetArchitecture = 4
	offsetArgument     = 16 // the lower half of the first one; our machines are little-endian
)

// restrict takes from all threads the system calls that nobody needs. A kernel that cannot is left as it is.
func restrict() error {
	if architecture == 0 {
		return nil
	}
	filter := filterProgram()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	tid, _, no := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	switch {
	case no == unix.ENOSYS || no == unix.EINVAL:
		return nil
	case no != 0:
		return fmt.Errorf("give up system calls: %w", no)
	case tid != 0:
		return errors.New("give up system calls: a thread kept them")
	}
	return nil
}

// filterProgram is the filter.
func filterProgram() []unix.SockFilter {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equals = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		is     = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
		refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		absent = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	)
	filter := []unix.SockFilter{
		{Code: load, K: offsetArchitecture},
		{Code: equals, K: architecture, Jt: 1},
		{Code: answer, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: offsetNumber},

		{Code: equals, K: unix.SYS_CLONE, Jf: 4}, // threads, never processes
		{Code: load, K: offsetArgument},
		{Code: is, K: unix.CLONE_THREAD, Jf: 1},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
		{Code: answer, K: refuse},

		{Code: equals, K: unix.SYS_TGKILL, Jf: 4}, // its own threads, as the scheduler does
		{Code: load, K: offsetArgument},
		{Code: equals, K: uint32(os.Getpid()), Jf: 1},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
		{Code: answer, K: refuse},

		{Code: equals, K: unix.SYS_CLONE3, Jf: 1}, // libraries fall back to clone, whose flags can be seen
		{Code: answer, K: absent},
	}
	for _, number := range needed {
		filter = append(filter, unix.SockFilter{Code: equals, K: uint32(number), Jf: 1}, unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW})
	}
	return append(filter, unix.SockFilter{Code: answer, K: refuse})
}
