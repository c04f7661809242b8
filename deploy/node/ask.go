package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// ErrUnreached says that the gateway gave no answer that could be used.
var ErrUnreached = errors.New("the gateway gave no usable answer")

// Image is an image as a node names it.
type Image struct {
	typed string
	host  string // the registry in its name, docker.io when there is none
	path  string // the repository there
	exact string // :tag or @digest
}

// ParseImage reads a name as docker and containerd do: without a registry it is Docker Hub's.
func ParseImage(typed string) (Image, error) {
	named, err := reference.ParseNormalizedNamed(typed)
	if err != nil {
		return Image{}, fmt.Errorf("%.300q is no image: %w", typed, err)
	}
	image := Image{typed: typed, host: reference.Domain(named), path: reference.Path(named), exact: ":latest"}
	if tagged, ok := named.(reference.Tagged); ok {
		image.exact = ":" + tagged.Tag()
	}
	if pinned, ok := named.(reference.Digested); ok {
		image.exact = "@" + pinned.Digest().String()
	}
	return image, nil
}

// Host is the registry in the image's name.
func (i Image) Host() string { return i.host }

// String is the whole name, which means the same to every client.
func (i Image) String() string { return i.host + "/" + i.path + i.exact }

// Ask asks the gateway for an image's manifest, the way that a node's client would: with ns when the image is named after
// another registry. words are the gateway's when it refuses. An error is an [ErrUnreached], or says that the image is not
// there.
func (g Gateway) Ask(ctx context.Context, image Image, keychain authn.Keychain, way http.RoundTripper) (admitted bool, words string, err error) {
	var options []name.Option
	if g.URL.Scheme == "http" {
		options = append(options, name.Insecure)
	}
	ref, err := name.ParseReference(g.Host()+"/"+image.path+image.exact, options...)
	if err != nil {
		return false, "", fmt.Errorf("%w: %w", ErrUnreached, err)
	}
	if !g.is(image.host) {
		way = withNamespace{way, image.host}
	}
	_, err = remote.Get(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(keychain), remote.WithTransport(way))
	if err == nil {
		return true, "", nil
	}
	answer, ok := errors.AsType[*transport.Error](err)
	switch {
	case !ok:
		return false, "", fmt.Errorf("%w: %w", ErrUnreached, err)
	case answer.StatusCode == http.StatusForbidden && len(answer.Errors) > 0 && answer.Errors[0].Code == transport.DeniedErrorCode:
		return false, answer.Errors[0].Message, nil
	case answer.StatusCode == http.StatusNotFound:
		return false, "", fmt.Errorf("the gateway knows no image %s", image)
	}
	return false, "", fmt.Errorf("%w: %w", ErrUnreached, err)
}

// withNamespace adds what containerd adds when it asks the gateway in a registry's place.
type withNamespace struct {
	http.RoundTripper
	host string
}

func (w withNamespace) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/v2/") && len(r.URL.Path) > len("/v2/") {
		r = r.Clone(r.Context())
		query := r.URL.Query()
		query.Set("ns", w.host)
		r.URL.RawQuery = query.Encode()
	}
	return w.RoundTripper.RoundTrip(r)
}
