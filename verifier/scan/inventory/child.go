package inventory

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/strictjson"
	"github.com/sealgate/sealgate/verifier/inspect"
)

// ServeChild is the child's whole life, when this process was started as one; otherwise it returns at once. A program whose
// [Taker] starts children calls it first of all.
func ServeChild() { serveChild((*request).take) }

// serveChild is ServeChild with a way to take inventories.
func serveChild(take taking) {
	if len(os.Args) < 2 || os.Args[0] != childName {
		return
	}
	var err error
	switch os.Args[1] {
	case "confine": // what holds for a whole process is set before it starts
		err = confine(os.Args[2:])
	case "extract":
		answers := os.Stdout
		os.Stdout = os.Stderr // where readers of some formats write what they think
		if err = serve(os.Stdin, answers, take); err == nil {
			os.Exit(0)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

type taking func(*request, context.Context) (*Inventory, error)

// serve answers one request.
func serve(in io.Reader, out io.Writer, take taking) error {
	requests := bufio.NewReader(in)
	raw, err := requests.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	var r request
	if err := strictjson.DecodeExact(raw, &r); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	debug.SetMemoryLimit(r.Limits.Memory * 3 / 4)
	if err := restrict(); err != nil {
		return err
	}
	go func() { // nobody waits any more
		_, _ = io.Copy(io.Discard, requests)
		os.Exit(1)
	}()

	ctx, cancel := context.WithTimeout(context.Background(), r.Limits.Time)
	defer cancel()
	a := answer{Image: r.Image}
	a.Inventory, err = take(&r, ctx)
	switch {
	case errors.Is(err, inspect.ErrInvalid):
		a.Inventory, a.Flaw = nil, err.Error()
	case err != nil:
		a.Inventory, a.Failure = nil, err.Error()
	}
	return json.NewEncoder(out).Encode(a)
}

// imageConfig is what is needed of an image's configuration.
type imageConfig struct {
	RootFS struct {
		DiffIDs []digest.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

// take reads the image whose files are open.
func (r *request) take(ctx context.Context) (*Inventory, error) {
	var c imageConfig
	if err := strictjson.Decode(r.Config, &c); err != nil {
		return nil, fmt.Errorf("%w: its configuration: %w", inspect.ErrInvalid, err)
	}
	if len(c.RootFS.DiffIDs) != len(r.Layers) {
		return nil, fmt.Errorf("%w: it has %d layers, and its configuration names %d", inspect.ErrInvalid, len(r.Layers), len(c.RootFS.DiffIDs))
	}
	spool := os.NewFile(spoolFD, "spool")
	t := newTree(spool)
	var end int64
	for i, d := range r.Layers {
		size, err := unpack(os.NewFile(uintptr(firstLayerFD+i), "layer"), d, c.RootFS.DiffIDs[i], &bounded{spool, end, r.Limits.Spool})
		if err == nil {
			err = t.add(i, end, size)
		}
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		end += size
	}
	return extract(ctx, t, r.Image)
}

// unpack writes a layer's tar into the spool. A tar that is not the one which the configuration names is the image's fault.
func unpack(layer io.Reader, d ocispec.Descriptor, diffID digest.Digest, spool *bounded) (size int64, err error) {
	got, err := inspect.ReadLayer(&checked{layer, d.Digest.Verifier()}, d, func(tar io.Reader) error {
		size, err = io.CopyBuffer(struct{ io.Writer }{spool}, struct{ io.Reader }{tar}, make([]byte, 1<<20))
		return err
	})
	if err != nil {
		return 0, err
	}
	if got != diffID {
		return 0, fmt.Errorf("%w: it unpacks to %.19s, its configuration says %.19s", inspect.ErrInvalid, got, diffID)
	}
	return size, nil
}

// checked ends in io.EOF only when its bytes were those that the digest names.
type checked struct {
	from io.Reader
	sum  digest.Verifier
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	_, _ = c.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && !c.sum.Verified() {
		return n, errors.New("other bytes came than the digest says")
	}
	return n, err
}

// bounded writes one file from an offset on, and no further than a limit.
type bounded struct {
	to    io.WriterAt
	at    int64
	limit int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.at+int64(len(p)) > b.limit {
		return 0, fmt.Errorf("%w: it unpacks to more than %d MiB", inspect.ErrInvalid, b.limit>>20)
	}
	n, err := b.to.WriteAt(p, b.at)
	b.at += int64(n)
	return n, err
}
