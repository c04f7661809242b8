package gateway

import (
	"fmt"
	"time"
)

// clock tells the time at which things are judged. It never goes back: a scan that is too old stays so when somebody sets the
// machine's clock back.
type clock struct {
	began time.Time // with its monotonic reading
	floor time.Time // before which no clock is right: this program did not exist
}

// maxBehind is how far behind what was recorded before the clock may be.
const maxBehind = 5 * time.Minute

func (c clock) now() time.Time {
	now := time.Now()
	return forward(now, c.began, now.Sub(c.began))
}

// forward is what a clock shows, or what it would show had it gone on evenly since it showed began, where that is later: a
// machine that slept went on, and one that was set back did not.
func forward(shown, began time.Time, elapsed time.Duration) time.Time {
	if even := began.Add(elapsed); even.Round(0).After(shown.Round(0)) {
		return even
	}
	return shown
}

// checkClock is an error where the clock is certainly wrong: what was signed now would bear a time before the program that
// signed it, or before what it decided earlier.
func (g *Gateway) checkClock() error {
	now := time.Now()
	if now.Before(g.clock.floor) {
		return fmt.Errorf("the clock shows %s, and this program is of %s", now.UTC().Format(time.RFC3339), g.clock.floor.UTC().Format(time.DateOnly))
	}
	if newest := g.ledger.Newest(); now.Before(newest.Add(-maxBehind)) {
		return fmt.Errorf("the clock shows %s, and the ledger has something of %s; set the clock, or remove the ledger's memory.db if it was wrong then",
			now.UTC().Format(time.RFC3339), newest.UTC().Format(time.RFC3339))
	}
	return nil
}
