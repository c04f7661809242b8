package harbor

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/verifier/scan"
)

// Door is a registry with nothing in it but what is being scanned. An adapter pulls there what it was asked to scan: one
// manifest and its blobs, by digest, with a password that was made for this scan and ends with it. Nothing can be pushed,
// listed or found out about anything else. It is an [http.Handler], safe for concurrent use.
type Door struct {
	mu     sync.Mutex
	passes map[[sha256.Size]byte]*pass // by the hash of the credential
}

// NewDoor makes a door that nobody can enter.
func NewDoor() *Door { return &Door{passes: map[[sha256.Size]byte]*pass{}} }

// pass lets somebody see one image.
type pass struct {
	image scan.Image
	blobs scan.Blobs
	parts map[digest.Digest]ocispec.Descriptor // its configuration and layers
	ctx   context.Context                      // ends with the pass
}

// user is the name beside the password. Some registries' clients want one.
const user = "scanner"

// open lets whoever shows the authorization see an image until ctx ends or close is called.
func (d *Door) open(ctx context.Context, blobs scan.Blobs, image scan.Image) (authorization string, close func()) {
	password := rand.Text()
	authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	ctx, cancel := context.WithCancel(ctx)
	p := &pass{image: image, blobs: blobs, parts: map[digest.Digest]ocispec.Descriptor{}, ctx: ctx}
	for _, part := range append([]ocispec.Descriptor{image.Manifest.Config}, image.Manifest.Layers...) {
		p.parts[part.Digest] = part
	}
	key := sha256.Sum256([]byte(authorization))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.passes[key] = p
	return authorization, func() {
		cancel() // downloads under way end
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.passes, key)
	}
}

// find returns the pass of a request, nil for none. Credentials are compared by their hashes, which tell nothing by time.
func (d *Door) find(r *http.Request) *pass {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return nil
	}
	key := sha256.Sum256([]byte(headers[0]))
	d.mu.Lock()
	defer d.mu.Unlock()
	for known, p := range d.passes {
		if subtle.ConstantTimeCompare(known[:], key[:]) == 1 {
			return p
		}
	}
	return nil
}

// ServeHTTP implements as much of the distribution API as a pull by digest needs.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "only one image can be read here")
		return
	}
	p := d.find(r)
	if p == nil {
		w.Header().Set("Www-Authenticate", `Basic realm="sealgate scan"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "this door is for the scan that it was opened for")
		return
	}
	m := p.image.Manifest
	switch path := r.URL.EscapedPath(); path {
	case "/v2/", "/v2":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	case "/v2/" + p.image.Repo + "/manifests/" + m.Digest.String():
		w.Header().Set("Content-Type", m.MediaType)
		w.Header().Set("Docker-Content-Digest", m.Digest.String())
		w.Header().Set("Content-Length", strconv.Itoa(len(m.Raw)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(m.Raw)
		}
	default:
		name, ok := strings.CutPrefix(path, "/v2/"+p.image.Repo+"/blobs/")
		part, known := p.parts[digest.Digest(name)]
		if !ok || !known {
			refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "there is nothing here but the image to be scanned")
			return
		}
		d.serveBlob(w, r, p, part)
	}
}

// serveBlob streams a blob. One that is not what the manifest says ends without a clean end.
func (d *Door) serveBlob(w http.ResponseWriter, r *http.Request, p *pass, part ocispec.Descriptor) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", part.Digest.String())
	w.Header().Set("Content-Length", strconv.FormatInt(part.Size, 10))
	if r.Method == http.MethodHead {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	body, _, err := p.blobs.OpenBlob(ctx, p.image.Repo, part.Digest)
	if err != nil {
		w.Header().Del("Content-Length")
		refuse(w, http.StatusBadGateway, "UNKNOWN", "the blob cannot be read")
		return
	}
	defer body.Close()
	n, err := io.Copy(w, io.LimitReader(body, part.Size))
	if err == nil && n == part.Size {
		_, err = io.Copy(io.Discard, io.LimitReader(body, 1)) // its end, where the hash is checked
	}
	if err != nil || n != part.Size {
		panic(http.ErrAbortHandler)
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}
