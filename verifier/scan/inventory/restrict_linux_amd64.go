package inventory

import "golang.org/x/sys/unix"

const architecture = unix.AUDIT_ARCH_X86_64

// neededHere are calls that newer architectures no longer have.
var neededHere = []uintptr{
	unix.SYS_OPEN, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_NEWFSTATAT, unix.SYS_ACCESS, unix.SYS_READLINK, unix.SYS_POLL, unix.SYS_EPOLL_WAIT, unix.SYS_ARCH_PRCTL,
	unix.SYS_TIME, unix.SYS_DUP2,
}
