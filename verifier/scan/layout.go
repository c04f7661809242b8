package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Workplace is a directory for what scanners read and write. Each scan gets a folder of its own in it, which goes with the
// scan.
type Workplace struct{ dir string }

// OpenWorkplace takes a directory and removes whatever an earlier process left there. Nobody else may use it.
func OpenWorkplace(dir string) (*Workplace, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("clear the scanners' workplace: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the scanners' workplace: %w", err)
	}
	return &Workplace{dir}, nil
}

// Folder makes a new one; done removes it, whatever is in it.
func (w *Workplace) Folder() (folder string, done func(), err error) {
	folder, err = os.MkdirTemp(w.dir, "scan-")
	return folder, func() { removeAll(folder) }, err
}

// LayOut returns a folder with an image in it, as an OCI layout that is called [LayoutName]: the one that the image has
// already, or a new one, which done removes.
func (w *Workplace) LayOut(ctx context.Context, blobs Blobs, image Image) (folder string, done func(), err error) {
	if image.Folder != "" {
		return image.Folder, func() {}, nil
	}
	folder, done, err = w.Folder()
	if err != nil {
		return "", nil, fmt.Errorf("make room: %w", err)
	}
	if err := writeLayout(ctx, filepath.Join(folder, LayoutName), blobs, image); err != nil {
		done()
		return "", nil, fmt.Errorf("fetch the image: %w", err)
	}
	return folder, done, nil
}

// LayoutName is what an image's layout is called in its folder.
const LayoutName = "layout"

// writeLayout writes an image as an OCI layout into a directory, which must not be there yet. What is written was hashed: it
// is what the manifest names, and no more of it than the manifest says.
//
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
func writeLayout(ctx context.Context, dir string, blobs Blobs, image Image) error {
	m := image.Manifest
	if m.IsIndex() {
		return errors.New("an index is no image")
	}
	total := m.Config.Size
	for _, d := range m.Layers {
		if total += d.Size; d.Size > MaxImage || total > MaxImage {
			return fmt.Errorf("the image has more than %d GiB", MaxImage>>30)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, ocispec.ImageBlobsDir), 0o700); err != nil {
		return err
	}

	fetches, ctx := errgroup.WithContext(ctx)
	fetches.SetLimit(fetchesAtOnce)
	known := map[digest.Digest]bool{} // an image may have a layer twice
	for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if known[d.Digest] {
			continue
		}
		known[d.Digest] = true
		fetches.Go(func() error {
			if err := writeBlob(ctx, dir, blobs, image.Repo, d); err != nil {
				return fmt.Errorf("fetch %s: %w", d.Digest, err)
			}
			return nil
		})
	}
	if err := fetches.Wait(); err != nil {
		return err
	}
	top := ocispec.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Raw))}
	if err := writeNew(blobPath(dir, top), m.Raw); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, ocispec.ImageLayoutFile), ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, ocispec.ImageIndexFile), ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{top},
	})
}

// fetchesAtOnce is how many parts of an image are fetched at a time, which is as many as clients pull.
const fetchesAtOnce = 3

func blobPath(dir string, d ocispec.Descriptor) string {
	return filepath.Join(dir, ocispec.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded())
}

func writeBlob(ctx context.Context, dir string, blobs Blobs, repo string, d ocispec.Descriptor) error {
	path := blobPath(dir, d)
	body, _, err := blobs.OpenBlob(ctx, repo, d.Digest)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	n, err := io.Copy(file, io.LimitReader(body, d.Size+1)) // to its end, where the hash is checked
	switch {
	case err != nil:
		return err
	case n != d.Size:
		return fmt.Errorf("it has other than the %d bytes that the manifest says", d.Size)
	}
	return file.Close()
}

func writeJSON(path string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return writeNew(path, raw)
}

func writeNew(path string, raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.Write(raw); err != nil {
		return errors.Join(err, file.Close())
	}
	return file.Close()
}
