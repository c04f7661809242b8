//go:build !linux

package inventory

import (
	"context"
	"errors"
	"os"

	"github.com/google/osv-scalibr/extractor/filesystem"
)

// Images are read on Linux alone: nowhere else can a child be kept apart.

var errOnlyLinux = errors.New("images are read on Linux alone")

func ask(context.Context, string, Limits, *request, []*os.File) ([]byte, error) {
	return nil, errOnlyLinux
}

func nameless(string) (*os.File, error) { return nil, errOnlyLinux }

func confine([]string) error { return errOnlyLinux }

func restrict() error { return errOnlyLinux }

func onDisk(*filesystem.ScanInput) (func(), error) { return nil, errOnlyLinux }
