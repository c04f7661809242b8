package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
)

// What counts as an outage decides when a memory stands in for a registry: only that it did not answer, or said that it cannot.
func TestUnavailableIsWhatDidNotAnswerOrSaidThatItCannot(t *testing.T) {
	unavailable := func(err error) bool {
		e, ok := errors.AsType[interface {
			error
			Unavailable() bool
		}](fmt.Errorf("list referrers: %w", err))
		return ok && e.Unavailable()
	}
	for status, want := range map[int]bool{
		http.StatusRequestTimeout: true, http.StatusTooManyRequests: true,
		http.StatusInternalServerError: true, http.StatusBadGateway: true, http.StatusServiceUnavailable: true, 599: true,
		http.StatusBadRequest: false, http.StatusUnauthorized: false, http.StatusForbidden: false, http.StatusNotFound: false,
		http.StatusNotAcceptable: false, http.StatusGone: false,
	} {
		if got := unavailable(&StatusError{Status: status}); got != want {
			t.Errorf("status %d: %v, want %v", status, got, want)
		}
	}
	for _, err := range []error{&wireError{errors.New("connection refused")}, ErrResting} {
		if !unavailable(err) {
			t.Errorf("%v is an outage", err)
		}
	}
	for _, err := range []error{ErrDigest, ErrTooLarge, ErrNotFound, errors.New("invalid character")} {
		if unavailable(err) {
			t.Errorf("%v is an answer", err)
		}
	}
}
