package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLongWorkTellsThatItGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		terminal bool
		takes    time.Duration
		want     string
	}{
		"short work":               {false, 29 * time.Second, ""},
		"long work":                {false, 65 * time.Second, "sealgate: scanning, 30s so far\nsealgate: scanning, 1m0s so far\n"},
		"short work on a terminal": {true, 900 * time.Millisecond, ""},
		"long work on a terminal":  {true, 2500 * time.Millisecond, "\r\x1b[Kscanning, 1s so far\r\x1b[Kscanning, 2s so far\r\x1b[K"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				done := tellTime(&out, "scanning", c.terminal)
				time.Sleep(c.takes)
				done()
				if out.String() != c.want {
					t.Errorf("got %q, want %q", out.String(), c.want)
				}
			})
		})
	}
}
