package inventory

import "golang.org/x/sys/unix"

const architecture = unix.AUDIT_ARCH_AARCH64

var neededHere = []uintptr{unix.SYS_FSTATAT}
