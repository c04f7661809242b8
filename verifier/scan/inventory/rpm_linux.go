package inventory

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/google/osv-scalibr/extractor/filesystem"
	"golang.org/x/sys/unix"
)

// onDisk gives an extractor that opens its file by name a name to open: of a copy in memory, which no directory has. It
// works where the process may open nothing else.
func onDisk(input *filesystem.ScanInput) (close func(), err error) {
	fd, err := unix.MemfdCreate("rpmdb", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("copy it into memory: %w", err)
	}
	copied := os.NewFile(uintptr(fd), "rpmdb")
	if _, err := io.Copy(copied, input.Reader); err != nil {
		_ = copied.Close()
		return nil, fmt.Errorf("copy it into memory: %w", err)
	}
	input.Root, input.Path = "/proc/self/fd", strconv.Itoa(fd)
	return func() { _ = copied.Close() }, nil
}
