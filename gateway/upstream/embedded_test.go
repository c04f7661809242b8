package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

func TestEmbeddedKeepsWhatIsPushedUntilItIsDeleted(t *testing.T) {
	r, ctx := embedded(t), t.Context()
	layer, content := blob("a layer")
	d, raw := image(t, r, "team/app", "a layer", nil)
	for range 2 { // a repeated push is as good as one
		if err := r.PutManifest(ctx, "team/app", "v1", d.MediaType, raw); err != nil {
			t.Fatal(err)
		}
	}

	for _, reference := range []string{"v1", d.Digest.String()} {
		got, mediaType, err := r.Manifest(ctx, "team/app", reference)
		if err != nil || !bytes.Equal(got, raw) || mediaType != d.MediaType {
			t.Errorf("Manifest(%s) = %q, %s, %v, want what was pushed", reference, got, mediaType, err)
		}
	}
	if got, err := r.Blob(ctx, "team/app", layer.Digest, 100); err != nil || !bytes.Equal(got, content) {
		t.Errorf("Blob = %q, %v, want %q", got, err, content)
	}
	if _, err := r.Blob(ctx, "team/app", layer.Digest, layer.Size-1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Blob past its limit: %v, want ErrTooLarge", err)
	}
	if _, err := r.Blob(ctx, "team/other", layer.Digest, 100); !errors.Is(err, ErrNotFound) {
		t.Errorf("Blob of another repository: %v, want ErrNotFound", err)
	}

	if err := r.DeleteManifest(ctx, "team/app", "v1"); err != nil {
		t.Fatal("delete the tag:", err)
	}
	if _, _, err := r.Manifest(ctx, "team/app", "v1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Manifest of a deleted tag: %v, want ErrNotFound", err)
	}
	if err := r.DeleteManifest(ctx, "team/app", d.Digest.String()); err != nil {
		t.Fatal("delete the manifest:", err)
	}
	if _, _, err := r.Manifest(ctx, "team/app", d.Digest.String()); !errors.Is(err, ErrNotFound) {
		t.Errorf("Manifest after it was deleted: %v, want ErrNotFound", err)
	}
}

func TestEmbeddedOutlivesItsProcess(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "not", "there", "yet")
	first, err := NewEmbedded("local", "", directory)
	if err != nil {
		t.Fatal(err)
	}
	d := push(t, first, "app", "kept", nil)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := NewEmbedded("local", "", directory)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, _, err := second.Manifest(t.Context(), "app", d.Digest.String()); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(directory); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, %v, want it to be ours alone", info, err)
	}
}

func TestEmbeddedSaysWhyItCannotStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := NewEmbedded("local", "", filepath.Join(file, "below"))
	mustFail(t, err, "registry local: mkdir")
	_, err = NewEmbedded("", "", t.TempDir())
	mustFail(t, err, "needs a name")
}

// patch begins an upload and sends body as one chunk of unknown length. It returns where the upload goes on.
func patch(ctx context.Context, r *Registry, repo string, body io.Reader) (path, query string, err error) {
	begun, err := r.Do(ctx, Request{Method: http.MethodPost, Path: "/v2/" + repo + "/blobs/uploads/"})
	if err != nil {
		return "", "", err
	}
	begun.Body.Close()
	if path, query, err = r.Location(begun); err != nil {
		return "", "", err
	}
	sent, err := r.Do(ctx, Request{
		Method: http.MethodPatch, Repo: repo, Path: path, RawQuery: query, Body: body, Length: -1,
		Header: http.Header{"Content-Type": {"application/octet-stream"}},
	})
	if err != nil {
		return path, query, err
	}
	sent.Body.Close()
	return r.Location(sent)
}

func finish(ctx context.Context, r *Registry, repo, path, query string, d digest.Digest) error {
	done, err := r.Do(ctx, Request{
		Method: http.MethodPut, Repo: repo, Path: path, RawQuery: query + "&digest=" + url.QueryEscape(d.String()),
	})
	if err != nil {
		return err
	}
	return done.Body.Close()
}

