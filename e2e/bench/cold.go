package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/e2e/rig"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/signer"
	"golang.org/x/sync/errgroup"
)

// formats are how a signature may be attached: cosign v2's tag, cosign v3's referrer, and both, which is how we seal what
// carries nothing.
var formats = []struct {
	name string
	list []signer.Format
}{
	{".sig tag", []signer.Format{"tag"}},
	{"bundle", []signer.Format{"bundle"}},
	{"both", []signer.Format{"tag", "bundle"}},
}

// signed is a registry with images that are signed by one key, in each format, and one that nobody signed.
type signed struct {
	registry  *rig.Program
	key       *signer.Key
	publicKey string // file
	images    map[string]digest.Digest
}

const unsigned = "unsigned"

func (b *bench) startSigned(ctx context.Context) (s *signed, err error) {
	folder, err := b.folder()
	if err != nil {
		return nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	s = &signed{images: map[string]digest.Digest{}, publicKey: filepath.Join(folder, "key.pub")}
	if s.key, err = signer.NewKey(private); err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.publicKey, s.key.PublicPEM(), 0o600); err != nil {
		return nil, err
	}
	if s.registry, err = rig.Registry(ctx, folder); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.registry.Stop()
		}
	}()
	registries, err := registriesAt(s.registry.URL())
	if err != nil {
		return nil, err
	}
	for _, f := range formats {
		d, err := push(ctx, s.registry)
		if err != nil {
			return nil, err
		}
		s.images[f.name] = digest.Digest(d)
		subject := policy.Subject{Repo: repository, Digest: s.images[f.name]}
		if _, err := signer.NewSealer(s.key, registries, f.list).Seal(ctx, subject, repository, nil); err != nil {
			return nil, err
		}
	}
	d, err := push(ctx, s.registry)
	s.images[unsigned] = digest.Digest(d)
	return s, err
}

func registriesAt(at string) (*upstream.Registries, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	registry, err := upstream.New(upstream.Options{Name: "bench", URL: u})
	if err != nil {
		return nil, err
	}
	return upstream.NewRegistries(registry)
}

// startGateway starts us in front of a registry, with the key as the one authority. It has pulled before, so it knows its
// way: cold are the images.
func (s *signed) startGateway(ctx context.Context, b *bench, at string) (*rig.Gateway, error) {
	const config = `
registries: [{name: far, url: %q}]
authorities: [{name: release, key: {file: %q}}]
policies: [{name: released, repositories: ["**"], pull: {signed_by: {any: [release]}}}]
`
	folder, err := b.folder()
	if err != nil {
		return nil, err
	}
	us, err := rig.StartGateway(ctx, b.sealgate, folder, fmt.Sprintf(config, at, s.publicKey))
	if err != nil {
		return nil, err
	}
	another, err := s.resign(ctx)
	if err == nil {
		_, err = load(ctx, us.Address, "/v2/"+repository+"/manifests/"+another.String(), 1, 1)
	}
	if err != nil {
		us.Stop()
		return nil, err
	}
	return us, nil
}

// resign pushes and signs one more image.
func (s *signed) resign(ctx context.Context) (digest.Digest, error) {
	registries, err := registriesAt(s.registry.URL())
	if err != nil {
		return "", err
	}
	d, err := push(ctx, s.registry)
	if err != nil {
		return "", err
	}
	subject := policy.Subject{Repo: repository, Digest: digest.Digest(d)}
	_, err = signer.NewSealer(s.key, registries, []signer.Format{"tag"}).Seal(ctx, subject, repository, nil)
	return subject.Digest, err
}

