package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a registry whose transport answers as a function says, without a network, so that time can be made.
func scripted(t *testing.T, answer func(n int, req *http.Request) (*http.Response, error)) (r *Registry, asked func() int) {
	t.Helper()
	r, err := New(Options{Name: "remote", URL: &url.URL{Scheme: "https", Host: "registry.test"}})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	transport := roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		mu.Lock()
		n++
		at := n
		mu.Unlock()
		return answer(at, req)
	})
	r.reads, r.writes, r.credentials = transport, transport, nil
	return r, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func answered(status int, header ...string) (*http.Response, error) {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("")), ContentLength: 0}, nil
}

func TestThreat113_AReadIsSentAgainWithinABudget(t *testing.T) {
	for name, tt := range map[string]struct {
		method string
		answer func(n int) (*http.Response, error)
		asked  int
		status int // 0: an error that is no status
	}{
		"a connection that broke": {http.MethodGet, func(n int) (*http.Response, error) {
			if n == 1 {
				return nil, io.ErrUnexpectedEOF
			}
			return answered(200)
		}, 2, 200},
		"a registry that is busy and says for how long": {http.MethodHead, func(n int) (*http.Response, error) {
			if n < 3 {
				return answered(429, "Retry-After", "2")
			}
			return answered(200)
		}, 3, 200},
		"a registry that is busy and does not say for how long": {http.MethodGet, func(int) (*http.Response, error) { return answered(429) }, 1, 429},
		"one that asks for more time than there is":             {http.MethodGet, func(int) (*http.Response, error) { return answered(503, "Retry-After", "3") }, 1, 503},
		"one that asks for a thousand million seconds":          {http.MethodGet, func(int) (*http.Response, error) { return answered(429, "Retry-After", "1000000000") }, 1, 429},
		"one that asks for more seconds than a number holds":    {http.MethodGet, func(int) (*http.Response, error) { return answered(429, "Retry-After", strings.Repeat("9", 40)) }, 1, 429},
		"one that fails for ever":                               {http.MethodGet, func(int) (*http.Response, error) { return answered(503) }, 3, 503},
		"a gateway before it that fails for ever":               {http.MethodGet, func(int) (*http.Response, error) { return answered(502) }, 3, 502},
		"an answer that will not change":                        {http.MethodGet, func(int) (*http.Response, error) { return answered(500) }, 1, 500},
		"an absence":                                            {http.MethodGet, func(int) (*http.Response, error) { return answered(404) }, 1, 404},
		"a write":                                               {http.MethodPost, func(int) (*http.Response, error) { return answered(503) }, 1, 503},
		"a write whose connection broke":                        {http.MethodPut, func(int) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, 1, 0},
		"a deletion":                                            {http.MethodDelete, func(int) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, asked := scripted(t, func(n int, _ *http.Request) (*http.Response, error) { return tt.answer(n) })
				resp, err := r.Do(t.Context(), Request{Method: tt.method, Path: "/v2/app/manifests/v1"})
				status := 0
				if refused := new(StatusError); errors.As(err, &refused) {
					status = refused.Status
				} else if err == nil {
					status = resp.StatusCode
				}
				if asked() != tt.asked || status != tt.status {
					t.Errorf("asked %d times, got %d, %v; want %d times, %d", asked(), status, err, tt.asked, tt.status)
				}
			})
		})
	}
}

func TestThreat113_RepeatsAreAShareOfTheRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := false
		r, asked := scripted(t, func(n int, _ *http.Request) (*http.Response, error) {
			if fails = !fails; fails { // each first try
				return answered(503)
			}
			return answered(200)
		})
		const requests = 1000
		for range requests {
			if resp, err := r.Do(t.Context(), get("/v2/app/manifests/v1")); err == nil {
				resp.Body.Close()
			}
		}
		if most := requests + retryReserve + int(retryShare*requests) + 1; asked() > most || asked() < requests {
			t.Errorf("%d requests became %d, want at most %d", requests, asked(), most)
		}
		if r.Health().Retries != uint64(asked()-requests) {
			t.Errorf("Health says %d repeats, there were %d", r.Health().Retries, asked()-requests)
		}
	})
}

func TestARepeatIsNotWaitedForPastADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, asked := scripted(t, func(int, *http.Request) (*http.Response, error) { return answered(503, "Retry-After", "1") })
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		begun := time.Now()
		if _, err := r.Do(ctx, get("/v2/app/manifests/v1")); err == nil || asked() != 1 || time.Since(begun) > 0 {
			t.Errorf("asked %d times in %s, %v; want once and at once", asked(), time.Since(begun), err)
		}
	})
}

