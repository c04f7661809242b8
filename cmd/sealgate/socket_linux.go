package main

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// deafTime is how long a client may take nothing of what was sent to it: with a full window, or without an answer at all.
const deafTime = time.Minute

// hangUpOnTheDeaf has the kernel end connections of clients that take nothing (RFC 5482, TCP_USER_TIMEOUT), whose blobs it
// copies itself: a deadline in the program would have to be set for each piece. Accepted connections inherit it.
func hangUpOnTheDeaf(_, _ string, raw syscall.RawConn) error {
	var err error
	return errors.Join(raw.Control(func(socket uintptr) {
		err = unix.SetsockoptInt(int(socket), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deafTime.Milliseconds()))
	}), err)
}
