package inventory

import (
	"debug/elf"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A child is started twice. The first time it takes from itself, for good, what its second self must not have: only a
// process that starts has no thread that was missed.
//
//   - privileges: setuid files and the like are without effect
//   - files: by Landlock, where the kernel has it, none can be opened but the program itself. What is open stays open, but
//     only the image's files are: this process may have been started with others.
//   - resources: data, CPU time, the size of files, the number of open files, core dumps
//
// The second self takes from itself the system calls that it does not need: see restrict.

// self is the running program, even when another lies at its path by now.
const self = "/proc/self/exe"

// args are the limits as confine reads them, and how many files the child is given.
func (l Limits) args(files int) []string {
	return []string{strconv.Itoa(files), strconv.FormatInt(l.Memory, 10), strconv.FormatInt(int64((l.CPU+time.Second-1)/time.Second), 10), strconv.FormatInt(l.Spool, 10)}
}

// confine starts the second self. It returns only when it cannot.
func confine(args []string) error {
	var limits [4]uint64
	if len(args) != len(limits) {
		return errors.New("confine: the limits are missing")
	}
	for i, arg := range args {
		n, err := strconv.ParseUint(arg, 10, 63)
		if err != nil {
			return fmt.Errorf("confine: %w", err)
		}
		limits[i] = n
	}
	files, memory, cpu, size := limits[0], limits[1], limits[2], limits[3]
	for _, l := range []struct {
		name          string
		resource      int
		warning, stop uint64
	}{
		{"data", unix.RLIMIT_DATA, memory, memory}, // Go reserves more addresses than it uses, so these cannot be limited
		{"CPU", unix.RLIMIT_CPU, cpu, cpu + 1},
		{"file size", unix.RLIMIT_FSIZE, size, size},
		{"open files", unix.RLIMIT_NOFILE, 256, 256},
		{"core", unix.RLIMIT_CORE, 0, 0},
	} {
		if err := syscall.Setrlimit(l.resource, &syscall.Rlimit{Cur: l.warning, Max: l.stop}); err != nil {
			return fmt.Errorf("confine: limit its %s: %w", l.name, err)
		}
	}

	if err := unix.CloseRange(uint(spoolFD+files), math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		for fd := spoolFD + int(files); fd < 64<<10; fd++ { // an old kernel
			unix.CloseOnExec(fd)
		}
	}

	runtime.LockOSThread() // what follows holds for this thread, and for what it starts
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("confine: give up privileges: %w", err)
	}
	if err := lockFiles(); err != nil {
		return fmt.Errorf("confine: give up files: %w", err)
	}
	return fmt.Errorf("confine: start: %w", syscall.Exec(self, []string{childName, "extract"}, []string{}))
}

// lockFiles gives up opening files, and TCP where the kernel knows how: https://docs.kernel.org/userspace-api/landlock.html.
// A file without a directory can be opened again by who has it open.
func lockFiles() error {
	version, _, no := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if no == unix.ENOSYS || no == unix.EOPNOTSUPP {
		return nil // the kernel does not have it, or it is off
	}
	if no != 0 {
		return no
	}
	rules := struct{ files, network, scopes uint64 }{files: unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1} // all of the first version
	for _, later := range []struct {
		version                uintptr
		files, network, scopes uint64
	}{
		{2, unix.LANDLOCK_ACCESS_FS_REFER, 0, 0},
		{3, unix.LANDLOCK_ACCESS_FS_TRUNCATE, 0, 0},
		{4, 0, unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, 0},
		{5, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV, 0, 0},
		{6, 0, 0, unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL},
	} {
		if version >= later.version {
			rules.files |= later.files
			rules.network |= later.network
			rules.scopes |= later.scopes
		}
	}
	fd, _, no := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rules)), unsafe.Sizeof(rules), 0)
	if no != 0 {
		return no
	}
	ruleset := int(fd)
	defer unix.Close(ruleset)
	if err := allow(ruleset, self, unix.LANDLOCK_ACCESS_FS_EXECUTE|unix.LANDLOCK_ACCESS_FS_READ_FILE); err != nil {
		return err
	}
	if isDynamic() { // a build with cgo needs its libraries to start
		for _, libraries := range []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"} {
			err := allow(ruleset, libraries, unix.LANDLOCK_ACCESS_FS_EXECUTE|unix.LANDLOCK_ACCESS_FS_READ_FILE)
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	if _, _, no := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); no != 0 {
		return no
	}
	return nil
}

// allow leaves the right to what is at and below a path.
func allow(ruleset int, path string, access uint64) error {
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(at)}
	_, _, no := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if no != 0 {
		return no
	}
	return nil
}

// isDynamic reports whether the program needs a dynamic linker.
func isDynamic() bool {
	f, err := elf.Open(self)
	if err != nil {
		return true
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true
		}
	}
	return false
}
