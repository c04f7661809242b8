package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func handled(ctx context.Context, t *testing.T, method string, body io.Reader, length int64, handler http.HandlerFunc) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "http://embedded/v2/", body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = length
	return (&handlerTransport{handler: handler}).RoundTrip(req)
}

func TestHandlerTransportHoldsAnAnswerWithoutABodyUntilItsHandlerIsDone(t *testing.T) {
	for _, method := range []string{http.MethodPatch, http.MethodHead} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tidied := false
				resp, err := handled(t.Context(), t, method, nil, 0, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Length", "0")
					w.WriteHeader(http.StatusAccepted)
					time.Sleep(time.Second)
					tidied = true
				})
				if err != nil || resp.StatusCode != http.StatusAccepted || !tidied {
					t.Errorf("got %+v, %v, tidied: %v; want 202 when all is done", resp, err, tidied)
				}
			})
		})
	}
}

func TestHandlerTransportAnswersAsAServerWould(t *testing.T) {
	tests := map[string]struct {
		method  string
		handler http.HandlerFunc
		status  int
		length  int64
		body    string
		bodyErr error
	}{
		"what a handler says nothing about is a 200": {
			handler: func(http.ResponseWriter, *http.Request) {}, status: 200, length: -1},
		"the first status counts": {
			handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(500) }, status: 201, length: -1},
		"informational answers are no answers": {
			handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); io.WriteString(w, "x") }, status: 200, length: -1, body: "x"},
		"headers set too late are not sent": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(200)
				w.Header().Set("Content-Length", "9")
			}, status: 200, length: -1},
		"a HEAD has a length and no body": {
			method: http.MethodHead,
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "3")
				io.WriteString(w, "abc")
			}, status: 200, length: 3},
		"a body that is shorter than declared does not end well": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "9")
				io.WriteString(w, "abc")
			},
			status: 200, length: 9, body: "abc", bodyErr: io.ErrUnexpectedEOF},
		"a body is never longer than declared": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "3")
				io.WriteString(w, "abc")
				if _, err := io.WriteString(w, "def"); !errors.Is(err, http.ErrContentLength) {
					panic(err)
				}
			}, status: 200, length: 3, body: "abc"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.method == "" {
				tt.method = http.MethodGet
			}
			resp, err := handled(t.Context(), t, tt.method, nil, 0, tt.handler)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.status || resp.ContentLength != tt.length || string(body) != tt.body || !errors.Is(err, tt.bodyErr) {
				t.Errorf("got status %d, length %d, body %q, %v; want %d, %d, %q, %v",
					resp.StatusCode, resp.ContentLength, body, err, tt.status, tt.length, tt.body, tt.bodyErr)
			}
		})
	}
}

func TestHandlerTransportTurnsAPanicIntoAnError(t *testing.T) {
	_, err := handled(t.Context(), t, http.MethodGet, nil, 0, func(http.ResponseWriter, *http.Request) { panic("at once") })
	mustFail(t, err, "panicked: at once")

	resp, err := handled(t.Context(), t, http.MethodGet, nil, 0, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "begun")
		panic("in the middle")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	mustFail(t, err, "panicked: in the middle")
}

func TestHandlerTransportEndsWithItsCaller(t *testing.T) {
	patient := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" {
			panic("no path")
		}
		<-r.Context().Done()
	}
	t.Run("before the answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				synctest.Wait()
				cancel()
			}()
			if _, err := handled(ctx, t, http.MethodGet, nil, 0, patient); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled", err)
			}
		}) // and every goroutine of it has ended
	})
	t.Run("in the middle of it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			resp, err := handled(ctx, t, http.MethodGet, nil, 0, func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "begun")
				patient(w, r)
			})
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			go func() {
				synctest.Wait()
				cancel()
			}()
			if got, err := io.ReadAll(resp.Body); string(got) != "begun" || !errors.Is(err, context.Canceled) {
				t.Errorf("got %q, %v, want context.Canceled", got, err)
			}
		})
	})
	t.Run("by closing the answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			resp, err := handled(t.Context(), t, http.MethodGet, nil, 0, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				for {
					if _, err := io.WriteString(w, "on and on"); err != nil {
						return
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		})
	})
}

func TestHandlerTransportHoldsABodyToItsLength(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		io.WriteString(w, strings.Repeat("x", int(n)))
	}
	for name, tt := range map[string]struct {
		body   string
		length int64
		want   string
	}{
		"as declared":        {"abc", 3, ""},
		"of unknown length":  {"abc", -1, ""},
		"shorter":            {"abc", 4, "unexpected EOF"},
		"longer":             {"abcd", 3, "longer than declared"},
		"empty and declared": {"", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := handled(t.Context(), t, http.MethodPut, struct{ io.Reader }{strings.NewReader(tt.body)}, tt.length, echo)
			if tt.want != "" {
				mustFail(t, err, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || len(got) != len(tt.body) {
				t.Errorf("the handler read %d bytes, %v, want %d", len(got), err, len(tt.body))
			}
		})
	}
}
