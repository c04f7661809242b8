package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, which Linux fixes at 100 a second for programs to see.
const clockTick = time.Second / 100

// CPU is the processor time that the program and its children, such as nginx's workers, have used: user and system, in
// steps of 10 ms.
func (p *Program) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.family() {
		fields, err := stat(pid)
		if err != nil {
			return 0, err
		}
		for _, field := range fields[11:13] { // utime, stime
			ticks, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read times of process %d: %w", pid, err)
			}
			sum += time.Duration(ticks) * clockTick
		}
	}
	return sum, nil
}

// Memory is the resident memory of the program and its children, in bytes.
func (p *Program) Memory() (int64, error) {
	var sum int64
	for _, pid := range p.family() {
		fields, err := stat(pid)
		if err != nil {
			return 0, err
		}
		pages, err := strconv.ParseInt(fields[21], 10, 64) // rss
		if err != nil {
			return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
		}
		sum += pages * int64(os.Getpagesize())
	}
	return sum, nil
}

// family lists the processes of the program's group.
func (p *Program) family() []int {
	leader := p.command.Process.Pid
	pids := []int{leader}
	found, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range found {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil || pid == leader {
			continue
		}
		if fields, err := stat(pid); err == nil && fields[2] == strconv.Itoa(leader) { // pgrp
			pids = append(pids, pid)
		}
	}
	return pids
}

// stat reads the fields of /proc/PID/stat from the third on; see proc(5). The second, the program's name, may hold spaces.
func stat(pid int) ([]string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("read process %d: %w", pid, err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 22 {
		return nil, fmt.Errorf("read process %d: its stat has %d fields", pid, len(fields))
	}
	return fields, nil
}
