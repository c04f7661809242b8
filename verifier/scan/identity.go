package scan

import "time"

// identity tells whether a file is the one that it was, to its last byte. No program that writes to a file or replaces it can
// keep it the same: the time of the change is the kernel's own, unlike that of the modification, which anybody may set.
type identity struct {
	device, inode uint64
	size          int64
	changed       time.Time
}

// settled reports that a change from now on has another time. Clocks of file systems are coarse: what changes twice in one of
// their ticks has one time, as https://git-scm.com/docs/racy-git explains.
func (i identity) settled(now time.Time) bool { return now.Sub(i.changed) > 2*time.Second }
