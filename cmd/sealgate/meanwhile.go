package main

import (
	"fmt"
	"io"
	"time"
)

// How often is told for how long work goes on.
const (
	toldOnTerminal = time.Second
	toldElsewhere  = 30 * time.Second
)

// meanwhile tells for how long work goes on, until done is called: on a terminal in one line that is gone afterwards,
// elsewhere a line each half minute. Of short work it tells nothing.
func meanwhile(w io.Writer, what string) (done func()) {
	return tellTime(w, what, isTerminal(w))
}

func tellTime(w io.Writer, what string, terminal bool) (done func()) {
	every, line, clear := toldElsewhere, "sealgate: %s, %s so far\n", ""
	if terminal {
		every, line, clear = toldOnTerminal, "\r\x1b[K%s, %s so far", "\r\x1b[K"
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		began, ticker := time.Now(), time.NewTicker(every)
		defer ticker.Stop()
		for told := false; ; told = true {
			select {
			case <-stop:
				if told {
					_, _ = io.WriteString(w, clear)
				}
				return
			case <-ticker.C:
				_, _ = fmt.Fprintf(w, line, what, time.Since(began).Round(time.Second))
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}
