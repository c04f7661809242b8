package upstream

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// redirecting is a registry that wants a password and redirects what path names to location.
func redirecting(path, location string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != canaryPassword {
			w.Header().Set("Www-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path == path {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		fmt.Fprint(w, "from the registry")
	}
}

func read(t *testing.T, r *Registry, q Request) (string, error) {
	t.Helper()
	resp, err := r.Do(t.Context(), q)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return string(raw), err
}

func TestThreat109_ABlobsRedirectCarriesNoCredential(t *testing.T) {
	storage, visits := stranger(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "from storage "+r.Header.Get("Range")) })
	r := behind(t, redirecting(someBlob, storage.URL+"/bucket?signature=x"), withCanary)
	q := get(someBlob)
	q.Header = http.Header{"Range": {"bytes=0-3"}}
	got, err := read(t, r, q)
	if err != nil || got != "from storage bytes=0-3" || visits.count("GET /bucket") != 1 {
		t.Errorf("got %q, %v, want it from storage", got, err)
	}
	resp, err := r.Do(t.Context(), Request{Method: http.MethodHead, Path: someBlob})
	if err != nil || visits.count("HEAD /bucket") != 1 {
		t.Fatalf("HEAD: %v, %v", err, visits.list())
	}
	resp.Body.Close()
	if got := resp.Request.Header.Get("Authorization"); got != "" {
		t.Errorf("the answer remembers the credential %q", got)
	}
}

func TestARedirectWithinTheRegistryKeepsItsCredential(t *testing.T) {
	r := behind(t, redirecting(someBlob, "/downloads/x"), withCanary)
	if got, err := read(t, r, get(someBlob)); err != nil || got != "from the registry" {
		t.Errorf("got %q, %v, want it from the registry", got, err)
	}
}

func TestACredentialDoesNotComeBackAfterARedirectAway(t *testing.T) {
	var back string
	storage, _ := stranger(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, back, http.StatusFound) })
	r := behind(t, redirecting(someBlob, storage.URL), withCanary)
	back = r.origin.String() + "/v2/private"
	_, err := read(t, r, get(someBlob))
	mustFail(t, err, "status 401")
}

func TestThreat107_OnlyBlobsAreRedirected(t *testing.T) {
	storage, visits := stranger(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, emptyImage) })
	for _, q := range []Request{
		get("/v2/app/manifests/v1"), get("/v2/app/manifests/" + emptyDigest.String()), get("/v2/app/tags/list"), get("/v2/_catalog"),
		get("/v2/app/referrers/" + emptyDigest.String()), get("/v2/app/blobs/uploads/id"),
		{Method: http.MethodPost, Path: "/v2/app/blobs/uploads/"}, {Method: http.MethodDelete, Path: someBlob},
		{Method: http.MethodPut, Path: "/v2/app/manifests/v1"}, {Method: http.MethodPatch, Path: "/v2/app/blobs/uploads/id"},
	} {
		_, err := read(t, behind(t, redirecting(q.Path, storage.URL), withCanary), q)
		mustFail(t, err, "redirects are followed for blobs alone")
	}
	if n := len(visits.list()); n != 0 {
		t.Errorf("the target was visited %d times", n)
	}
}

func TestThreat106_RedirectsThatAreRefused(t *testing.T) {
	for location, part := range map[string]string{
		"file:///etc/passwd":              `the scheme "file"`,
		"ftp://storage.example/x":         `the scheme "ftp"`,
		"gopher://127.0.0.1/x":            `the scheme "gopher"`,
		"https:/x":                        "the scheme",
		"http://me:canary@127.0.0.1:1/x":  "carries credentials",
		"":                                "a Location of 0 bytes",
		"/" + strings.Repeat("x", 10_000): "a Location of 10001 bytes",
		"http://[::1":                     "no URL",
		"http://169.254.169.254/latest":   "link-local address is refused",
		"http://[::ffff:a9fe:a9fe]/x":     "link-local address is refused",
		"http://[64:ff9b::a9fe:a9fe]/x":   "link-local address is refused",
		"http://0.0.0.0:1/x":              "link-local address is refused",
	} {
		_, err := read(t, behind(t, redirecting(someBlob, location), withCanary), get(someBlob))
		mustFail(t, err, part)
	}
}

