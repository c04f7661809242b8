package upstream

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestThreat109_174_ARegistryThatSaysCredentialsBackIsNotQuoted has a registry return what it was shown, in every place from
// which text reaches an error, and so the log.
func TestThreat109_174_ARegistryThatSaysCredentialsBackIsNotQuoted(t *testing.T) {
	type echo func(w http.ResponseWriter, r *http.Request, secret string)
	hijacked := func(w http.ResponseWriter, text string) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			io.WriteString(conn, text)
			conn.Close()
		}
	}
	for name, say := range map[string]echo{
		"an error's message": func(w http.ResponseWriter, _ *http.Request, secret string) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"%s is not enough"}]}`, secret)
		},
		"an error's code": func(w http.ResponseWriter, _ *http.Request, secret string) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"errors":[{"code":%q}]}`, secret)
		},
		"a detail": func(w http.ResponseWriter, _ *http.Request, secret string) {
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprintf(w, `{"errors":[{"code":"UNKNOWN","detail":{"was":%q}}]}`, secret)
		},
		"a host": func(w http.ResponseWriter, r *http.Request, secret string) {
			w.Header().Set("Location", "http://"+strings.Trim(secret, "=")+".attacker.test/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"an encoding": func(w http.ResponseWriter, _ *http.Request, secret string) {
			w.Header().Set("Content-Encoding", secret)
		},
		"a status": func(w http.ResponseWriter, _ *http.Request, secret string) {
			hijacked(w, "HTTP/1.1 "+secret+"\r\n\r\n")
		},
		"a protocol": func(w http.ResponseWriter, _ *http.Request, secret string) { hijacked(w, secret+"\r\n\r\n") },
		"a header": func(w http.ResponseWriter, _ *http.Request, secret string) {
			hijacked(w, "HTTP/1.1 200 OK\r\n"+secret+"\r\n\r\n")
		},
		"headers that pass": func(w http.ResponseWriter, _ *http.Request, secret string) {
			for _, header := range []string{"Content-Type", "Etag", "Link", "Docker-Upload-Uuid", "Range"} {
				w.Header().Set(header, "x"+secret)
			}
		},
		"where an upload goes on": func(w http.ResponseWriter, r *http.Request, secret string) {
			w.Header().Set("Location", "http://"+strings.Trim(secret, "=")+".attacker.test/")
			w.WriteHeader(http.StatusAccepted)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for form, secretOf := range map[string]func(r *http.Request) string{
				"the password": func(*http.Request) string { return canaryPassword },
				"the header": func(r *http.Request) string {
					_, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
					return value
				},
			} {
				r := behind(t, func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") == "" {
						w.Header().Set("Www-Authenticate", `Basic realm="x"`)
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					say(w, r, secretOf(r))
				}, withCanary)
				method, path := http.MethodGet, someBlob
				if strings.Contains(name, "upload") {
					method, path = http.MethodPost, "/v2/app/blobs/uploads/"
				}
				resp, err := r.Do(t.Context(), Request{Method: method, Path: path})
				said := fmt.Sprint(err)
				if err == nil {
					said = fmt.Sprint(resp.Header)
					if method == http.MethodPost {
						_, _, err := r.Location(resp)
						said += fmt.Sprint(err)
					}
					resp.Body.Close()
				}
				header := strings.TrimPrefix(basicHeader(&canaryAccount), "Basic ")
				for _, secret := range []string{canaryPassword, header, strings.Trim(header, "=")} {
					if strings.Contains(strings.ToLower(said), strings.ToLower(secret)) {
						t.Errorf("%s comes back: %s", form, said)
					}
				}
			}
		})
	}
}

func TestWhatIsTooShortToBeASecretIsNoReasonToTearUpAText(t *testing.T) {
	if got := secretsOf(basicHeader(&canaryAccount)); len(got) != 2 {
		t.Errorf("the canary has the forms %q, want two", got)
	}
	s := shown{headers: []string{"Basic " + "OmE="}} // ":a"
	if err := s.redact(fmt.Errorf("a b c")); err.Error() != "a b c" {
		t.Errorf("got %v", err)
	}
}
