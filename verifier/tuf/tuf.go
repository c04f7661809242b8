// Package tuf renews a trusted root from a repository of The Update Framework (https://theupdateframework.io), as Sigstore's
// public instance publishes its own.
//
// A repository may be a mirror that somebody else keeps. It is believed nothing but what the keys of its root signed, and not
// that what it shows is the newest: versions that were seen once are kept, so that it cannot go back (rollback), and what it
// shows must not have expired, so that it cannot stand still (freeze). After any failure what was kept before stays.
package tuf

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sealgate/sealgate/signer/safefile"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// PublicGoodURL is the repository of Sigstore's public instance.
const PublicGoodURL = tuf.DefaultMirror

// PublicGoodRoot is the first root of Sigstore's public repository that is trusted. It is built in.
func PublicGoodRoot() []byte { return tuf.DefaultRoot() }

// Bounds of what a repository sends, beside those of the library for metadata.
const (
	maxTarget  = 1 << 20          // bytes of a trusted root
	maxRequest = 20 * time.Second // for one of them
)

// target is what Sigstore's repositories call the trusted root. It is never a name that the repository chose.
const target = "trusted_root.json"

// Repository is where a trusted root is renewed from. Two with one directory must not be used at once.
type Repository struct {
	URL       string // http or https, without a slash at the end
	Root      []byte // the first root.json that is trusted; its successors are followed
	Directory string // what was seen: of this repository alone
	Transport http.RoundTripper
}

// Kept is a trusted root that was renewed.
type Kept struct {
	Raw []byte
	At  time.Time // when the repository last showed that it is the newest
}

// File is where the kept root is: it changes when, and only when, the root does.
func (r Repository) File() string { return filepath.Join(r.Directory, target) }

func (r Repository) stampFile() string { return filepath.Join(r.Directory, "renewed.json") }

// stamp says of which root it is the time, so that the two files are never of different days.
type stamp struct {
	At     time.Time `json:"at"`
	SHA256 string    `json:"sha256"`
}

// Kept returns the root that was renewed last, nil where none ever was. Nothing is fetched. It was verified when it was
// written, and whoever can write there can write the keys beside it.
func (r Repository) Kept() (*Kept, error) {
	raw, err := os.ReadFile(r.File())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	kept := &Kept{Raw: raw}
	var s stamp
	if text, err := os.ReadFile(r.stampFile()); err == nil && json.Unmarshal(text, &s) == nil && s.SHA256 == sumOf(raw) {
		kept.At = s.At
	} // else nobody knows when, and it is as old as can be
	return kept, nil
}

// Renew asks the repository for its newest trusted root, which check must find whole, and keeps it. changed says that it is
// another than the one before. After an error what was kept before still is.
func (r Repository) Renew(ctx context.Context, check func(raw []byte) error) (changed bool, err error) {
	if err := os.MkdirAll(r.Directory, 0o700); err != nil {
		return false, err
	}
	before, err := r.Kept()
	if err != nil {
		return false, err
	}
	first, err := r.newestRoot()
	if err != nil {
		return false, err
	}
	client, err := tuf.New(&tuf.Options{
		RepositoryBaseURL: r.URL, Root: first, CachePath: r.Directory, Fetcher: fetcher{ctx, r.Transport},
	})
	if err != nil {
		return false, fmt.Errorf("renew from %s: %w", r.URL, err)
	}
	raw, err := client.GetTarget(target)
	if err != nil {
		return false, fmt.Errorf("renew from %s: %w", r.URL, err)
	}
	if len(raw) > maxTarget {
		return false, fmt.Errorf("renew from %s: %s has more than %d bytes", r.URL, target, maxTarget)
	}
	if err := check(raw); err != nil {
		return false, fmt.Errorf("renew from %s: %w", r.URL, err)
	}

	changed = before == nil || sumOf(before.Raw) != sumOf(raw)
	if changed {
		if err := safefile.Replace(r.File(), raw); err != nil {
			return false, err
		}
	}
	text, err := json.Marshal(stamp{At: time.Now().UTC(), SHA256: sumOf(raw)})
	if err == nil {
		err = safefile.Replace(r.stampFile(), text)
	}
	return changed, err
}

// newestRoot is the newest root.json that was followed to. The library begins with the one that it is given, and a mirror that
// hides the newer ones would take it back there.
func (r Repository) newestRoot() ([]byte, error) {
	given, err := metadata.Root().FromBytes(r.Root)
	if err != nil {
		return nil, fmt.Errorf("the root of %s: %w", r.URL, err)
	}
	raw, err := os.ReadFile(filepath.Join(r.Directory, tuf.URLToPath(r.URL), "root.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r.Root, nil
	}
	if err != nil {
		return nil, err
	}
	seen, err := metadata.Root().FromBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("the root of %s that was seen last: %w", r.URL, err)
	}
	if seen.Signed.Version < given.Signed.Version {
		return r.Root, nil
	}
	return raw, nil
}

// fetcher downloads what the library asks for, from the repository's own host, for as long as the context lasts.
type fetcher struct {
	ctx       context.Context
	transport http.RoundTripper
}

// DownloadFile implements the library's Fetcher.
func (f fetcher) DownloadFile(url string, limit int64, _ time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(f.ctx, maxRequest)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: f.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, &metadata.ErrDownloadHTTP{StatusCode: response.StatusCode, URL: url}
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, &metadata.ErrDownloadLengthMismatch{Msg: fmt.Sprintf("%s has more than %d bytes", url, limit)}
	}
	return raw, nil
}

func sumOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
