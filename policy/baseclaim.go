package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// BaseClaim is what an image says that it stands on. Anybody can write it: it approves of nothing, and can only be found to be
// a lie.
type BaseClaim struct {
	Name   string
	Digest string
}

// Where the claim stands: in the annotations of a manifest, and in the labels of a configuration.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md#pre-defined-annotation-keys
const (
	baseNameKey   = "org.opencontainers.image.base.name"
	baseDigestKey = "org.opencontainers.image.base.digest"
)

// BaseClaimOf reads the claim among annotations or labels.
func BaseClaimOf(values map[string]string) BaseClaim {
	return BaseClaim{Name: values[baseNameKey], Digest: values[baseDigestKey]}
}

func (r *Rule) whyBaseClaim(image Image, _ time.Time) string {
	list := make([]Base, len(r.bases))
	for i := range r.bases {
		list[i] = r.bases[i].Base
	}
	return FalseClaim(image, list)
}

// FalseClaim says why what an image claims to stand on cannot be, by a list of base images and the image's own layers. It is
// empty where the claim is true, and where the list does not know: a base image that has been approved once is known, however
// old.
func FalseClaim(image Image, list []Base) string {
	if image.Config == nil || image.Content == nil {
		return ""
	}
	for _, claim := range []BaseClaim{image.BaseClaim, BaseClaimOf(image.Config.Labels)} {
		if why := claim.falsified(image.Content.DiffIDs, list); why != "" {
			return why
		}
	}
	return ""
}

// falsified holds a claim against layers. A digest says exactly what is meant. A name moves: what the list knows by it may not
// be what the image was built on, so a name alone is false only where the layers are those of something else that the list
// has, and on which nothing of that name stands.
func (c BaseClaim) falsified(layers []digest.Digest, list []Base) string {
	fits, claimed := false, (*Base)(nil)
	for i := range list {
		if b := &list[i]; c.names(b) {
			fits, claimed = fits || b.Under(layers), b
		}
	}
	if fits || claimed == nil {
		return ""
	}

	stands := LargestUnder(layers, list)
	switch {
	case stands == nil && c.Digest == "":
		return ""
	case stands == nil:
		return fmt.Sprintf("it claims to stand on %s, and its layers do not begin with that", described(claimed, c.Digest))
	case c.Digest == "" && slices.ContainsFunc(list, func(b Base) bool { return c.names(&b) && stands.Under(b.DiffIDs) }):
		return ""
	case c.Digest == "":
		return fmt.Sprintf("it claims to stand on %s, and stands on %s", described(claimed, ""), described(stands, ""))
	}
	return fmt.Sprintf("it claims to stand on %s, and stands on %s", described(claimed, c.Digest), described(stands, standsBy(stands)))
}

// names reports that a claim means a base image of the list: by its digest, and by its name where it has no digest.
func (c BaseClaim) names(b *Base) bool {
	if c.Digest != "" {
		return slices.Contains(b.Digests, digest.Digest(c.Digest))
	}
	return c.Name != "" && b.Image != "" && fullName(c.Name) == fullName(b.Image)
}

func standsBy(b *Base) string {
	if len(b.Digests) == 0 {
		return ""
	}
	return b.Digests[0].String()
}

// described is a base image by its name in the list, and as much of a digest as people compare.
func described(b *Base, by string) string {
	if by == "" {
		return Printable(b.Name)
	}
	return fmt.Sprintf("%s (%.19s)", Printable(b.Name), by)
}

// fullName writes out what people leave out of the name of an image: docker.io/library/debian:latest for debian.
func fullName(name string) string {
	name, _, _ = strings.Cut(name, "@")
	host, rest, ok := strings.Cut(name, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		host, rest = "docker.io", name
	}
	if host == "index.docker.io" {
		host = "docker.io"
	}
	if host == "docker.io" && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	if !strings.Contains(rest[strings.LastIndexByte(rest, '/')+1:], ":") {
		rest += ":latest"
	}
	return host + "/" + rest
}
