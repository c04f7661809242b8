package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/e2e/rig"
)

// The origin stands behind the proxies in place of a registry: it answers as one does, from memory and files, and takes as
// little of the machine as it can. Its folder holds blobs by the hexadecimal part of their digest. Uploads vanish.
func serveOrigin(ctx context.Context, address, folder string) error {
	return serve(ctx, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			w.Header().Set("Location", r.URL.Path+"1?_state=x")
			w.WriteHeader(http.StatusAccepted)
		case r.Method == http.MethodPut || r.Method == http.MethodPatch:
			buffer := make([]byte, 256<<10)
			if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, buffer); err != nil {
				panic(http.ErrAbortHandler)
			}
			if r.Method == http.MethodPatch {
				w.Header().Set("Location", r.URL.Path+"?_state=x")
				w.WriteHeader(http.StatusAccepted)
				return
			}
			w.Header().Set("Docker-Content-Digest", r.URL.Query().Get("digest"))
			w.Header().Set("Location", "/v2/bench/app/blobs/"+r.URL.Query().Get("digest"))
			w.WriteHeader(http.StatusCreated)
		case strings.Contains(r.URL.Path, "/blobs/"):
			d := digest.Digest(path.Base(r.URL.Path))
			file, err := os.Open(filepath.Join(folder, d.Encoded()))
			if err != nil {
				http.NotFound(w, r)
				return
			}
			defer file.Close()
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Docker-Content-Digest", d.String())
			http.ServeContent(w, r, "", time.Time{}, file)
		case r.URL.Path == "/v2/":
			fmt.Fprint(w, "{}")
		default:
			http.NotFound(w, r)
		}
	}))
}

// serveReverseProxy is what Go's library has for the purpose, as well set up as it goes: connections that stay, no
// compression, buffers of 256 KiB.
func serveReverseProxy(ctx context.Context, address, target string) error {
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	return serve(ctx, address, &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport:  &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256, DisableCompression: true},
		BufferPool: make(pool, 64),
	})
}

// pool keeps buffers that are not in use.
type pool chan []byte

func (p pool) Get() []byte {
	select {
	case b := <-p:
		return b
	default:
		return make([]byte, 256<<10)
	}
}

func (p pool) Put(b []byte) {
	select {
	case p <- b:
	default:
	}
}

// serveMemory is the least that a Go program can do for a manifest: it answers from memory whatever is asked.
func serveMemory(ctx context.Context, address string) error {
	manifest := noise(1200)
	return serve(ctx, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
		_, _ = w.Write(manifest)
	}))
}

func serve(ctx context.Context, address string, handler http.Handler) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// play starts this program in one of its roles.
func (b *bench) play(ctx context.Context, role, argument string) (*rig.Program, error) {
	address, err := rig.FreeAddress()
	if err != nil {
		return nil, err
	}
	return rig.Start(ctx, rig.Command{
		Name: role, Path: b.self, Args: []string{"-role", role, "-address", address, "-argument", argument}, Address: address, Ready: "/v2/",
	})
}

// tunedNginx is nginx as its documentation advises for this: connections to the origin that stay, bodies that are neither
// collected before they go on nor written to disk, large buffers.
const tunedNginx = `
upstream origin { server %s; keepalive 256; }
sendfile on; tcp_nodelay on; keepalive_requests 1000000;
server {
  listen LISTEN backlog=4096;
  client_max_body_size 0;
  location / {
    proxy_pass http://origin;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_request_buffering off;
    client_body_buffer_size 256k;
    proxy_max_temp_file_size 0;
    proxy_buffer_size 16k;
    proxy_buffers 8 256k;
    proxy_busy_buffers_size 512k;
  }
}
`

// ourProxy is us in front of an origin, letting everything pass: what the others can do.
const ourProxy = `
registries: [{name: origin, url: %q}]
policies:
  - name: open
    repositories: ["**"]
    pull: {admit_unverified: true}
    push: {accept_unsealed: true}
`

// proxies are the contenders in front of one origin.
type proxies struct {
	origin, nginx, reverseProxy, us *rig.Program
}

// startProxies starts an origin that has some blobs, and everybody in front of it.
func (b *bench) startProxies(ctx context.Context, blobs ...[]byte) (p *proxies, err error) {
	p = &proxies{}
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
	folder, err := b.folder()
	if err != nil {
		return nil, err
	}
	for _, blob := range blobs {
		if err := os.WriteFile(filepath.Join(folder, digest.FromBytes(blob).Encoded()), blob, 0o600); err != nil {
			return nil, err
		}
	}
	if p.origin, err = b.play(ctx, "origin", folder); err != nil {
		return nil, err
	}
	if p.reverseProxy, err = b.play(ctx, "reverse-proxy", p.origin.URL()); err != nil {
		return nil, err
	}
	if folder, err = b.folder(); err != nil {
		return nil, err
	}
	if p.nginx, err = rig.Nginx(ctx, folder, fmt.Sprintf(tunedNginx, p.origin.Address)); err != nil {
		return nil, err
	}
	if folder, err = b.folder(); err != nil {
		return nil, err
	}
	us, err := rig.StartGateway(ctx, b.sealgate, folder, fmt.Sprintf(ourProxy, p.origin.URL()))
	if err != nil {
		return nil, err
	}
	p.us = us.Program
	return p, nil
}

func (p *proxies) stop() {
	for _, program := range []*rig.Program{p.us, p.nginx, p.reverseProxy, p.origin} {
		if program != nil {
			program.Stop()
		}
	}
}

// noise returns bytes that nobody can compress or guess.
func noise(size int) []byte {
	b := make([]byte, size)
	rand.Read(b)
	return b
}
