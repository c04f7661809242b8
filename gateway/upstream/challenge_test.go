package upstream

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
)

func TestParseChallenges(t *testing.T) {
	for line, want := range map[string][]challenge{
		`Bearer realm="https://a/token",service="s",scope="x"`: {{"bearer", "https://a/token", "s"}},
		`bearer Realm=x , SERVICE = "a \"b\" c"`:               {{"bearer", "x", `a "b" c`}},
		`Basic realm="x, Bearer realm=y"`:                      {{"basic", "x, Bearer realm=y", ""}},
		`Negotiate, Basic realm="x"`:                           {{"negotiate", "", ""}, {"basic", "x", ""}},
		`Basic realm="x", Bearer realm="y"`:                    {{"basic", "x", ""}, {"bearer", "y", ""}},
		`realm="x"`:                                            nil,
		``:                                                     nil,
		`Bearer realm="no end`:                                 {{"bearer", "", ""}, {"realm", "", ""}},
		strings.Repeat("x", maxChallenge+1):                    nil,
	} {
		if got := parseChallenges(line); !reflect.DeepEqual(got, want) {
			t.Errorf("%.80q: got %v, want %v", line, got, want)
		}
	}
}

func TestThreat113_AChallengeThatNothingSatisfiesEnds(t *testing.T) {
	var requests atomic.Int32
	r := behind(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1); r.URL.Path == "/token" {
			fmt.Fprintf(w, `{"token":"t%d"}`, requests.Load())
			return
		}
		w.Header().Set("Www-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}, withCanary)
	_, err := read(t, r, get("/v2/a/tags/list"))
	mustFail(t, err, "status 401")
	if requests.Load() != 3 {
		t.Errorf("%d requests, want 3: without, for a token, with it", requests.Load())
	}
}

func FuzzPickChallenge(f *testing.F) {
	f.Add(`Bearer realm="https://a/token",service="s",scope="repository:a:pull"`)
	f.Add(`Negotiate abc==, Basic realm="x"`)
	f.Add(`Bearer realm="\`)
	f.Fuzz(func(t *testing.T, line string) {
		c, ok := pickChallenge([]string{line, line})
		if ok && c.scheme != schemeBearer && c.scheme != schemeBasic {
			t.Errorf("%q chose %v", line, c)
		}
		one := &credentials{origin: &url.URL{Scheme: "https", Host: "acme.dev"}}
		if ok && c.scheme == schemeBearer && one.checkRealm(c.realm) == nil {
			if u, err := url.Parse(c.realm); err != nil || hostPort(u) != "acme.dev:443" || u.Scheme != "https" {
				t.Errorf("%q leads to %s", line, c.realm)
			}
		}
	})
}
