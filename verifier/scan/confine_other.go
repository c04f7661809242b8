//go:build !linux

package scan

import (
	"context"
	"errors"
	"os"
	"os/exec"
)

// Programs scan on Linux alone: nowhere else can they be confined.

var errOnlyLinux = errors.New("scanners that are programs run on Linux alone")

type isolation struct{}

func (isolation) lacks() string { return "" }

func probe() isolation { return isolation{} }

// ServeChild returns.
func ServeChild() {}

func (c *Command) confined(context.Context, string, *os.File, []string) (*exec.Cmd, error) {
	return nil, errOnlyLinux
}

func identityOf(os.FileInfo) (identity, bool) { return identity{}, false }
