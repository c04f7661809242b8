package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// narrator tells the demo's story: chapters, and requests with their answers.
type narrator struct {
	painter

	mu       sync.Mutex // requests run at once
	out      io.Writer
	chapters int
}

func newNarrator(out io.Writer) *narrator { return &narrator{painter: newPainter(out), out: out} }

func (n *narrator) chapter(title string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.chapters++
	fmt.Fprintf(n.out, "\n%s\n", n.paint(bold, fmt.Sprintf("%d. %s", n.chapters, title)))
}

func (n *narrator) say(lines ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, line := range lines {
		if line != "" {
			fmt.Fprintf(n.out, "   %s\n", line)
		}
	}
}

func (n *narrator) quote(text string) {
	for line := range strings.Lines(text) {
		n.say(n.paint(faint, "  "+strings.TrimRight(line, "\n")))
	}
}

// refused reports that a push was refused by policy.
func (n *narrator) refused(err error) bool {
	refusal, ok := errors.AsType[*transport.Error](err)
	return ok && refusal.StatusCode == http.StatusForbidden
}

// showing is a transport that shows what passes: manifests and lists with their answers. Blobs are many, and alike.
func (n *narrator) showing(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err != nil || r.URL.Path == "/v2/" || strings.Contains(r.URL.Path, "/blobs/") && r.Method != http.MethodPut {
			return resp, err
		}
		return resp, n.show(r, resp)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var (
	longDigest = regexp.MustCompile(`(sha256[:-][0-9a-f]{12})[0-9a-f]{52}`)
	longTicket = regexp.MustCompile(`(/blobs/uploads/)[A-Za-z0-9_-]+(.*)`)
)

// show prints a request and its answer, and leaves the answer's body as it was.
func (n *narrator) show(r *http.Request, resp *http.Response) error {
	const most = 64 << 10 // of a body: what is shown is an error, or nothing
	raw, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(raw), resp.Body), resp.Body}

	path := longTicket.ReplaceAllString(longDigest.ReplaceAllString(r.URL.Path, "$1…"), "${1}…")
	colour := green
	if resp.StatusCode >= 400 && !(r.Method == http.MethodHead && resp.StatusCode == http.StatusNotFound) {
		colour = red
	}
	n.say(fmt.Sprintf("%-4s %-62s %s", r.Method, path, n.paint(colour, resp.Status)))
	for line := range strings.Lines(errorText(raw)) {
		n.say("     " + n.paint(red, strings.TrimRight(line, "\n")))
	}
	return nil
}

// errorText is the message of an OCI error, empty for anything else.
func errorText(raw []byte) string {
	var answer struct {
		Errors []struct{ Message string }
	}
	if json.Unmarshal(raw, &answer) != nil || len(answer.Errors) == 0 {
		return ""
	}
	return answer.Errors[0].Message
}

// manifestOf is an image's manifest.
func manifestOf(config ocispec.Descriptor, layers ...ocispec.Descriptor) ([]byte, error) {
	return json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers,
	})
}
