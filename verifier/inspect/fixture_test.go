package inspect

import (
	"context"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
)

// counting counts the bytes of layers that are read.
type counting struct {
	store
	mu   sync.Mutex
	read map[digest.Digest]int64
}

func (c *counting) OpenBlob(ctx context.Context, repo string, d digest.Digest) (io.ReadCloser, int64, error) {
	body, size, err := c.store.OpenBlob(ctx, repo, d)
	if err != nil {
		return nil, 0, err
	}
	return &countedBody{body, c, d}, size, nil
}

type countedBody struct {
	io.ReadCloser
	to *counting
	d  digest.Digest
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.to.mu.Lock()
	defer b.to.mu.Unlock()
	b.to.read[b.d] += int64(n)
	return n, err
}
