package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// serving answers every GET with a body of that type and, unless empty, that Docker-Content-Digest.
func serving(body, mediaType string, claim digest.Digest) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		if claim != "" {
			w.Header().Set("Docker-Content-Digest", claim.String())
		}
		io.WriteString(w, body)
	}
}

func TestManifestGivesTheVeryBytesAndTheirType(t *testing.T) {
	sha512 := digest.SHA512.FromString(emptyImage)
	for name, claim := range map[string]digest.Digest{"without a claim": "", "with one": emptyDigest, "with one of sha512": sha512, "with nonsense": "md5:x"} {
		r := behind(t, serving(emptyImage, ocispec.MediaTypeImageManifest+"; charset=utf-8", claim))
		for _, reference := range []string{"v1", emptyDigest.String(), sha512.String()} {
			got, mediaType, err := r.Manifest(t.Context(), "team/app", reference)
			if err != nil || string(got) != emptyImage || mediaType != ocispec.MediaTypeImageManifest+"; charset=utf-8" {
				t.Errorf("%s, by %s: got %q, %q, %v", name, reference, got, mediaType, err)
			}
		}
	}
}

func TestThreat004_ADigestThatTheBytesDoNotHaveIsAnError(t *testing.T) {
	r := behind(t, serving(emptyImage, ocispec.MediaTypeImageManifest, someDigest))
	if _, _, err := r.Manifest(t.Context(), "app", "v1"); !errors.Is(err, ErrDigest) {
		t.Errorf("by tag: got %v, want ErrDigest", err)
	}
	r = behind(t, serving(emptyImage, ocispec.MediaTypeImageManifest, digest.SHA512.FromString("x")))
	if _, _, err := r.Manifest(t.Context(), "app", "v1"); !errors.Is(err, ErrDigest) {
		t.Errorf("by tag, of sha512: got %v, want ErrDigest", err)
	}
}

func TestThreat007_OtherBytesThanTheDigestsAreAnError(t *testing.T) {
	for _, claim := range []digest.Digest{"", emptyDigest, someDigest} {
		r := behind(t, serving(emptyImage, ocispec.MediaTypeImageManifest, claim))
		for _, d := range []digest.Digest{someDigest, digest.SHA512.FromString("something")} {
			got, _, err := r.Manifest(t.Context(), "app", d.String())
			if !errors.Is(err, ErrDigest) || got != nil {
				t.Errorf("got %d bytes, %v, want ErrDigest", len(got), err)
			}
		}
	}
}

func TestThreat008_EveryManifestIsAskedForInTheSameWay(t *testing.T) {
	var asked []string
	r := behind(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, strings.Join(r.Header.Values("Accept"), "|"))
		serving(emptyImage, ocispec.MediaTypeImageManifest, "")(w, r)
	})
	for _, reference := range []string{"v1", emptyDigest.String()} {
		if _, _, err := r.Manifest(t.Context(), "app", reference); err != nil {
			t.Fatal(err)
		}
	}
	for _, got := range asked {
		if got != accept || strings.Count(got, ",") != 3 {
			t.Errorf("asked with Accept %q, want %q", got, accept)
		}
	}
}

func TestThreat027_AManifestIsBounded(t *testing.T) {
	sized := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Write(bytes.Repeat([]byte("x"), n))
		}
	}
	if got, _, err := behind(t, sized(maxManifest)).Manifest(t.Context(), "app", "v1"); err != nil || len(got) != maxManifest {
		t.Errorf("at the limit: %d bytes, %v", len(got), err)
	}
	if _, _, err := behind(t, sized(maxManifest+1)).Manifest(t.Context(), "app", "v1"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one past it: got %v, want ErrTooLarge", err)
	}
	endless := raw(t, func(conn net.Conn) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		for {
			if _, err := conn.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	if _, _, err := endless.Manifest(t.Context(), "app", "v1"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("without end: got %v, want ErrTooLarge", err)
	}
	promised := raw(t, func(conn net.Conn) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n")
	})
	if _, _, err := promised.Manifest(t.Context(), "app", "v1"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("promised: got %v, want ErrTooLarge", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	drip := behind(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "{")
		w.(http.Flusher).Flush()
		cancel() // stands for the deadline
		<-r.Context().Done()
	})
	if _, _, err := drip.Manifest(ctx, "app", "v1"); !errors.Is(err, context.Canceled) {
		t.Errorf("a slow drip: got %v, want the context's end", err)
	}
}

