package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Children. Whatever a test starts dies with the test process, even when that is killed: the kernel sends SIGKILL when the
// thread ends that started a child, so one thread starts them all and lives as long as the process.

type startRequest struct {
	cmd  *exec.Cmd
	done chan error
}

var startRequests = sync.OnceValue(func() chan<- startRequest {
	requests := make(chan startRequest)
	go func() {
		runtime.LockOSThread()
		for r := range requests {
			r.done <- r.cmd.Start()
		}
	}()
	return requests
})

func startChild(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	r := startRequest{cmd, make(chan error, 1)}
	startRequests() <- r
	return <-r.done
}

// environment is what children see: nothing of the person who runs the tests, no proxy, no credentials.
func environment(extra ...string) []string {
	return append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + filepath.Join(suite.dir, "home"),
		"TMPDIR=" + filepath.Join(suite.dir, "tmp"),
		"LC_ALL=C.UTF-8",
		"NO_COLOR=1",
		"HTTPS_PROXY=http://127.0.0.1:1", // whatever would leave this machine ends here; loopback is not proxied
	}, extra...)
}

// process is a daemon.
type process struct {
	cmd  *exec.Cmd
	log  string        // the file that has its output
	done chan struct{} // closed when it ended
}

var processes struct {
	mu  sync.Mutex
	all []*process
}

// startProcess starts a daemon whose output goes to a file.
func startProcess(log string, env []string, name string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{cmd: exec.Command(name, args...), log: log, done: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = environment(env...), out, out, filepath.Dir(log)
	if err := startChild(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	processes.mu.Lock()
	defer processes.mu.Unlock()
	processes.all = append(processes.all, p)
	return p, nil
}

// stop asks the daemon to end and returns its exit code, -1 when it had to be killed.
func (p *process) stop() int {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(20 * time.Second):
		p.kill()
		return -1
	}
}

func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// tail is the end of what the daemon printed.
func (p *process) tail() string {
	out, _ := os.ReadFile(p.log)
	return string(out[max(0, len(out)-4000):])
}

// complaints are the last warnings and errors in a log of ours, however long ago.
func (p *process) complaints() string {
	out, _ := os.ReadFile(p.log)
	var found []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, `"level":"WARN"`) || strings.Contains(line, `"level":"ERROR"`) {
			found = append(found, line)
		}
	}
	return strings.Join(found[max(0, len(found)-50):], "")
}

// ready waits until ok, which is asked again and again. It fails at once when the daemon ends.
func (p *process) ready(ok func() bool) error {
	err := poll(30*time.Second, func() (bool, string) { return p.ended() || ok(), "" })
	if err != nil || p.ended() {
		return fmt.Errorf("%s is not ready (ended: %v), its output ends with:\n%s", p.cmd.Path, p.ended(), p.tail())
	}
	return nil
}

// stopProcesses ends all daemons, the last started first.
func stopProcesses() {
	processes.mu.Lock()
	defer processes.mu.Unlock()
	for _, p := range slices.Backward(processes.all) {
		if !p.ended() {
			p.stop()
		}
	}
}

// result is what a command printed and how it ended.
type result struct {
	command string
	output  string // standard output and standard error
	stdout  string
	code    int
}

// patience is how long one command may take. Podman tries an unreachable registry for half a minute.
const patience = 90 * time.Second

func command(t *testing.T, env []string, name string, args ...string) result {
	t.Helper()
	return commandIn(t, filepath.Join(suite.dir, "home"), env, name, args...)
}

func commandIn(t *testing.T, dir string, env []string, name string, args ...string) result {
	t.Helper()
	r, err := execute(dir, env, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func execute(dir string, env []string, name string, args ...string) (result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout bytes.Buffer
	var output lockedBuffer
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, environment(env...), io.MultiWriter(&stdout, &output), &output
	cmd.WaitDelay = time.Second // a grandchild that holds the pipe must not hold us
	if err := startChild(cmd); err != nil {
		return result{}, fmt.Errorf("run %s: %w", name, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()

	err := cmd.Wait()
	r := result{
		command: name + " " + strings.Join(args, " "),
		output:  output.String(), stdout: stdout.String(), code: cmd.ProcessState.ExitCode(),
	}
	if ctx.Err() != nil {
		return r, fmt.Errorf("%s: still running after %s, it printed:\n%s", r.command, patience, r.output)
	}
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return r, fmt.Errorf("%s: %w", r.command, err)
	}
	return r, nil
}

// orExit is why a command did not end with 0.
func orExit(err error, r result) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: exit code %d:\n%s", r.command, r.code, r.output)
}

// ok ends the test unless the command ended with 0.
func (r result) ok(t *testing.T) result {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("%s\nexit code %d, want 0:\n%s", r.command, r.code, r.output)
	}
	return r
}

// fails ends the test unless the command ended with something else than 0.
func (r result) fails(t *testing.T) result {
	t.Helper()
	if r.code == 0 {
		t.Fatalf("%s\nexit code 0, it must not succeed:\n%s", r.command, r.output)
	}
	return r
}

// has fails the test for each text that the command did not print. Some print it in quotes.
func (r result) has(t *testing.T, texts ...string) result {
	t.Helper()
	unquoted := strings.NewReplacer(`\"`, `"`, `\n`, "\n").Replace(r.output)
	for _, text := range texts {
		if !strings.Contains(unquoted, text) {
			t.Errorf("%s\nprinted no %q:\n%s", r.command, text, r.output)
		}
	}
	return r
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
