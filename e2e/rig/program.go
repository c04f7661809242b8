// Package rig starts the programs that the conformance run, the benchmarks and the tests of our image put side by side: the
// gateway's own binary, distribution's registry, nginx. Each has a port and a folder of its own on this machine, and is
// stopped with everything that it started.
package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Bounds of a program's life.
const (
	maxStart = 20 * time.Second // from the start to the first answer
	maxStop  = 10 * time.Second // from SIGTERM to the end
	maxLog   = 64 << 10         // bytes that Log returns at most, the last ones
)

// Command is a program to be started.
type Command struct {
	Name    string   // for people
	Path    string   // of the binary
	Args    []string // without the name
	Env     []string // beside our own environment
	Dir     string   // working directory
	Address string   // host:port where it answers HTTP
	Ready   string   // path that it answers when it is ready, whatever the status
}

// Program is one that runs.
type Program struct {
	Name    string
	Address string // host:port

	command *exec.Cmd
	output  *os.File      // without a name
	ended   chan struct{} // closed once it was waited for
}

// Start starts a program and waits until it answers. The caller stops it.
func Start(ctx context.Context, c Command) (*Program, error) {
	command := exec.Command(c.Path, c.Args...)
	command.Env = append(os.Environ(), c.Env...)
	command.Dir = c.Dir
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A file, not a pipe that we would read: a server's chatter must not cost the one who measures.
	output, err := os.CreateTemp("", "sealgate-rig-")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	if err := os.Remove(output.Name()); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	p := &Program{Name: c.Name, Address: c.Address, command: command, output: output, ended: make(chan struct{})}
	command.Stdout, command.Stderr = output, output

	if err := <-starter(command); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	go func() {
		_ = command.Wait()
		close(p.ended)
	}()
	if err := p.await(ctx, "http://"+c.Address+c.Ready); err != nil {
		p.Stop()
		return nil, fmt.Errorf("start %s: %w\n%s", c.Name, err, p.Log())
	}
	return p, nil
}

// starter starts commands on one thread that lives as long as we do: the kernel kills a child when the thread ends that
// started it, and a run that is killed must not leave servers behind.
func starter(command *exec.Cmd) <-chan error {
	done := make(chan error, 1)
	starts() <- func() { done <- command.Start() }
	return done
}

var starts = sync.OnceValue(func() chan<- func() {
	requests := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range requests {
			start()
		}
	}()
	return requests
})

func (p *Program) await(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxStart, errors.New("it does not answer"))
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// URL is the program's address as a URL without a path.
func (p *Program) URL() string { return "http://" + p.Address }

// Log is the last part of what the program printed.
func (p *Program) Log() string {
	info, err := p.output.Stat()
	if err != nil {
		return ""
	}
	text := make([]byte, min(info.Size(), maxLog))
	n, _ := p.output.ReadAt(text, info.Size()-int64(len(text)))
	return string(text[:n])
}

// Stop ends the program and whatever it started. It may be called more than once.
func (p *Program) Stop() {
	group := -p.command.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(maxStop):
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	<-p.ended
}

// FreeAddress is an address on the loopback interface that nobody listens on now.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