func TestThreat040_AManifestOfAnotherLengthIsAnError(t *testing.T) {
	short := raw(t, func(conn net.Conn) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"+emptyImage)
	})
	if _, _, err := short.Manifest(t.Context(), "app", "v1"); err == nil {
		t.Error("a shorter body was taken")
	}
	long := raw(t, func(conn net.Conn) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"+emptyImage)
	})
	if _, _, err := long.Manifest(t.Context(), "app", emptyDigest.String()); !errors.Is(err, ErrDigest) {
		t.Errorf("a longer body: got %v, want ErrDigest", err)
	}
	chunked := raw(t, func(conn net.Conn) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n")
	})
	if _, _, err := chunked.Manifest(t.Context(), "app", "v1"); err == nil {
		t.Error("a body without its last chunk was taken")
	}
	for _, status := range []int{201, 202, 204} {
		r := behind(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		_, _, err := r.Manifest(t.Context(), "app", "v1")
		mustFail(t, err, "for a whole document")
	}
}

func TestThreat030_MalformedNamesNeverBecomeAPath(t *testing.T) {
	r := behind(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("sent %s", r.RequestURI) })
	ctx := t.Context()
	for _, reference := range []string{
		"", ".x", "../../x", "a/b", "a?b", "a b", "a%2fb", strings.Repeat("a", 129), "sha256:", "sha256:" + strings.Repeat("A", 64),
		"sha256:" + strings.Repeat("a", 63), "sha256:../../../" + strings.Repeat("a", 55), "sha256+b64:x", "md5:" + strings.Repeat("a", 32),
	} {
		if _, _, err := r.Manifest(ctx, "app", reference); err == nil {
			t.Errorf("Manifest took %q", reference)
		}
		if err := r.PutManifest(ctx, "app", reference, "x/y", nil); err == nil {
			t.Errorf("PutManifest took %q", reference)
		}
		if err := r.DeleteManifest(ctx, "app", reference); err == nil {
			t.Errorf("DeleteManifest took %q", reference)
		}
		if !strings.Contains(reference, ":") {
			continue
		}
		d := digest.Digest(reference)
		if _, err := r.Blob(ctx, "app", d, 10); err == nil {
			t.Errorf("Blob took %q", reference)
		}
		if _, _, err := r.OpenBlob(ctx, "app", d); err == nil {
			t.Errorf("OpenBlob took %q", reference)
		}
		if _, _, err := r.Referrers(ctx, "app", d); err == nil {
			t.Errorf("Referrers took %q", reference)
		}
		if err := r.PutBlob(ctx, "app", ocispec.Descriptor{Digest: d}, nil); err == nil {
			t.Errorf("PutBlob took %q", reference)
		}
	}
	for _, repo := range []string{"", "/", "a/", "/a", "a//b", "a/../b", "..", "A", "a b", "a%2fb", "a?b", "a:b", "a\\b", strings.Repeat("a", maxRepository+1)} {
		if _, _, err := r.Manifest(ctx, repo, "v1"); err == nil {
			t.Errorf("Manifest took the repository %q", repo)
		}
		if _, err := r.Blob(ctx, repo, someDigest, 10); err == nil {
			t.Errorf("Blob took the repository %q", repo)
		}
		if _, _, err := r.Referrers(ctx, repo, someDigest); err == nil {
			t.Errorf("Referrers took the repository %q", repo)
		}
	}
}

func TestPutManifestKnowsWhatWasStored(t *testing.T) {
	stored := digest.Digest("")
	r := behind(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != emptyImage || r.Header.Get("Content-Type") != ocispec.MediaTypeImageManifest || r.ContentLength != int64(len(emptyImage)) {
			t.Errorf("got %q, %v", body, r.Header)
		}
		w.Header().Set("Docker-Content-Digest", stored.String())
		w.WriteHeader(http.StatusCreated)
	})
	for claim, want := range map[digest.Digest]error{"": nil, emptyDigest: nil, someDigest: ErrDigest} {
		stored = claim
		if err := r.PutManifest(t.Context(), "app", "v1", ocispec.MediaTypeImageManifest, []byte(emptyImage)); !errors.Is(err, want) {
			t.Errorf("stored as %q: got %v, want %v", claim, err, want)
		}
	}
	if err := r.PutManifest(t.Context(), "app", someDigest.String(), ocispec.MediaTypeImageManifest, []byte(emptyImage)); !errors.Is(err, ErrDigest) {
		t.Errorf("under another digest: got %v, want ErrDigest", err)
	}
}

func TestARealRegistryByURLKeepsWhatIsPushed(t *testing.T) {
	r, _ := genuine(t, false)
	d := push(t, r, "team/app", "x", nil)
	if _, _, err := r.Manifest(t.Context(), "team/app", d.Digest.String()); err != nil {
		t.Error(err)
	}
	if err := r.DeleteManifest(t.Context(), "team/app", d.Digest.String()); err != nil {
		t.Error(err)
	}
	if _, _, err := r.Manifest(t.Context(), "team/app", d.Digest.String()); !errors.Is(err, ErrNotFound) {
		t.Errorf("after it was deleted: got %v, want ErrNotFound", err)
	}
}

