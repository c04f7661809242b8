package inventory

import (
	"syscall"
)

// confine starts this process anew.
func confine() error {
	return syscall.Exec("/proc/self/exe", []string{childName, "extract"}, []string{})
}

func seal() error { return nil }
