package clients

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// later lets time pass for what an issuer remembers.
func (i *Issuer) later(by time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.got, i.tried = i.got.Add(-by), i.tried.Add(-by)
}

func TestKeysOfAnIssuerRotate(t *testing.T) {
	p := newPlatform(t)
	i := p.issuer()
	d := knowing(t, release(i))
	show := func(token string) error { _, err := d.Workload(t.Context(), token); return err }
	old := p.token(p.job())
	if err := show(old); err != nil {
		t.Fatal(err)
	}

	p.rotate("second")
	fresh := p.token(p.job())
	if err := show(fresh); !errors.Is(err, ErrCredentials) || p.asked.Load() != 1 {
		t.Errorf("within the pause: %v after %d questions", err, p.asked.Load())
	}
	i.later(keysPause)
	if err := show(fresh); err != nil || p.asked.Load() != 2 {
		t.Errorf("after the pause: %v after %d questions", err, p.asked.Load())
	}
	// The key is gone, and so is what was remembered of it.
	if err := show(old); !errors.Is(err, ErrCredentials) {
		t.Errorf("the old key: %v", err)
	}
	// Another key under the id of one is another key.
	p.rotate("second")
	i.later(keysFresh)
	if err := show(fresh); !errors.Is(err, ErrCredentials) || p.asked.Load() != 3 {
		t.Errorf("a key that was replaced under its id: %v after %d questions", err, p.asked.Load())
	}
	fresh = p.token(p.job())
	if err := show(fresh); err != nil {
		t.Errorf("the key that replaced it: %v", err)
	}
	// A key that is taken back goes with the next look, though nobody asks for one that is missing.
	p.rotate("third")
	i.later(keysFresh)
	if err := show(fresh); !errors.Is(err, ErrCredentials) || p.asked.Load() != 4 {
		t.Errorf("a key that was taken back: %v after %d questions", err, p.asked.Load())
	}
}

func TestKeyIDsThatStrangersMakeUpAreAskedForOnce(t *testing.T) {
	p := newPlatform(t)
	d := knowing(t, release(p.issuer()))
	key := p.keys[0]
	var wait sync.WaitGroup
	for n := range 50 {
		wait.Go(func() {
			made := signJWT(t, jose.ES256, key.Key, map[jose.HeaderKey]any{"kid": strings.Repeat("x", n+1)}, p.job())
			if _, err := d.Workload(t.Context(), made); !errors.Is(err, ErrCredentials) {
				t.Errorf("got %v", err)
			}
		})
	}
	wait.Wait()
	if n := p.asked.Load(); n > 2 {
		t.Errorf("the keys were asked for %d times", n)
	}
}

func TestAnIssuerThatIsDownLeavesItUndecided(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter){
		"an error": func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
		"a redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://evil.example/keys")
			w.WriteHeader(http.StatusFound)
		},
		"no JSON": func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>")) },
		"no keys": func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"a secret for key": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","kid":"first","k":"c2VjcmV0"}]}`))
		},
		"without end": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"keys":[],"x":"` + strings.Repeat("x", maxKeys) + `"}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(t)
			i := p.issuer()
			d := knowing(t, release(i))
			p.says(answer)
			unknown := new(IssuerError)
			for range 3 {
				if h, err := d.Workload(t.Context(), p.token(p.job())); !errors.As(err, &unknown) || errors.Is(err, ErrCredentials) {
					t.Fatalf("got %+v, %v", h, err)
				}
			}
			if n := p.asked.Load(); n != 1 {
				t.Errorf("it was asked %d times within the pause", n)
			}
			p.says(nil)
			i.later(keysPause)
			if _, err := d.Workload(t.Context(), p.token(p.job())); err != nil {
				t.Fatalf("when it is up again: %v", err)
			}

			// Keys that are known count on while it is down, and not for ever; whether another is known, nobody can tell.
			p.says(answer)
			i.later(keysFresh)
			if _, err := d.Workload(t.Context(), p.token(p.job())); err != nil {
				t.Errorf("with keys from before: %v", err)
			}
			p.rotate("second")
			if _, err := d.Workload(t.Context(), p.token(p.job())); !errors.As(err, &unknown) {
				t.Errorf("with a key that may be a new one: %v", err)
			}
			i.later(keysKept)
			if _, err := d.Workload(t.Context(), p.token(p.job())); !errors.As(err, &unknown) {
				t.Errorf("with keys from the day before: %v", err)
			}
		})
	}
}