// coldStorm measures G9: a thousand clients that ask for one cold image at once.
func coldStorm(ctx context.Context, b *bench) ([]finding, error) {
	const clients = 1000
	s, err := b.startSigned(ctx)
	if err != nil {
		return nil, err
	}
	defer s.registry.Stop()
	w, err := newWitness(ctx, s.registry.URL(), 20*time.Millisecond)
	if err != nil {
		return nil, err
	}
	defer w.stop()
	us, err := s.startGateway(ctx, b, "http://"+w.address)
	if err != nil {
		return nil, err
	}
	defer us.Stop()

	var found []finding
	for _, c := range []struct {
		image string
		want  int
	}{
		{formats[0].name, http.StatusOK}, {formats[1].name, http.StatusOK}, {formats[2].name, http.StatusOK},
		{unsigned, http.StatusForbidden},
	} {
		w.take()
		d := s.images[c.image].String()
		start := time.Now()
		if err := storm(ctx, us.Address, "/v2/"+repository+"/manifests/"+d, clients, c.want); err != nil {
			return nil, fmt.Errorf("%s: %w", c.image, err)
		}
		wall, seen := time.Since(start), w.take()
		evidence := evidenceOf(seen, d)
		repeated := mostRepeated(evidence)
		found = append(found, finding{
			"G9", fmt.Sprintf("%d clients, one cold image: %s", clients, c.image),
			fmt.Sprintf("%d evidence requests, each asked at most %d times; %d for the manifest; all answered in %d ms",
				len(evidence), repeated, len(seen)-len(evidence), wall.Milliseconds()),
			"<= 3, once", len(evidence) <= 3 && repeated <= 1,
		})
	}
	return found, nil
}

// storm lets clients connect, then ask at once.
func storm(ctx context.Context, address, path string, clients, want int) error {
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n\r\n", path, address)
	group, ctx := errgroup.WithContext(ctx)
	var ready sync.WaitGroup
	ready.Add(clients)
	begin := make(chan struct{})
	for range clients {
		group.Go(func() error {
			c, err := dial(ctx, address)
			ready.Done()
			if err != nil {
				return err
			}
			defer c.Close()
			<-begin
			_, err = c.exchange(request, want)
			return err
		})
	}
	ready.Wait()
	close(begin)
	return group.Wait()
}

// mostRepeated is how often the request was made that was made most often: once each says that one verification ran.
func mostRepeated(seen []sighting) int {
	most, times := 0, map[string]int{}
	for _, s := range seen {
		times[s.method+s.path]++
		most = max(most, times[s.method+s.path])
	}
	return most
}

// coldLatency measures G8: what verification adds to a cold pull when every request upstream takes 20 ms.
func coldLatency(ctx context.Context, b *bench) ([]finding, error) {
	const latency = 20 * time.Millisecond
	s, err := b.startSigned(ctx)
	if err != nil {
		return nil, err
	}
	defer s.registry.Stop()
	w, err := newWitness(ctx, s.registry.URL(), latency)
	if err != nil {
		return nil, err
	}
	defer w.stop()

	var found []finding
	for _, f := range formats {
		added := make([]time.Duration, b.rounds)
		for i := range added {
			us, err := s.startGateway(ctx, b, "http://"+w.address)
			if err != nil {
				return nil, err
			}
			path := "/v2/" + repository + "/manifests/" + s.images[f.name].String()
			plain, err := timed(ctx, w.address, path)
			verified, err2 := timed(ctx, us.Address, path)
			us.Stop()
			if err := errors.Join(err, err2); err != nil {
				return nil, err
			}
			added[i] = verified - plain
		}
		took := median(added)
		found = append(found, finding{
			"G8", "cold pull, added by verification at 20 ms upstream latency: " + f.name,
			fmt.Sprintf("%.0f ms", took.Seconds()*1000), "<= 47 ms", took <= 47*time.Millisecond,
		})
	}
	return found, nil
}

func timed(ctx context.Context, address, path string) (time.Duration, error) {
	start := time.Now()
	_, err := load(ctx, address, path, 1, 1)
	return time.Since(start), err
}

// reference names an image of the registry for go-containerregistry and cosign.
func (s *signed) reference(at, image string) (name.Digest, error) {
	return name.NewDigest(at+"/"+repository+"@"+s.images[image].String(), name.Insecure)
}
