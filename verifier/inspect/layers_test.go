package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

func TestAnInspectionThatTakesLongGoesOn(t *testing.T) {
	s := store{}
	m := build(t, s, "", plainly(t, mode("bin/su", 0o4755)))
	gate := make(chan struct{})
	memory := NewLayers(1 << 20)
	defer memory.Close()
	i := Inspector{Blobs: slow{s, gate}, Layers: memory}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if image, err := i.Inspect(ctx, "prod/app", m, everything); !errors.Is(err, policy.ErrUnfinished) || errors.Is(err, ErrInvalid) {
		t.Fatalf("got %+v, %v, want %v", image, err, policy.ErrUnfinished)
	}
	close(gate)
	image, err := i.Inspect(t.Context(), "prod/app", m, everything)
	if err != nil || len(image.Content.Findings) == 0 {
		t.Errorf("got %+v, %v", image.Content, err)
	}
}

// slow opens layers when the gate is open.
type slow struct {
	store
	gate chan struct{}
}

func (s slow) OpenBlob(ctx context.Context, repo string, d digest.Digest) (io.ReadCloser, int64, error) {
	<-s.gate
	return s.store.OpenBlob(ctx, repo, d)
}

func TestALayerIsReadOnce(t *testing.T) {
	s := store{}
	m := build(t, s, "", plainly(t, mode("bin/su", 0o4755)), plainly(t, file("b", "2")))
	counted := &counting{store: s, read: map[digest.Digest]int64{}}
	memory := NewLayers(1 << 20)
	defer memory.Close()
	for range 3 {
		image, err := Inspector{Blobs: counted, Layers: memory}.Inspect(t.Context(), "prod/app", m, everything)
		if err != nil || len(image.Content.Findings) == 0 {
			t.Fatalf("got %+v, %v", image.Content, err)
		}
	}
	for _, l := range m.Layers {
		if counted.read[l.Digest] != l.Size {
			t.Errorf("read %d bytes of a layer of %d", counted.read[l.Digest], l.Size)
		}
	}
	if _, err := (Inspector{Blobs: store{m.Config.Digest: s[m.Config.Digest]}, Layers: memory}).Inspect(t.Context(), "other/app", m, everything); !errors.Is(err, errOutage) {
		t.Errorf("a layer that is known and not there: got %v", err)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	s := store{}
	memory := NewLayers(16 << 10)
	defer memory.Close()
	for n := range 100 {
		m := build(t, s, "", plainly(t, file(fmt.Sprint("file ", n), fmt.Sprint(n))))
		if _, err := (Inspector{Blobs: s, Layers: memory}).Inspect(t.Context(), "prod/app", m, everything); err != nil {
			t.Fatal(err)
		}
	}
	memory.mu.Lock()
	defer memory.mu.Unlock()
	if memory.weight > 16<<10 || memory.known.Len() < 5 || memory.known.Len() > 32 || len(memory.flights) > 0 {
		t.Errorf("remembers %d layers of %d bytes, %d are being read", memory.known.Len(), memory.weight, len(memory.flights))
	}
}

func TestARuleThatAsksForTheUserCostsOneBlob(t *testing.T) {
	for user, layers := range map[string]bool{"65532": false, "65532:root": false, "": false, "root": false, "0:0": false, "app": true, "app:app": true} {
		s := store{}
		m := build(t, s, `{"User":"`+user+`"}`, plainly(t, file("etc/passwd", "app:x:5:5::/:/bin/sh\n")))
		counted := &counting{store: s, read: map[digest.Digest]int64{}}
		image, err := Inspector{Blobs: counted}.Inspect(t.Context(), "prod/app", m, policy.ImageNeeds{Account: true})
		if err != nil || (len(counted.read) > 0) != layers || (image.Account != nil) != layers {
			t.Errorf("%q: read %v, got %+v, %v", user, counted.read, image, err)
		}
	}
}
