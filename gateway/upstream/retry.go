package upstream

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// retries is how often a registry may be asked again. What a registry sees more of because it is in trouble makes that
// trouble worse, so repeats are a share of the requests: each request pays a little in, each repeat takes one out. It is
// safe for concurrent use.
type retries struct {
	mu    sync.Mutex // guards all below
	saved float64    // repeats that may be made
	made  uint64
}

func newRetries() *retries { return &retries{saved: retryReserve} }

// earn counts a request.
func (r *retries) earn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saved = min(retryReserve, r.saved+retryShare)
}

// take reports whether there may be a repeat, and counts it.
func (r *retries) take() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved < 1 {
		return false
	}
	r.saved--
	r.made++
	return true
}

func (r *retries) count() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.made
}

// again says whether a request that got this answer, or this error, is worth another try, and after what time. Only reads
// are: what a write did before it failed, nobody knows.
func (r *retries) again(req *http.Request, attempt int, resp *http.Response, err error) (wait time.Duration, ok bool) {
	if attempt >= maxRetries || !reads(req) || req.Context().Err() != nil {
		return 0, false
	}
	wait = retryWait << attempt
	wait = wait/2 + rand.N(wait/2) // apart from all others that failed at the same moment
	if err == nil {
		switch resp.StatusCode {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		default:
			return 0, false
		}
		asked, said := retryAfter(resp.Header, time.Now())
		if said && asked > maxRetryAfter || !said && resp.StatusCode == http.StatusTooManyRequests {
			return 0, false // it asks for more time than a client has
		}
		wait = max(wait, asked)
	}
	if deadline, bounded := req.Context().Deadline(); bounded && time.Until(deadline) <= wait {
		return 0, false
	}
	return wait, r.take()
}

// reads reports whether a request changes nothing and has nothing that could be sent only once.
func reads(req *http.Request) bool {
	return (req.Method == http.MethodGet || req.Method == http.MethodHead) && (req.Body == nil || req.Body == http.NoBody)
}

// retryAfter reads the header of that name: seconds, or a date. What cannot be read was not said.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if strings.Trim(value, "0123456789") == "" && value != "" {
		return 1<<62 - 1, true // more seconds than anybody has
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}

// pause waits, or ends with the context.
func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
