package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/verifier/inspect"
	"golang.org/x/sys/unix"
)

// probe is a child that does what its image's only file says, as an extractor would that hostile input has taken over.
func probe(r *request, ctx context.Context) (*Inventory, error) {
	taken, err := r.take(ctx)
	if err != nil || len(taken.Packages) != 1 || !strings.HasPrefix(taken.Packages[0].Name, "probe-") {
		return taken, err
	}
	what, with, _ := strings.Cut(strings.TrimPrefix(taken.Packages[0].Name, "probe-"), "=")
	if act := probes[what]; act != nil {
		return act(taken, with)
	}
	return nil, errors.New("no such probe")
}

var probes = map[string]func(taken *Inventory, with string) (*Inventory, error){
	"die": func(*Inventory, string) (*Inventory, error) {
		return nil, unix.Tgkill(os.Getpid(), unix.Gettid(), syscall.SIGKILL)
	},
	"abort":  func(*Inventory, string) (*Inventory, error) { os.Exit(2); return nil, nil },
	"silent": func(*Inventory, string) (*Inventory, error) { os.Exit(0); return nil, nil },
	"hang":   func(*Inventory, string) (*Inventory, error) { time.Sleep(time.Hour); return nil, nil },
	"spin": func(*Inventory, string) (*Inventory, error) {
		for {
			_ = os.Getpid()
		}
	},
	"panic":   func(*Inventory, string) (*Inventory, error) { panic("an extractor's") },
	"nothing": func(*Inventory, string) (*Inventory, error) { return nil, nil },
	"half": func(taken *Inventory, _ string) (*Inventory, error) {
		say(`{"image": %q, "inventory": {"image": %q, "packages": [], `, taken.Image, taken.Image)
		os.Exit(0)
		return nil, nil
	},
	"twice": func(taken *Inventory, _ string) (*Inventory, error) {
		say(`{"image": %q, "inventory": {"image": %q, "os": {"id": "", "version": "", "name": ""}, "packages": [], "gaps": [], "files": 0, "programs": 0}}`, taken.Image, taken.Image)
		return taken, nil
	},
	"other": func(taken *Inventory, _ string) (*Inventory, error) {
		taken.Image = digest.FromString("another")
		return taken, nil
	},
	"much": func(*Inventory, string) (*Inventory, error) {
		for {
			if _, err := unix.Write(1, make([]byte, 1<<20)); err != nil {
				return nil, err
			}
		}
	},
	"memory": func(*Inventory, string) (*Inventory, error) {
		for all := [][]byte{}; ; runtime.KeepAlive(all) {
			block := make([]byte, 16<<20)
			for i := 0; i < len(block); i += 4096 {
				block[i] = 1
			}
			all = append(all, block)
		}
	},
	"chatty": func(*Inventory, string) (*Inventory, error) {
		for range 100 {
			fmt.Fprintln(os.Stderr, strings.Repeat("\x1b[31mlies ", 1000))
		}
		os.Exit(1)
		return nil, nil
	},

	// What it may not do ends in an error, which is what these return.
	"read": func(_ *Inventory, path string) (*Inventory, error) {
		_, err := os.ReadFile(path)
		return nil, fmt.Errorf("probed: %w", err)
	},
	"write": func(_ *Inventory, path string) (*Inventory, error) {
		return nil, fmt.Errorf("probed: %w", os.WriteFile(path, []byte("x"), 0o644))
	},
	"dial": func(_ *Inventory, address string) (*Inventory, error) {
		_, err := net.Dial("tcp", address)
		return nil, fmt.Errorf("probed: %w", err)
	},
	"socket": func(*Inventory, string) (*Inventory, error) {
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		return nil, fmt.Errorf("probed: %w", err)
	},
	"run": func(*Inventory, string) (*Inventory, error) {
		return nil, fmt.Errorf("probed: %w", syscall.Exec(self, []string{"sh"}, nil))
	},
	"kill": func(_ *Inventory, pid string) (*Inventory, error) {
		n, _ := strconv.Atoi(pid)
		return nil, fmt.Errorf("probed: %w", syscall.Kill(n, syscall.SIGTERM))
	},
	"trace": func(_ *Inventory, pid string) (*Inventory, error) {
		n, _ := strconv.Atoi(pid)
		return nil, fmt.Errorf("probed: %w", unix.PtraceAttach(n))
	},
	"environment": func(*Inventory, string) (*Inventory, error) { return nil, fmt.Errorf("probed: %q", os.Environ()) },
	"files": func(*Inventory, string) (*Inventory, error) {
		var open []int
		for fd := range 256 {
			var stat unix.Stat_t
			if unix.Fstat(fd, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG {
				open = append(open, fd)
			}
		}
		return nil, fmt.Errorf("probed: %v", open)
	},
}

// say says something where answers are said.
func say(format string, args ...any) { _, _ = unix.Write(1, fmt.Appendf(nil, format, args...)) }

// probing is an image that makes the child do something.
func probing(t testing.TB, what string) Image {
	return image(t, layer{file("usr/lib/x.dist-info/METADATA", "Name: probe-"+what+"\nVersion: 1\n\n")})
}

func probed(t *testing.T, taker Taker, what string) error {
	t.Helper()
	taken, err := taker.Take(t.Context(), probing(t, what))
	if err == nil || taken != nil {
		t.Fatalf("%s: got %+v, %v, want an error", what, taken, err)
	}
	if !errors.Is(err, ErrUnknown) || errors.Is(err, inspect.ErrInvalid) {
		t.Errorf("%s: %v says that something is known of the image", what, err)
	}
	if strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 1000 {
		t.Errorf("%s: the error is not fit to be read: %q", what, err)
	}
	return err
}

// A scanner that hangs, dies, says nothing, half a word, too much, or speaks of another image: nobody can tell what is in
// the image, and nothing is left behind.
func TestThreat152_AChildThatFails(t *testing.T) {
	limited := taker(t)
	limited.Limits = Limits{Time: 3 * time.Second, CPU: time.Second, Output: 1 << 20, Memory: 512 << 20}
	for what, want := range map[string]string{
		"die":     "the child failed",
		"abort":   "exit status 2",
		"silent":  "its answer",
		"hang":    "it took longer than 3s",
		"spin":    "the child failed: signal: ",
		"panic":   "the child failed",
		"nothing": "says nothing",
		"half":    "its answer",
		"twice":   "its answer",
		"other":   "of another image",
		"much":    "more than 1048576 bytes",
		"memory":  "the child failed",
		"chatty":  "the child failed: exit status 1: ",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			limited := limited
			if what == "spin" {
				limited.Limits.Time = time.Minute
			}
			if err := probed(t, limited, what); !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q in it", err, want)
			}
		})
	}
}

