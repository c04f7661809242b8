package main

import (
	"context"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestThreat102_TheKernelEndsConnectionsOfClientsThatTakeNothing(t *testing.T) {
	listener := net.ListenConfig{Control: hangUpOnTheDeaf}
	l, err := listener.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	raw, err := accepted.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(socket uintptr) {
		got, err := unix.GetsockoptInt(int(socket), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if err != nil || got != int(deafTime.Milliseconds()) {
			t.Errorf("TCP_USER_TIMEOUT is %d, %v, want %s", got, err, deafTime)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