func TestEmbeddedStreamsLargeBlobsInLittleMemory(t *testing.T) {
	const size = 64 << 20
	content := func() io.Reader {
		return io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
	}
	d, err := digest.FromReader(content())
	if err != nil {
		t.Fatal(err)
	}
	r, ctx := embedded(t), t.Context()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)

	path, query, err := patch(ctx, r, "app", content())
	if err == nil {
		err = finish(ctx, r, "app", path, query, d)
	}
	if err != nil {
		t.Fatal("push:", err)
	}
	body, length, err := r.OpenBlob(ctx, "app", d)
	if err != nil {
		t.Fatal("open:", err)
	}
	defer body.Close()
	n, err := io.Copy(io.Discard, body)
	if err != nil || n != size || length != size {
		t.Errorf("read %d of %d bytes, %v, want %d", n, length, err, size)
	}

	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("%d bytes were allocated for a stream of %d each way, want less than 8 MiB", used, size)
	}
}

func TestEmbeddedKeepsNothingOfAnUploadThatWasAborted(t *testing.T) {
	r := embedded(t)
	ctx, cancel := context.WithCancel(t.Context())
	d := digest.FromString("firstrest")
	_, _, err := patch(ctx, r, "app", io.MultiReader(strings.NewReader("first"), readerFunc(func([]byte) (int, error) {
		cancel() // the client hangs up
		return 0, context.Canceled
	})))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the push ended in %v, want context.Canceled", err)
	}
	if _, err := r.Blob(t.Context(), "app", d, 100); !errors.Is(err, ErrNotFound) {
		t.Errorf("Blob: %v, want ErrNotFound", err)
	}
}

func TestEmbeddedGivesTheErrorOfTheBodyItCouldNotRead(t *testing.T) {
	r, broken := embedded(t), errors.New("the client sent other bytes")
	_, _, err := patch(t.Context(), r, "app", io.MultiReader(strings.NewReader("first"), readerFunc(func([]byte) (int, error) { return 0, broken })))
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the body's own error", err)
	}
}

func TestEmbeddedRefusesABlobOfAnotherDigest(t *testing.T) {
	r := embedded(t)
	path, query, err := patch(t.Context(), r, "app", strings.NewReader("these bytes"))
	if err != nil {
		t.Fatal(err)
	}
	err = finish(t.Context(), r, "app", path, query, digest.FromString("other bytes"))
	status := new(StatusError)
	if !errors.As(err, &status) || status.Status != http.StatusBadRequest || status.Code != "DIGEST_INVALID" {
		t.Errorf("got %v, want status 400 DIGEST_INVALID", err)
	}
}

