package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sealgate/sealgate/policy"
)

// run runs a program in a folder and hands its standard output to read. Whatever its exit status is: what it printed says
// whether it did its work, unless something ended it.
func (c *Command) run(ctx context.Context, folder, path string, argv []string, limit int64, read func(io.Reader) error) error {
	program, err := c.open(path)
	if err != nil {
		return err
	}
	defer program.Close()
	env := append([]string{"PATH=" + Path}, c.Environment...)
	for name, dir := range map[string]string{"HOME": "home", "TMPDIR": "tmp", "": "cwd"} {
		path := filepath.Join(folder, dir)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		if name != "" {
			env = append(env, name+"="+path)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd, err := c.confined(ctx, folder, program, argv)
	if err != nil {
		return err
	}
	cmd.Env, cmd.Dir = env, filepath.Join(folder, "cwd")
	complaint, before := &tail{}, used(folder)
	cmd.Stderr = complaint
	stdout, err := pipeTo(cmd)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause // before it began
	}
	if err != nil {
		return err
	}
	defer stdout.Close()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watchDisk(ctx, folder, before, cancel)
	}()
	done := make(chan error, 1)
	go func() {
		err := read(&capped{stdout, limit})
		if err != nil {
			time.AfterFunc(grace, func() { cancel(err) }) // it may say itself why it ends
		}
		done <- err
	}()

	waitErr := cmd.Wait()
	_ = stdout.SetReadDeadline(time.Now().Add(grace)) // somebody else may hold its other end
	readErr := <-done
	cause := context.Cause(ctx)
	cancel(nil)
	<-watched

	exit, _ := errors.AsType[*exec.ExitError](waitErr)
	var status syscall.WaitStatus
	if exit != nil {
		status, _ = exit.Sys().(syscall.WaitStatus)
	}
	switch {
	case cause != nil && cause != readErr:
		return fmt.Errorf("%w%s", cause, complaint.said())
	case cause == nil && status.Signaled():
		return fmt.Errorf("it was ended by a signal (%s)%s", status.Signal(), complaint.said())
	case readErr != nil && exit != nil && !status.Signaled():
		return fmt.Errorf("%w (exit status %d)%s", readErr, status.ExitStatus(), complaint.said())
	case readErr != nil:
		return fmt.Errorf("%w%s", readErr, complaint.said())
	case waitErr != nil && exit == nil:
		return waitErr
	}
	return nil
}

// grace is how long a program has to end by itself, and its pipes to empty.
const grace = 500 * time.Millisecond

// pipeTo starts a program and returns its standard output.
func pipeTo(cmd *exec.Cmd) (*os.File, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = in
	err = cmd.Start()
	_ = in.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start it: %w", err), out.Close())
	}
	return out, nil
}

// watchDisk ends a program that fills the disk. What lay in its folder before is not its own.
func (c *Command) watchDisk(ctx context.Context, folder string, before int64, end context.CancelCauseFunc) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if used(folder)-before > c.Limits.Scratch {
				end(fmt.Errorf("it wrote more than %d bytes to disk", c.Limits.Scratch))
				return
			}
		}
	}
}

// used is how much lies in a directory.
func used(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err != nil {
			return nil // it was removed meanwhile
		}
		if info, err := entry.Info(); err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += stat.Blocks * 512
			}
		}
		return nil
	})
	return sum
}

// removeAll removes a folder, whatever modes the program gave to what is in it.
func removeAll(folder string) {
	if os.RemoveAll(folder) == nil {
		return
	}
	_ = filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	_ = os.RemoveAll(folder) // what is left goes with the next start
}

// capped fails where there is more than a limit.
type capped struct {
	from io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, errors.New("it printed too much")
	}
	return n, err
}

// tail keeps the end of what is written to it.
type tail struct{ end []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.end = append(t.end, p...)
	if over := len(t.end) - maxComplaint; over > 0 {
		t.end = append(t.end[:0], t.end[over:]...)
	}
	return len(p), nil
}

// said is the last line, for the log.
func (t *tail) said() string {
	lines := strings.Split(strings.TrimSpace(string(t.end)), "\n")
	last := policy.Printable(lines[len(lines)-1])
	if last == "" {
		return ""
	}
	return "; it said: " + last
}
