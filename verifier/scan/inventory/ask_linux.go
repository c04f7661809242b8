package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ask starts a child, gives it a request and the files that it is about, and returns what it answers. Whatever happens, the
// child and all that it may have started are gone when ask returns, and so are its files.
func ask(ctx context.Context, directory string, limits Limits, r *request, files []*os.File) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Time, fmt.Errorf("it took longer than %s", limits.Time))
	defer cancel()
	asked, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}

	child, said, listen, talk, err := start(directory, limits, files)
	if err != nil {
		return nil, fmt.Errorf("start a child: %w", err)
	}
	defer talk.Close() // the child ends with it
	defer listen.Close()
	kill := func() { _ = syscall.Kill(-child.Process.Pid, syscall.SIGKILL) }
	stop := context.AfterFunc(ctx, kill)
	defer stop()

	go func() { _, _ = talk.Write(append(asked, '\n')) }()
	raw, err := io.ReadAll(io.LimitReader(listen, limits.Output+1))
	tooMuch := int64(len(raw)) > limits.Output
	if err != nil || tooMuch {
		kill()
	}
	ended := child.Wait()
	kill() // what it may have left behind
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case tooMuch:
		return nil, fmt.Errorf("the child said more than %d bytes", limits.Output)
	case err != nil:
		return nil, fmt.Errorf("listen to the child: %w", err)
	case ended != nil:
		return nil, fmt.Errorf("the child failed: %w: %s", ended, line(said.String()))
	}
	return raw, nil
}

// start starts a child in a process group of its own, with an empty environment, in a directory that is gone when it runs,
// and where the system permits it without a network.
func start(directory string, limits Limits, files []*os.File) (child *exec.Cmd, said *opening, listen, talk *os.File, err error) {
	empty, err := os.MkdirTemp(directory, "sealgate-")
	if err != nil {
		return nil, nil, nil, nil, err
	}
	defer os.Remove(empty)

	in, talk, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, nil, err
	}
	defer in.Close()
	listen, out, err := os.Pipe()
	if err != nil {
		_ = talk.Close()
		return nil, nil, nil, nil, err
	}
	defer out.Close()

	said = &opening{}
	for _, namespaces := range apart() {
		child = &exec.Cmd{
			Path: "/proc/self/exe", Args: append([]string{childName, "confine"}, limits.args(len(files))...), Env: []string{}, Dir: empty,
			Stdin: in, Stdout: out, Stderr: said, ExtraFiles: files,
			SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Cloneflags: namespaces},
			WaitDelay:   5 * time.Second,
		}
		if namespaces&unix.CLONE_NEWUSER != 0 {
			child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
			child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		}
		if err = child.Start(); err == nil || namespaces == 0 {
			break
		}
	}
	if err != nil {
		_, _ = talk.Close(), listen.Close()
		return nil, nil, nil, nil, err
	}
	return child, said, listen, talk, nil
}

// apart lists the namespaces to try, the best first: a network of its own needs privileges, or the right to be privileged
// in a namespace of one's own. The last is none.
func apart() []uintptr {
	if os.Geteuid() == 0 {
		return []uintptr{unix.CLONE_NEWNET | unix.CLONE_NEWIPC, 0}
	}
	return []uintptr{unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWIPC, 0}
}

// nameless makes a file that no directory has: whatever ends the process ends the file.
func nameless(directory string) (*os.File, error) {
	if directory == "" {
		directory = os.TempDir()
	}
	fd, err := unix.Open(directory, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), "spool"), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) { // which old file systems say
		return nil, err
	}
	f, err := os.CreateTemp(directory, "sealgate-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// opening keeps the beginning of what a child says about its own failure.
type opening struct{ bytes.Buffer }

func (t *opening) Write(p []byte) (int, error) {
	if left := 4<<10 - t.Len(); left > 0 {
		t.Buffer.Write(p[:min(left, len(p))])
	}
	return len(p), nil
}