func TestEmbeddedTakesThePushesOfManyAtOnce(t *testing.T) {
	r := embedded(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			layer, raw := blob("the same for all")
			if err := r.PutBlob(t.Context(), "app", layer, raw); err != nil {
				t.Error(err)
			}
			d := push(t, r, "app", fmt.Sprint("own ", i), nil)
			if _, _, err := r.Manifest(t.Context(), "app", d.Digest.String()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestEmbeddedBeginsNothingOnceItIsClosed(t *testing.T) {
	r := embedded(t)
	d := push(t, r, "app", "x", nil)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Manifest(t.Context(), "app", d.Digest.String()); !errors.Is(err, errClosed) {
		t.Errorf("a manifest of a closed registry: %v", err)
	}
	path := "/v2/app/blobs/uploads/"
	if _, err := r.Do(t.Context(), Request{Method: http.MethodPost, Repo: "app", Path: path}); !errors.Is(err, errClosed) {
		t.Errorf("an upload to a closed registry: %v", err)
	}
}

// TestEmbeddedTakesTheSameBlobFromManyAtOnce holds the end of an upload against what distribution still does behind the
// answer to its last chunk, and the ends of uploads of one digest against each other.
func TestEmbeddedTakesTheSameBlobFromManyAtOnce(t *testing.T) {
	r := embedded(t)
	content := bytes.Repeat([]byte("the same layer"), 1000)
	d := digest.FromBytes(content)
	ways := []func(ctx context.Context, repo string) error{
		func(ctx context.Context, repo string) error { // in chunks
			path, query, err := patch(ctx, r, repo, bytes.NewReader(content))
			if err != nil {
				return err
			}
			return finish(ctx, r, repo, path, query, d)
		},
		func(ctx context.Context, repo string) error { // in one piece, unless it is there
			return r.PutBlob(ctx, repo, ocispec.Descriptor{Digest: d, Size: int64(len(content))}, content)
		},
		func(ctx context.Context, repo string) error { // mounted
			resp, err := r.Do(ctx, Request{
				Method: http.MethodPost, Repo: repo, Path: "/v2/" + repo + "/blobs/uploads/",
				RawQuery: url.Values{"mount": {d.String()}, "from": {"source"}}.Encode(),
			})
			if err != nil {
				return err
			}
			if resp.StatusCode != http.StatusCreated {
				return fmt.Errorf("the mount answers %d", resp.StatusCode)
			}
			return resp.Body.Close()
		},
	}
	if err := ways[0](t.Context(), "source"); err != nil {
		t.Fatal(err)
	}

	all, ctx := errgroup.WithContext(t.Context())
	for i := range 16 {
		all.Go(func() error {
			for round := range 15 {
				repo := fmt.Sprintf("team/app%d", round%5)
				if err := ways[max(0, i-13)](ctx, repo); err != nil {
					return err
				}
				if got, err := r.Blob(ctx, repo, d, int64(len(content))); err != nil || !bytes.Equal(got, content) {
					return fmt.Errorf("the blob after its upload to %s: %d bytes, %w", repo, len(got), err)
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(r.directory, "docker/registry/v2/repositories/*/*/_uploads/*"))
	if err != nil || len(left) > 0 {
		t.Errorf("uploads that ended left %d folders behind, %v", len(left), err)
	}
}

func TestEmbeddedListsTagsAndRepositories(t *testing.T) {
	r, ctx := embedded(t), t.Context()
	d, raw := image(t, r, "team/app", "x", nil)
	for _, tag := range []string{"a", "b", "c"} {
		if err := r.PutManifest(ctx, "team/app", tag, d.MediaType, raw); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"/v2/team/app/tags/list": `{"name":"team/app","tags":["a","b","c"]}`,
		"/v2/_catalog":           `{"repositories":["team/app"]}`,
	} {
		resp, err := r.Do(ctx, Request{Method: http.MethodGet, Path: path, RawQuery: "n=1000"})
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s = %s, %v, want %s", path, got, err, want)
		}
	}

	resp, err := r.Do(ctx, Request{Method: http.MethodGet, Path: "/v2/team/app/tags/list", RawQuery: "n=2"})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	path, query, err := r.Next(resp)
	if err != nil || path != "/v2/team/app/tags/list" || !strings.Contains(query, "last=b") {
		t.Errorf("Next = %s?%s, %v, want the list behind b", path, query, err)
	}
}

func TestEmbeddedServesRanges(t *testing.T) {
	r := embedded(t)
	d, raw := blob("0123456789")
	if err := r.PutBlob(t.Context(), "app", d, raw); err != nil {
		t.Fatal(err)
	}
	q := get("/v2/app/blobs/" + d.Digest.String())
	q.Header = http.Header{"Range": {"bytes=3-5"}}
	resp, err := r.Do(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != "345" || resp.StatusCode != http.StatusPartialContent || resp.Header.Get("Content-Range") != "bytes 3-5/10" {
		t.Errorf("got %d %q %v, %v, want 206 345", resp.StatusCode, got, resp.Header, err)
	}
}

func TestEmbeddedRefusesAnIndexOfWhatIsNotThere(t *testing.T) {
	r := embedded(t)
	err := r.PutManifest(t.Context(), "app", "index", ocispec.MediaTypeImageIndex, indexOf(0, 1))
	status := new(StatusError)
	if !errors.As(err, &status) || status.Status != http.StatusBadRequest && status.Status != http.StatusNotFound {
		t.Errorf("got %v, want a refusal", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func BenchmarkEmbeddedManifest(b *testing.B) {
	r := embedded(b)
	d := push(b, r, "app", "x", nil)
	for b.Loop() {
		if _, _, err := r.Manifest(b.Context(), "app", d.Digest.String()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEmbeddedBlob(b *testing.B) {
	r := embedded(b)
	d, raw := blob(strings.Repeat("x", 16<<20))
	if err := r.PutBlob(b.Context(), "app", d, raw); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(d.Size)
	for b.Loop() {
		resp, err := r.Do(b.Context(), get("/v2/app/blobs/"+d.Digest.String()))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
}
