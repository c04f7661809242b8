package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confineName is the name of this program when it is started to become a scanner.
const confineName = "sealgate-confine"

// confinement is what a process gives up before it becomes a scanner.
type confinement struct {
	Program string   `json:"program"` // what to become; empty: only say what can be given up
	Argv    []string `json:"argv"`
	Limits  Limits   `json:"limits"`
	Hidden  []string `json:"hidden"`
	Folder  string   `json:"folder"` // beneath something hidden, and open all the same
	Apart   bool     `json:"apart"`  // it is in namespaces of its own
}

// isolation is what this system permits us to take from a process.
type isolation struct {
	flags uintptr // of new namespaces
	users bool    // a namespace of users, for who is not root
	files bool    // Landlock
}

const namespaces = syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNS

// lacks says what a scanner can do that it should not, empty for nothing.
func (i isolation) lacks() string {
	var all []string
	if i.flags == 0 {
		all = append(all, "use the network, reach services of this machine, and see other processes")
	}
	if !i.files {
		all = append(all, "read the gateway's files")
	}
	return strings.Join(all, "; ")
}

// ServeChild becomes a scanner, when this process was started to be one; otherwise it returns at once. A program that uses
// [Command] calls it first of all.
func ServeChild() {
	if len(os.Args) != 2 || os.Args[0] != confineName {
		return
	}
	var c confinement
	err := json.Unmarshal([]byte(os.Args[1]), &c)
	if err == nil {
		err = c.become()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "confine:", err)
		os.Exit(126)
	}
	os.Exit(0)
}

// become gives up what a scanner does not need, and becomes it. What is given up is the thread's, and goes with it into the
// new program.
func (c *confinement) become() error {
	runtime.LockOSThread()
	if c.Apart {
		if err := hideSockets(c.Folder); err != nil {
			return err
		}
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	hides, err := hide(c.Hidden, c.Folder)
	if err != nil {
		return fmt.Errorf("hide files: %w", err)
	}
	if c.Program == "" {
		fmt.Printf("files %v\n", hides)
		return nil
	}
	for resource, limit := range map[int]uint64{
		unix.RLIMIT_DATA: c.Limits.Memory, unix.RLIMIT_FSIZE: uint64(c.Limits.Scratch), unix.RLIMIT_CORE: 0,
	} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("set a limit: %w", err)
		}
	}
	return fmt.Errorf("start %s: %w", c.Argv[0], syscall.Exec(c.Program, c.Argv, os.Environ()))
}

// hideSockets lays something empty over the directories where services of this machine listen: a socket in the file system
// is reached from any network namespace.
func hideSockets(except string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep its mounts to itself: %w", err)
	}
	for _, dir := range []string{"/run", "/var/run"} {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil || real != dir || strings.HasPrefix(except, dir+"/") {
			continue // it is not there, is the other one, or what is to be scanned lies in it
		}
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, "size=4k,mode=555"); err != nil {
			return fmt.Errorf("hide %s: %w", dir, err)
		}
	}
	return nil
}

// dropCapabilities leaves root without anything but its name. Who is not root has nothing to give up.
func dropCapabilities() error {
	for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	var none [2]unix.CapUserData
	return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
}

// probe finds out what is permitted here.
func probe() isolation {
	candidates := []isolation{{flags: namespaces}, {flags: namespaces, users: true}, {}}
	if os.Geteuid() != 0 {
		candidates = candidates[1:]
	}
	for _, i := range candidates {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		cmd, err := i.command(ctx, confinement{Apart: i.flags != 0})
		if err == nil {
			said := []byte(nil)
			said, err = cmd.Output()
			i.files = string(said) == "files true\n"
		}
		cancel()
		if err == nil {
			return i
		}
	}
	return isolation{}
}

// confined is the command that becomes a program.
func (c *Command) confined(ctx context.Context, folder string, program *os.File, argv []string) (*exec.Cmd, error) {
	i := c.isolation()
	spec := confinement{Program: program.Name(), Argv: argv, Limits: c.Limits, Hidden: c.Hidden, Folder: folder, Apart: i.flags != 0}
	if c.Digest != "" {
		spec.Program = "/proc/self/fd/3" // the very file that was hashed
	}
	cmd, err := i.command(ctx, spec)
	if err == nil && c.Digest != "" {
		cmd.ExtraFiles = []*os.File{program}
	}
	return cmd, err
}

// command starts this program anew, to become another.
func (i isolation) command(ctx context.Context, spec confinement) (*exec.Cmd, error) {
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{confineName, string(raw)}
	cmd.Env = []string{}
	cmd.WaitDelay = 2 * time.Second // then its pipes are cut, whoever else holds them
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: i.flags}
	if i.users {
		// Root in there, because only root keeps what it needs to confine itself when it starts; nobody else outside.
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return os.ErrProcessDone
	}
	return cmd, nil
}

// What Landlock can forbid in its first version: https://docs.kernel.org/userspace-api/landlock.html
const (
	fileRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE
	allRights  = fileRights | unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
)

// hide takes the sight of files from this thread, except of one folder beneath them. Other processes' memory and
// environment are out of its sight as well: Landlock forbids to trace them. False: this kernel cannot do that.
//
// Landlock knows only what is permitted, so everything is permitted but the way to what is hidden.
func hide(hidden []string, except string) (bool, error) {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: allRights}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP {
		return false, nil
	}
	if errno != 0 {
		return false, errno
	}
	rules := ruleset(fd)
	defer unix.Close(int(fd))
	var real []string
	for _, path := range hidden {
		if path, err := filepath.EvalSymlinks(path); err == nil { // what is not there needs no hiding
			real = append(real, path)
		}
	}
	if err := rules.permit("/", real); err != nil {
		return false, err
	}
	if except != "" {
		if err := rules.add(except, true); err != nil {
			return false, err
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return false, errno
	}
	return true, nil
}

type ruleset uintptr

// permit permits what is beneath a directory, except what is hidden.
func (r ruleset) permit(dir string, hidden []string) error {
	beneath := false
	for _, h := range hidden {
		if h == dir {
			return nil
		}
		beneath = beneath || strings.HasPrefix(h, strings.TrimSuffix(dir, "/")+"/")
	}
	if !beneath {
		return r.add(dir, true)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		switch {
		case entry.Type()&os.ModeSymlink != 0: // counts by what it leads to
		case entry.IsDir():
			err = r.permit(path, hidden)
		case !isOneOf(path, hidden):
			err = r.add(path, false)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			return err
		}
	}
	return nil
}

func isOneOf(path string, all []string) bool {
	for _, other := range all {
		if other == path {
			return true
		}
	}
	return false
}

// add permits everything in a directory, or all that one can do with a file.
func (r ruleset) add(path string, directory bool) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	rule := unix.LandlockPathBeneathAttr{Allowed_access: fileRights, Parent_fd: int32(fd)}
	if directory {
		rule.Allowed_access = allRights
	}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