// down makes a registry fail until it rests, and returns how often it was asked.
func down(t *testing.T, r *Registry) {
	t.Helper()
	for range breakerFailures {
		if _, err := r.Do(t.Context(), get("/v2/app/manifests/v1")); err == nil {
			t.Fatal("a registry that is down gave an answer")
		}
	}
	if !r.Health().Resting {
		t.Fatal("a registry that is down is asked on and on")
	}
}

func TestThreat113_ARegistryThatFailsIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		well := false
		r, asked := scripted(t, func(int, *http.Request) (*http.Response, error) {
			if well {
				return answered(404)
			}
			return nil, errors.New("connection refused")
		})
		down(t, r)

		before, refused := asked(), r.Health().Refused
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			_, err := r.Do(t.Context(), Request{Method: method, Path: "/v2/app/manifests/v1"})
			if !errors.Is(err, ErrResting) || errors.Is(err, ErrNotFound) || asked() != before {
				t.Errorf("%s: %v, and it was asked: %v; want ErrResting at once, and no absence", method, err, asked() != before)
			}
		}
		if now := r.Health().Refused; now != refused+2 {
			t.Errorf("Health says that %d requests were not sent, want 2", now-refused)
		}

		// It rests longer each time that it still fails, up to a bound.
		for rest := breakerRest; rest < 3*maxBreakerRest; rest *= 2 {
			wait := min(rest, maxBreakerRest)
			time.Sleep(wait - time.Millisecond)
			if _, err := r.Do(t.Context(), get("/v2/app/manifests/v1")); !errors.Is(err, ErrResting) {
				t.Fatalf("before %s: %v, want ErrResting", wait, err)
			}
			time.Sleep(time.Millisecond)
			before := asked()
			if _, err := r.Do(t.Context(), get("/v2/app/manifests/v1")); err == nil || asked() != before+1 {
				t.Fatalf("after %s: asked %d times, %v; want one request that fails", wait, asked()-before, err)
			}
		}

		well = true
		time.Sleep(maxBreakerRest)
		for range 3 {
			if _, err := r.Do(t.Context(), get("/v2/app/manifests/v1")); !errors.Is(err, ErrNotFound) {
				t.Fatalf("a registry that answers again: %v, want its 404", err)
			}
		}
	})
}

func TestOneRequestFindsOutWhetherARegistryIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := make(chan struct{})
		down2 := true
		r, asked := scripted(t, func(int, *http.Request) (*http.Response, error) {
			if down2 {
				return nil, errors.New("connection refused")
			}
			<-slow
			return answered(200)
		})
		down(t, r)
		down2 = false
		time.Sleep(breakerRest)

		before := asked()
		results := make(chan error, 20)
		for range cap(results) {
			go func() {
				_, err := r.Do(t.Context(), get("/v2/app/manifests/v1"))
				results <- err
			}()
		}
		synctest.Wait()
		if asked() != before+1 || len(results) != cap(results)-1 {
			t.Errorf("%d requests were sent while one finds out, want 1", asked()-before)
		}
		close(slow)
		synctest.Wait()
		if r.Health().Resting {
			t.Error("it answered, and is still left alone")
		}
	})
}

// TestThreat113_NobodyBringsARegistryDownForOthers has what a client can make happen as often as it likes.
func TestThreat113_NobodyBringsARegistryDownForOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		request Request
		answer  func(ctx context.Context) (*http.Response, error)
	}{
		"a manifest that makes it stumble": {get("/v2/app/manifests/v1"), func(context.Context) (*http.Response, error) { return answered(500) }},
		"limits":                           {get("/v2/app/manifests/v1"), func(context.Context) (*http.Response, error) { return answered(429) }},
		"absences":                         {get("/v2/app/manifests/v1"), func(context.Context) (*http.Response, error) { return answered(404) }},
		"uploads that break off": {Request{Method: http.MethodPatch, Path: "/v2/app/blobs/uploads/1"}, func(context.Context) (*http.Response, error) {
			return nil, io.ErrUnexpectedEOF
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := scripted(t, func(_ int, req *http.Request) (*http.Response, error) { return tt.answer(req.Context()) })
			for range 3 * breakerFailures {
				_, _ = r.Do(t.Context(), tt.request)
			}
			if r.Health().Resting {
				t.Error("the registry is left alone")
			}
		})
	}
	t.Run("clients that hang up", func(t *testing.T) {
		r, _ := scripted(t, func(_ int, req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, fmt.Errorf("read: %w", req.Context().Err())
		})
		for range 3 * breakerFailures {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			_, _ = r.Do(ctx, get("/v2/app/manifests/v1"))
		}
		if r.Health().Resting {
			t.Error("the registry is left alone")
		}
	})
}