func TestBlobIsHashedAndBounded(t *testing.T) {
	d, content := blob("0123456789")
	for name, tt := range map[string]struct {
		body  string
		limit int64
		want  error
	}{
		"as it is":          {string(content), 10, nil},
		"one past its size": {string(content), 9, ErrTooLarge},
		"other bytes":       {"9876543210", 10, ErrDigest},
		"fewer bytes":       {"012345678", 10, ErrDigest},
		"none":              {"", 10, ErrDigest},
	} {
		t.Run(name, func(t *testing.T) {
			r := behind(t, serving(tt.body, "x/y", ""))
			if got, err := r.Blob(t.Context(), "app", d.Digest, tt.limit); !errors.Is(err, tt.want) || (err == nil) != (string(got) == string(content)) {
				t.Errorf("Blob: got %q, %v, want %v", got, err, tt.want)
			}
			chunked := behind(t, func(w http.ResponseWriter, _ *http.Request) {
				w.(http.Flusher).Flush()
				io.WriteString(w, tt.body)
			})
			if got, err := chunked.Blob(t.Context(), "app", d.Digest, tt.limit); !errors.Is(err, tt.want) || (err == nil) != (string(got) == string(content)) {
				t.Errorf("Blob without a length: got %q, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestThreat035_AStreamOfOtherBytesNeverEndsWell(t *testing.T) {
	d, content := blob("0123456789")
	for body, want := range map[string]error{string(content): nil, "01234567890": ErrDigest, "9876543210": ErrDigest, "": ErrDigest} {
		r := behind(t, serving(body, "x/y", ""))
		stream, size, err := r.OpenBlob(t.Context(), "app", d.Digest)
		if err != nil || size != int64(len(body)) {
			t.Fatalf("open: size %d, %v", size, err)
		}
		got, err := io.ReadAll(stream)
		stream.Close()
		if !errors.Is(err, want) || want == nil && string(got) != string(content) {
			t.Errorf("%q: got %q, %v, want %v", body, got, err, want)
		}
	}
}

func TestPutBlobSendsNothingThatIsThere(t *testing.T) {
	r, count := genuine(t, false)
	d, content := blob("x")
	for range 2 {
		if err := r.PutBlob(t.Context(), "app", d, content); err != nil {
			t.Fatal(err)
		}
	}
	if n := count.count("PUT "); n != 1 {
		t.Errorf("%d uploads, want 1", n)
	}
	if err := r.PutBlob(t.Context(), "app", d, []byte("y")); !errors.Is(err, ErrDigest) {
		t.Errorf("other bytes: got %v, want ErrDigest", err)
	}
}

func TestThreat108_AnUploadToAnotherOriginIsRefused(t *testing.T) {
	evil, visits := stranger(t, func(http.ResponseWriter, *http.Request) {})
	for location, part := range map[string]string{
		evil.URL + "/v2/app/blobs/uploads/x": "another origin", "": "did not say", "https://127.0.0.1/x": "another origin",
	} {
		r := behind(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case http.MethodHead:
				w.WriteHeader(http.StatusNotFound)
			case http.MethodPost:
				w.Header().Set("Location", location)
				w.WriteHeader(http.StatusAccepted)
			default:
				t.Errorf("got a %s", r.Method)
			}
		}, withCanary)
		d, content := blob("x")
		mustFail(t, r.PutBlob(t.Context(), "app", d, content), part)
	}
	if n := len(visits.list()); n != 0 {
		t.Errorf("the stranger was visited %d times", n)
	}
}

func TestPutBlobKeepsAnUploadsQuery(t *testing.T) {
	var put string
	r := behind(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		case http.MethodPost:
			w.Header().Set("Location", "/elsewhere/id?_state=a%2Bb&x=1;2")
			w.WriteHeader(http.StatusAccepted)
		case http.MethodPut:
			put = r.RequestURI
			w.WriteHeader(http.StatusCreated)
		}
	})
	d, content := blob("x")
	if err := r.PutBlob(t.Context(), "app", d, content); err != nil {
		t.Fatal(err)
	}
	if want := "/elsewhere/id?_state=a%2Bb&x=1;2&digest=sha256%3A" + d.Digest.Encoded(); put != want {
		t.Errorf("put %s, want %s", put, want)
	}
}

func BenchmarkManifest(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			body := strings.Repeat(" ", size) + emptyImage
			r := behind(b, serving(body, ocispec.MediaTypeImageManifest, ""))
			reference := digest.FromString(body).String()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, _, err := r.Manifest(b.Context(), "app", reference); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
