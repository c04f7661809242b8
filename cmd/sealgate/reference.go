package main

import (
	"net"
	"regexp"
	"strings"

	distribution "github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy/manifest"
)

// reference is an image as people type it at the gateway: [host/]repo[:tag][@digest].
type reference struct {
	typed  string
	host   string // empty when none was typed
	repo   string // as the gateway knows it
	tag    string
	digest digest.Digest // decides, when both are there
}

// parseReference reads a reference. What comes before the first slash is a host when it looks like one, unless a registry
// behind the gateway has it in its prefix: docker.io/library/nginx is a repository of the gateway where docker.io/ is a
// prefix.
func parseReference(typed string, prefixes []string) (reference, error) {
	ref := reference{typed: typed}
	rest, d, pinned := strings.Cut(typed, "@")
	if pinned {
		ref.digest = digest.Digest(d)
		if err := manifest.CheckDigest(ref.digest); err != nil {
			return ref, usage("%.100q is not a digest like sha256: and 64 hexadecimal digits", d)
		}
	}
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		rest, ref.tag = rest[:i], rest[i+1:]
		if !wholeTag.MatchString(ref.tag) {
			return ref, usage("%.200q has no valid tag: 1 to 128 letters, digits, . _ and -", typed)
		}
	}
	if first, after, ok := strings.Cut(rest, "/"); ok && looksLikeHost(first) && !hasAnyPrefix(rest, prefixes) {
		ref.host, rest = first, after
	}
	if _, err := distribution.WithName(rest); err != nil || rest != strings.ToLower(rest) { // which takes a host's capitals
		return ref, usage("%.300q names no repository; write [host/]repo[:tag][@digest], in lower case", typed)
	}
	ref.repo = rest
	if ref.tag == "" && !pinned {
		ref.tag = "latest"
	}
	return ref, nil
}

var wholeTag = regexp.MustCompile(`^` + distribution.TagRegexp.String() + `$`)

func looksLikeHost(s string) bool {
	return s == "localhost" || strings.ContainsAny(s, ".:") || net.ParseIP(s) != nil
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if prefix != "" && strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

func prefixesOf(registries *upstream.Registries) []string {
	var prefixes []string
	for _, r := range registries.All() {
		prefixes = append(prefixes, r.Prefix())
	}
	return prefixes
}

// asked is what the gateway is asked for.
func (r reference) asked() string {
	if r.digest != "" {
		return r.digest.String()
	}
	return r.tag
}

// pinned is the image by its digest, in the words that were typed.
func (r reference) pinned(d digest.Digest) string {
	name := r.repo
	if r.host != "" {
		name = r.host + "/" + name
	}
	if r.tag != "" {
		name += ":" + r.tag
	}
	return name + "@" + d.String()
}