func TestKeysAreNotBelievedForEverWhileTheirIssuerIsDown(t *testing.T) {
	p := newPlatform(t)
	i := p.issuer()
	d := knowing(t, release(i))
	token := p.token(p.job())
	if _, err := d.Workload(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	p.says(func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) })
	unknown := new(IssuerError)
	for _, c := range []struct {
		later time.Duration
		known bool
	}{{keysKept - time.Minute, true}, {time.Minute, false}} {
		i.later(c.later)
		if _, err := d.Workload(t.Context(), token); (err == nil) != c.known || err != nil && !errors.As(err, &unknown) {
			t.Errorf("%s later: %v", c.later, err)
		}
	}
}

// Whoever can put a redirect on the way, or another document, must not bring keys of his own.
func TestThreat118_KeysComeFromWhereTheIssuerSaysByHTTPSAlone(t *testing.T) {
	p := newPlatform(t)
	plain := httptest.NewServer(p.server.Config.Handler)
	t.Cleanup(plain.Close)
	documents := map[string]http.HandlerFunc{
		"a redirect of the document": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, p.server.URL+"/keys", http.StatusFound)
		},
		"keys in plain text": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`{"issuer":"https://` + r.Host + `","jwks_uri":"` + plain.URL + `/keys"}`))
		},
		"a redirect of the keys": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/moved" {
				http.Redirect(w, r, p.server.URL+"/keys", http.StatusFound)
				return
			}
			_, _ = w.Write([]byte(`{"issuer":"https://` + r.Host + `","jwks_uri":"https://` + r.Host + `/moved"}`))
		},
	}
	for name, document := range documents {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(document)
			defer server.Close()
			i, err := NewIssuer(server.URL, p.roots())
			if err != nil {
				t.Fatal(err)
			}
			asked := p.asked.Load()
			if _, _, err := i.key(t.Context(), "first"); err == nil || p.asked.Load() != asked {
				t.Errorf("got %v after %d questions", err, p.asked.Load()-asked)
			}
		})
	}
}

func TestThreat118_AnIssuerOnThisMachineHasNoKeysInPlainTextElsewhere(t *testing.T) {
	for where, want := range map[string]bool{"http://HOST/keys": true, "http://keys.example/": false, "http://HOST.keys.example/": false} {
		var server *httptest.Server
		server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				_, _ = w.Write([]byte(`{"keys":[]}`))
				return
			}
			_, _ = w.Write([]byte(`{"issuer":"` + server.URL + `","jwks_uri":"` + strings.ReplaceAll(where, "HOST", r.Host) + `"}`))
		}))
		_, err := discover(t.Context(), server.Client(), server.URL)
		if err == nil || strings.Contains(err.Error(), "nowhere that https reaches") == want {
			t.Errorf("%s: %v", where, err)
		}
		server.Close()
	}
}

func TestTwoKeysOfOneIDAreNone(t *testing.T) {
	p := newPlatform(t)
	first := p.keys[0]
	p.rotate("first")
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{first.Public(), p.keys[0].Public()}})
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := parseKeys(raw); err == nil {
		t.Errorf("got %v", keys)
	}
}

func TestADiscoveryDocumentOfAnotherIssuerIsNotBelieved(t *testing.T) {
	for name, document := range map[string]string{
		"another issuer": `{"issuer":"https://evil.example","jwks_uri":"URL/keys"}`, "no issuer": `{"jwks_uri":"URL/keys"}`,
		"keys in plain text": `{"issuer":"URL","jwks_uri":"http://127.0.0.1/keys"}`, "keys in a file": `{"issuer":"URL","jwks_uri":"file:///etc/passwd"}`,
		"no keys": `{"issuer":"URL"}`, "not JSON": `x`,
	} {
		var server *httptest.Server
		server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/.well-known/openid-configuration" {
				t.Errorf("%s: %s was asked for", name, r.URL.Path)
			}
			_, _ = w.Write([]byte(strings.ReplaceAll(document, "URL", server.URL)))
		}))
		if keys, err := discover(t.Context(), server.Client(), server.URL); err == nil {
			t.Errorf("%s: got %v", name, keys)
		}
		server.Close()
	}
}

func TestIssuersAreReachedByHTTPS(t *testing.T) {
	for url, want := range map[string]bool{
		"https://token.actions.githubusercontent.com": true, "https://gitlab.acme.dev/": true, "https://acme.dev:8443/realm/x": true,
		"http://127.0.0.1:5556": true, "http://localhost:1/x": true,
		"http://gitlab.acme.dev": false, "": false, "token.actions.githubusercontent.com": false, "https://": false, "file:///x": false,
		"https://user@acme.dev": false, "https://acme.dev?x": false, "https://acme.dev#x": false, "http://127.0.0.1.evil.example": false,
	} {
		if err := CheckIssuer(url); (err == nil) != want {
			t.Errorf("%s: got %v", url, err)
		}
	}
}