func TestThreat106_ARegistryOutsideLeadsToNothingInside(t *testing.T) {
	inside, visits := stranger(t, func(http.ResponseWriter, *http.Request) {})
	byName := strings.Replace(inside.URL, "127.0.0.1", "localhost", 1) // what a name resolves to counts, not the name
	mapped := strings.Replace(inside.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1)
	for _, location := range []string{inside.URL, byName, mapped} {
		for _, at := range []reach{public, private} {
			r := behind(t, redirecting(someBlob, location), withCanary)
			if _, err := read(t, r, get("/v2/app/tags/list")); err != nil {
				t.Fatal(err)
			}
			if got := reach(r.reach.Load()); got != loopback {
				t.Fatalf("the registry was dialled at a %s address", got)
			}
			r.reach.Store(int32(at)) // as if it had answered from there once
			_, err := read(t, r, get(someBlob))
			mustFail(t, err, "redirect to a loopback address is refused: the registry itself is at a "+at.String())
		}
	}
	if n := len(visits.list()); n != 0 {
		t.Errorf("the target was visited %d times", n)
	}
}

func TestThreat106_RedirectsEnd(t *testing.T) {
	for hops, want := range map[int]string{maxHops: "", maxHops + 1: "more than 3 redirects", 1000: "more than 3 redirects"} {
		left := hops
		r := behind(t, func(w http.ResponseWriter, r *http.Request) {
			if left--; left >= 0 {
				http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			}
		})
		_, err := read(t, r, get(someBlob))
		if want == "" && err != nil {
			t.Errorf("%d hops: %v", hops, err)
		}
		if want != "" {
			mustFail(t, err, want)
		}
	}
}

func TestThreat106_ARedirectNeverLeavesHTTPS(t *testing.T) {
	plain, visits := stranger(t, func(http.ResponseWriter, *http.Request) {})
	r := at(t, serveTLS(t, redirecting(someBlob, plain.URL)), withCanary)
	_, err := read(t, r, get(someBlob))
	mustFail(t, err, "leaves https")
	if n := len(visits.list()); n != 0 {
		t.Errorf("the target was visited %d times", n)
	}
}

func TestWhatStorageLacksIsNotAbsent(t *testing.T) {
	storage, _ := stranger(t, http.NotFound)
	_, err := read(t, behind(t, redirecting(someBlob, storage.URL), withCanary), get(someBlob))
	mustFail(t, err, "storage answers status 404")
	if isNotFound(err) {
		t.Error("the error reads as absence")
	}
}

func TestThreat106_ReachOfAddresses(t *testing.T) {
	for address, want := range map[string]reach{
		"93.184.216.34": public, "2606:2800:220:1::1": public, "8.8.8.8": public, "::ffff:8.8.8.8": public, "64:ff9b::808:808": public,
		"10.0.0.1": private, "172.16.0.1": private, "192.168.1.1": private, "100.64.0.1": private, "fd00:ec2::1": private, "fec0::1": private,
		"64:ff9b::a00:1": private, "64:ff9b:1::a00:1": private, "64:ff9b:1::808:808": public, "2002:c0a8:101::1": private,
		"127.0.0.1": loopback, "127.9.9.9": loopback, "::1": loopback, "::ffff:127.0.0.1": loopback, "64:ff9b::7f00:1": loopback, "2002:7f00:1::": loopback,
		"169.254.169.254": linkLocal, "fe80::1%eth0": linkLocal, "::ffff:169.254.169.254": linkLocal, "224.0.0.1": linkLocal, "ff02::1": linkLocal,
		"fd00:ec2::254": linkLocal, "fd20:ce::254": linkLocal, "168.63.129.16": linkLocal, "100.100.100.200": linkLocal, "192.0.0.192": linkLocal,
		"64:ff9b:1::a9fe:a9fe": linkLocal, "64:ff9b::a83f:8110": linkLocal, "168.63.129.17": public,
		"0.0.0.0": linkLocal, "0.1.2.3": linkLocal, "::": linkLocal, "255.255.255.255": linkLocal,
	} {
		if got := reachOf(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
	if got := reachOf(netip.Addr{}); got != linkLocal {
		t.Errorf("no address: got %s, want link-local", got)
	}
}
