package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// ErrResting says that a registry was not asked, because it failed again and again just before. It is neither an answer
// nor an absence.
var ErrResting error = resting{}

type resting struct{}

func (resting) Error() string { return "the registry failed repeatedly and is left alone for a moment" }

// Unavailable is [StatusError.Unavailable].
func (resting) Unavailable() bool { return true }

// breaker leaves a registry alone that does not answer: after so many failures in a row nothing is sent for a while, and
// then one request finds out whether that is over. Who waits for a registry that is down holds a connection and a client's
// patience; who is told at once can go on. It is safe for concurrent use.
type breaker struct {
	mu       sync.Mutex // guards all below
	failures int        // in a row
	until    time.Time  // when it may be asked again; zero while it answers
	rest     time.Duration
	probing  bool
	refused  uint64
}

// enter asks whether a request may be sent. Who may, calls leave.
func (b *breaker) enter() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return nil
	}
	if left := time.Until(b.until); left > 0 || b.probing {
		b.refused++
		return fmt.Errorf("%w: %d failures in a row", ErrResting, b.failures)
	}
	b.probing = true
	return nil
}

// outcome is what a request says of its registry.
type outcome int

const (
	nothing outcome = iota // it was broken off by who asked, or by a body of his
	works                  // it answered
	fails                  // it did not, or said that it cannot
)

func (b *breaker) leave(o outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	probed := b.probing
	b.probing = false
	switch o {
	case works:
		b.failures, b.until, b.rest = 0, time.Time{}, 0
	case fails:
		b.failures++
		if probed || b.failures >= breakerFailures && b.until.IsZero() {
			b.rest = min(max(2*b.rest, breakerRest), maxBreakerRest)
			b.until = time.Now().Add(b.rest)
		}
	}
}

// state says whether requests are sent, and how many were not.
func (b *breaker) state() (open bool, refused uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.until.IsZero(), b.refused
}

// outcomeOf reads what a request came to. A 500 says nothing: there are requests that make a healthy registry answer so,
// and nobody may bring it down for others by sending them. A write says nothing bad, because its body is a client's.
func outcomeOf(req *http.Request, resp *http.Response, err error) outcome {
	switch {
	case err != nil && (errors.Is(req.Context().Err(), context.Canceled) || !reads(req)):
		return nothing
	case err != nil:
		return fails
	}
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if reads(req) {
			return fails
		}
		return nothing
	case http.StatusInternalServerError:
		return nothing
	}
	return works
}
