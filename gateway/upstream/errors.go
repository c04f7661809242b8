package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrNotFound is in the error when the registry answered, definitively, that it has no such thing. Errors that it is in
// have the method NotFound() bool, for packages that cannot name it.
var ErrNotFound error = notFound{}

type notFound struct{}

func (notFound) Error() string  { return "not found" }
func (notFound) NotFound() bool { return true }

var (
	// ErrDigest says that the registry sent other bytes than those that were asked for.
	ErrDigest = errors.New("upstream sent other bytes than the digest names")

	// ErrTooLarge says that there is more than a bound allows.
	ErrTooLarge = errors.New("larger than allowed")
)

// StatusError is an answer of the registry that is no success.
type StatusError struct {
	Status  int
	Code    string // of the OCI error, such as DENIED; empty when it had none
	Message string // the registry's words: bounded, of printable characters, and not for clients
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("status %d", e.Status)
	if e.Code != "" {
		s += " " + e.Code
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// NotFound reports a 404.
func (e *StatusError) NotFound() bool { return e.Status == http.StatusNotFound }

// Is makes a 404 an [ErrNotFound].
func (e *StatusError) Is(target error) bool { return target == ErrNotFound && e.NotFound() }

// Unavailable reports that the registry could not answer now, as a [StatusError] of 429 or 5xx says, and every failure on the
// way there. Errors of that kind have this method for packages that cannot name them.
func (e *StatusError) Unavailable() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout
}

// statusError reads the error that an answer is, and closes it.
func statusError(resp *http.Response) *StatusError {
	e := &StatusError{Status: resp.StatusCode}
	slow := time.AfterFunc(errorBodyTimeout, func() { resp.Body.Close() })
	defer slow.Stop()
	defer resp.Body.Close()

	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return e
	}
	var body struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Detail  any    `json:"detail"`
		} `json:"errors"`
	}
	if json.Unmarshal(raw, &body) == nil && len(body.Errors) > 0 {
		first := body.Errors[0]
		e.Code, e.Message = clean(first.Code), clean(first.Message)
		if first.Detail != nil && e.Status >= 500 {
			e.Message = clean(fmt.Sprintf("%s (%v)", e.Message, first.Detail)) // such as a full disk of the embedded registry
		}
	}
	return e
}

// discard ends an answer that is not needed and keeps its connection when that is cheap.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain) // whatever it is, nobody wants it
	resp.Body.Close()
}

// clean makes a remote's text fit for a log: one line of printable characters, at most [maxMessage] bytes.
func clean(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage]
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && s[len(s)-1] >= utf8.RuneSelf {
			s = s[:len(s)-1]
		}
	}
	return strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s)
}

// wireError is a failure on the way to a registry. Its text can hold what the peer sent, so it is cleaned.
type wireError struct{ err error }

func (e *wireError) Error() string { return clean(e.err.Error()) }
func (e *wireError) Unwrap() error { return e.err }

// Unavailable is [StatusError.Unavailable].
func (e *wireError) Unavailable() bool { return true }
