package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/ledger"
)

func TestThreat089_TheTimeOfJudgementNeverGoesBack(t *testing.T) {
	began := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	const hour, year = time.Hour, 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		shown   time.Time
		elapsed time.Duration
		want    time.Time
	}{
		"it goes on":                       {began.Add(hour), hour, began.Add(hour)},
		"it is set back by a year":         {began.Add(hour - year), hour, began.Add(hour)},
		"it is set back by a second":       {began.Add(hour - time.Second), hour, began.Add(hour)},
		"it is set forward by a year":      {began.Add(hour + year), hour, began.Add(hour + year)},
		"and back again, to what is right": {began.Add(2 * hour), 2 * hour, began.Add(2 * hour)},
		"the machine slept for an hour":    {began.Add(2 * hour), hour, began.Add(2 * hour)},
	} {
		if got := gateway.Forward(c.shown, began, c.elapsed); !got.Equal(c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestThreat089_NothingIsSignedWhileTheClockIsCertainlyWrong(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	if a := r.push("a", "v1", im); a.status != http.StatusCreated {
		t.Fatal(a.status, string(a.body))
	}
	// Something in the ledger is of a time that the clock does not show yet; over a restart too.
	for _, ahead := range []time.Duration{4 * time.Minute, 6 * time.Minute} {
		if err := r.ledger.Record(ledger.Decision{ID: "01", Time: time.Now().Add(ahead)}); err != nil {
			t.Fatal(err)
		}
		r.restart()
		want := http.StatusCreated
		if ahead > 5*time.Minute {
			want = http.StatusServiceUnavailable
		}
		if a := r.push("a", "v2", newImage("65532", ahead.String())); a.status != want {
			t.Errorf("%s ahead: got %d %s, want %d", ahead, a.status, a.body, want)
		}
	}
	if d := r.last(); d.Outcome != ledger.Undecided || !strings.Contains(d.Cause, "the clock shows ") {
		t.Errorf("recorded %+v", d)
	}
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil) // what is sealed is pulled all the same
}

func TestThreat089_NothingIsSignedBeforeTheDayOfThisProgram(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		floor time.Time
		want  int
	}{{time.Now().Add(-time.Second), http.StatusCreated}, {time.Now().Add(time.Hour), http.StatusServiceUnavailable}} {
		r.notBefore(c.floor)
		if a := r.push("a", "v1", newImage("65532", c.floor.String())); a.status != c.want {
			t.Errorf("got %d %s, want %d", a.status, a.body, c.want)
		}
	}
}
