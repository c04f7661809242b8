package scan

import (
	"os"
	"syscall"
	"time"
)

// identityOf is false where the system does not tell.
func identityOf(stat os.FileInfo) (identity, bool) {
	raw, ok := stat.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, false
	}
	return identity{raw.Dev, raw.Ino, raw.Size, time.Unix(raw.Ctim.Unix())}, true
}
