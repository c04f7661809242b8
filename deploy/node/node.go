// Package node knows what a node's container runtime does when the gateway refuses an image.
//
// A mirror is not enforcement: on any refusal docker, containerd and podman silently try the next place they know. So there
// are three things here. [Final] writes configuration with which there is no next place. [Node] reads the configuration that
// a node has, and finds each place that is left; it follows the runtimes' own rules, so where a file is broken it finds what
// the runtime makes of that, which is often to go on without it. [Prover.Prove] pulls two images with the node's own client, one
// that must come and one that must not, because reading is an opinion and a pull is a fact.
package node

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Gateway is what a node should know of the gateway.
type Gateway struct {
	// URL is how the node reaches it: scheme, host and port.
	URL *url.URL

	// Registries are the registries behind it, by name, which is the ?ns= that it answers, with their prefixes.
	Registries []Registry
}

// Registry is a registry behind the gateway.
type Registry struct{ Name, Prefix string }

// Host is what image names begin with.
func (g Gateway) Host() string { return g.URL.Host }

// is reports whether a location, with or without scheme and path, is at the gateway. Another scheme is another port, and
// who answers there is not known.
func (g Gateway) is(location string) bool {
	scheme := g.URL.Scheme
	if written, rest, ok := strings.Cut(location, "://"); ok {
		scheme, location = written, rest
	}
	host, _, _ := strings.Cut(location, "/")
	return scheme == g.URL.Scheme && strings.EqualFold(withPort(host, scheme), withPort(g.URL.Host, scheme))
}

// isNamed is like is, whatever the scheme.
func (g Gateway) isNamed(location string) bool {
	if _, rest, ok := strings.Cut(location, "://"); ok {
		location = rest
	}
	return g.is(location)
}

func withPort(host, scheme string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return host
	}
	if scheme == "http" {
		return host + ":80"
	}
	return host + ":443"
}

// Grade says what a finding means for a refusal.
type Grade string

const (
	FallsBack  Grade = "falls back"   // what the gateway refuses comes from elsewhere
	GoesAround Grade = "goes around"  // the gateway is not asked where it was meant to be
	Unreadable Grade = "cannot tell"  // what the runtime does could not be found out
	Notable    Grade = "worth a look" // a refusal holds, and this is still good to know
)

// Finding is one place where a refusal may not be the end.
type Finding struct {
	Grade Grade  `json:"grade"`
	File  string `json:"file"`           // as it was read
	Line  int    `json:"line,omitempty"` // 1 is the first; 0: the file as a whole, or that it is not there
	What  string `json:"what"`
	Why   string `json:"why"`
	Fix   string `json:"fix"`
}

// Node is a node's disk.
type Node struct {
	Root string // where the node's / is: / itself, or where its disk is mounted
	Home string // the home directory of who runs podman; empty leaves it aside
}

// maxFile bounds each file that is read, in bytes.
const maxFile = 1 << 20

// path is a file of the node. A path that is below the root already stays as it is.
func (n Node) path(absolute string) string {
	root := filepath.Clean(n.Root)
	if root == "/" || absolute == root || strings.HasPrefix(absolute, root+"/") {
		return absolute
	}
	return filepath.Join(root, absolute)
}

// read reads a whole file of the node. The error of one that is not there is an [os.ErrNotExist].
func (n Node) read(absolute string) (content []byte, path string, err error) {
	path = n.path(absolute)
	file, err := os.Open(path)
	if err != nil {
		return nil, path, err
	}
	defer file.Close()
	content, err = io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("more than %d bytes", maxFile)
	}
	return content, path, err
}

// absent reports that a file or a folder of its path is not there.
func absent(err error) bool { return errors.Is(err, os.ErrNotExist) }

func unreadable(path string, err error) Finding {
	return Finding{
		Grade: Unreadable, File: path, What: "cannot be read: " + shorten(err.Error()),
		Why: "what it says decides where refused images come from", Fix: "run the doctor as a user who may read it",
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