// What hostile input that took a child over could do: read no file, reach no network and no process, start nothing, and it
// finds no environment and no file but the image's.
func TestThreat152_AChildThatIsTakenOver(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "gateway.key")
	if err := os.WriteFile(secret, []byte("a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := unix.Open(secret, unix.O_RDONLY, 0); err != nil { // as if we were started with it: not closed on exec
		t.Fatal(err)
	}
	this := strconv.Itoa(os.Getpid())
	for what, want := range map[string]string{
		"read=" + secret:                   "permission denied",
		"read=/etc/passwd":                 "permission denied",
		"read=/proc/" + this + "/environ":  "permission denied",
		"write=" + secret:                  "permission denied",
		"write=here":                       "no such file or directory",
		"write=/tmp/sealgate-probe":        "permission denied",
		"dial=" + listener.Addr().String(): "operation not permitted",
		"socket":                           "operation not permitted",
		"run":                              "operation not permitted",
		"kill=" + this:                     "operation not permitted",
		"trace=" + this:                    "operation not permitted",
		"environment":                      "probed: []",
		"files":                            "probed: [3 4]", // the spool and the only layer
	} {
		t.Run(what, func(t *testing.T) {
			if err := probed(t, taker(t), what); !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q in it", err, want)
			}
		})
	}
}

// A child ends with the one that waits for it.
func TestACallerThatGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := taker(t).Take(ctx, probing(t, "hang")); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

// When the gateway is killed, its children see the end of their input and end, and what they worked with has no name.
func TestAChildWithoutAParentEnds(t *testing.T) {
	i := probing(t, "hang")
	r, layers, err := i.open(Limits{}.orDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(layers)
	spool, err := nameless(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	child, _, listen, talk, err := start(t.TempDir(), r.Limits, append([]*os.File{spool}, layers...))
	if err != nil {
		t.Fatal(err)
	}
	defer listen.Close()
	if _, err := talk.Write(append(marshal(t, r), '\n')); err != nil {
		t.Fatal(err)
	}
	if err := talk.Close(); err != nil { // as the kernel does when we are killed
		t.Fatal(err)
	}
	if said, err := io.ReadAll(listen); err != nil || len(said) > 0 {
		t.Errorf("it said %q, %v", said, err)
	}
	if err := child.Wait(); err == nil {
		t.Error("it ended well")
	}
}
