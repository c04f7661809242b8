package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

// registry is distribution itself: the upstream of a gateway, and the way around it.
type registry struct {
	address string
	dir     string
	process *process
}

func startRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{address: freeAddress(t), dir: tempDir(t)}
	writeFile(t, filepath.Join(r.dir, "config.yml"), fmt.Appendf(nil, `
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http: {addr: %s}
`, filepath.Join(r.dir, "data"), r.address), 0o644)
	r.start(t)
	return r
}

func (r *registry) start(t *testing.T) {
	t.Helper()
	p, err := startProcess(filepath.Join(r.dir, "log"), []string{"OTEL_TRACES_EXPORTER=none"},
		suite.tools["registry"], "serve", filepath.Join(r.dir, "config.yml"))
	if err != nil {
		t.Fatal(err)
	}
	r.process = p
	t.Cleanup(p.kill)
	if err := p.ready(func() bool { return answers("http://" + r.address + "/v2/") }); err != nil {
		t.Fatal(err)
	}
}

// ref is how to reach something in the registry around the gateway.
func (r *registry) ref(image string) string { return r.address + "/" + image }

// url is where a gateway finds the registry.
func (r *registry) url() string { return "http://" + r.address }

// freeAddress is an address on loopback where nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answers reports that a URL answers with 200.
func answers(url string) bool { return answersTo(http.DefaultClient, url) }

func answersTo(client *http.Client, url string) bool {
	resp, err := client.Get(url)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}
