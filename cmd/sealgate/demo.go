package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/signer"
	"github.com/spf13/cobra"
)

func newDemo() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole story on this machine: push, check, seal, pull, and what is refused",
		Long: `Show the whole story on this machine, with a real gateway, an embedded registry, a key of its own and images that are
built on the spot. Every request and its answer is shown as a client sees it. Afterwards the gateway keeps running, for you
to try it with docker; --once ends instead. Everything is in a temporary directory that is removed at the end.

` + exitCodeHelp,
		Example: `  sealgate demo
  sealgate demo --once`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			return runDemo(cmd.Context(), cmd.OutOrStdout(), freeAddress(), program, once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the tour")
	return cmd
}

// demoConfig is a configuration as anybody would write it. The tour shows it.
const demoConfig = `listen: {address: %q}
admin: {address: "127.0.0.1:0"}
storage: {directory: data}

policies:                                  # the first that matches a repository decides
  - name: production
    repositories: ["prod/**"]
    pull: {digest_only: true, signed_by: {any: [gateway]}}
    push: {image: {nonroot: deny}, seal: {signer: gateway}}
  - name: everything-else
    repositories: ["**"]
    pull: {signed_by: {any: [gateway]}}
    push: {image: {nonroot: deny}, seal: {signer: gateway}}
`

// runDemo tells the story at an address, with images that have a program in them: this very one, so that they are real.
func runDemo(ctx context.Context, out io.Writer, address, program string, once bool) (err error) {
	directory, err := os.MkdirTemp("", "sealgate-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(directory)) }()

	d := &demo{ctx: ctx, narrator: newNarrator(out), directory: directory, program: program}
	s, err := d.start(address)
	if err != nil {
		return err
	}
	if err := d.tour(); err != nil {
		return errors.Join(err, s.stop())
	}
	if once {
		d.say("", "That was the tour. Without --once the gateway would go on for you to try it with docker.")
		return s.stop()
	}
	d.farewell()
	return s.wait(ctx, nil)
}

// demo is the tour and what it needs.
type demo struct {
	*narrator
	ctx        context.Context // of the one command that runs it
	directory  string
	program    string // a file, for the images
	host       string
	client     *http.Client
	registries *upstream.Registries // for going around the gateway
}

// start runs the gateway, as serve would.
func (d *demo) start(address string) (*service, error) {
	file := filepath.Join(d.directory, "sealgate.yaml")
	config := fmt.Sprintf(demoConfig, address)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	reload := func() (*Loaded, error) { return load(file, Overrides{}, nil) }
	loaded, err := reload()
	if err != nil {
		return nil, err
	}

	d.chapter("A gateway starts, with a registry inside and a signing key of its own")
	s, err := startService(loaded, reload, signer.LoadKeyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	d.host = strings.TrimPrefix(s.URL, "http://")
	d.client = &http.Client{Transport: d.showing(http.DefaultTransport)}
	if d.registries, err = upstream.NewRegistries(s.reloader.builder.registries[0].registry); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	d.say("listening at "+s.URL, "This is all that it was told:")
	d.quote(config)
	return s, nil
}

// freeAddress is the usual one, or one that is free.
func freeAddress() string {
	const usual = "127.0.0.1:5000"
	l, err := net.Listen("tcp", usual)
	if err != nil {
		return "127.0.0.1:0"
	}
	l.Close()
	return usual
}

func (d *demo) tour() error {
	d.chapter("An image is pushed: checked, signed, and only then named by its tag")
	layer, err := demoLayer(d.program)
	if err != nil {
		return err
	}
	good, err := demoImage(layer, "65532")
	if err != nil {
		return err
	}
	sealed, err := d.push("demo/hello:v1", good)
	if err != nil {
		return err
	}
	d.say("", "What the gateway attached, for any verifier anywhere:")
	if err := d.get("/v2/demo/hello/referrers/"+sealed.String(), http.StatusOK); err != nil {
		return err
	}
	if err := d.get("/v2/demo/hello/manifests/"+signatureTag(sealed), http.StatusOK); err != nil {
		return err
	}

	d.chapter("It is pulled: found signed, by digest, before a byte is sent")
	if err := d.get("/v2/demo/hello/manifests/v1", http.StatusOK); err != nil {
		return err
	}

	d.chapter("An image that runs as root is pushed: refused, and nothing is stored")
	root, err := demoImage(layer, "root")
	if err != nil {
		return err
	}
	if _, err := d.push("demo/hello:v2", root); err == nil {
		return errors.New("an image that runs as root was taken")
	} else if !d.refused(err) {
		return err
	}

	d.chapter("Somebody puts an image into the registry, around the gateway")
	if _, err := d.around("demo/hello", "v3", "0123456789"); err != nil {
		return err
	}
	if err := d.get("/v2/demo/hello/manifests/v3", http.StatusForbidden); err != nil {
		return err
	}

	d.chapter("Another one is signed, with a key that nobody vouches for")
	strange, err := d.around("demo/hello", "v4", "9876543210")
	if err != nil {
		return err
	}
	if err := d.signAsStranger("demo/hello", strange); err != nil {
		return err
	}
	if err := d.get("/v2/demo/hello/manifests/v4", http.StatusForbidden); err != nil {
		return err
	}

	d.chapter("Somebody tries to replace the signature of the good image")
	if err := d.overwrite("demo/hello", signatureTag(sealed)); err != nil {
		return err
	}

	d.chapter("In production a tag is not enough: it could move")
	pinned, err := d.push("prod/hello:v1", good)
	if err != nil {
		return err
	}
	if err := d.get("/v2/prod/hello/manifests/v1", http.StatusForbidden); err != nil {
		return err
	}
	return d.get("/v2/prod/hello/manifests/"+pinned.String(), http.StatusOK)
}

func signatureTag(d digest.Digest) string {
	return "sha256-" + d.Encoded() + ".sig"
}

// push pushes as crane would.
func (d *demo) push(to string, image v1.Image) (digest.Digest, error) {
	reference, err := name.ParseReference(d.host+"/"+to, name.Insecure)
	if err != nil {
		return "", err
	}
	if err := remote.Write(reference, image, remote.WithContext(d.ctx), remote.WithTransport(d.client.Transport)); err != nil {
		return "", fmt.Errorf("push %s: %w", to, err)
	}
	hash, err := image.Digest()
	return digest.Digest(hash.String()), err
}

// get asks as any client would, and holds the answer to what the story says.
func (d *demo) get(path string, want int) error {
	request, err := http.NewRequestWithContext(d.ctx, http.MethodGet, "http://"+d.host+path, nil)
	if err != nil {
		return err
	}
	return d.send(request, want)
}

func (d *demo) send(request *http.Request, want int) error {
	response, err := d.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		return fmt.Errorf("%s %s: got %s, want %d", request.Method, request.URL.Path, response.Status, want)
	}
	return nil
}

// around stores an image in the registry itself.
func (d *demo) around(repo, tag, content string) (digest.Digest, error) {
	blob := []byte(content)
	described := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	config := []byte(`{"architecture":"amd64","os":"linux","config":{"User":"65532"},"rootfs":{"type":"layers","diff_ids":["` + described.Digest.String() + `"]}}`)
	configured := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	raw, err := manifestOf(configured, described)
	if err != nil {
		return "", err
	}
	d.say("written to the registry's storage: "+repo+":"+tag, "")
	return digest.FromBytes(raw), errors.Join(
		d.registries.PutBlob(d.ctx, repo, described, blob),
		d.registries.PutBlob(d.ctx, repo, configured, config),
		d.registries.PutManifest(d.ctx, repo, tag, ocispec.MediaTypeImageManifest, raw),
	)
}

func (d *demo) signAsStranger(repo string, image digest.Digest) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := signer.NewKey(private)
	if err != nil {
		return err
	}
	_, err = signer.NewSealer(key, d.registries, nil).Seal(d.ctx, policy.Subject{Repo: repo, Digest: image}, repo, nil)
	if err == nil {
		d.say("signed in the registry with a key that no policy names", "")
	}
	return err
}

// overwrite pushes something else under the tag of a signature.
func (d *demo) overwrite(repo, tag string) error {
	empty := ocispec.DescriptorEmptyJSON
	if err := d.registries.PutBlob(d.ctx, repo, empty, empty.Data); err != nil {
		return err
	}
	raw, err := manifestOf(empty, empty)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(d.ctx, http.MethodPut, "http://"+d.host+"/v2/"+repo+"/manifests/"+tag, strings.NewReader(string(raw)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", ocispec.MediaTypeImageManifest)
	return d.send(request, http.StatusForbidden)
}

func (d *demo) farewell() {
	d.chapter("Your turn: the gateway keeps running until Ctrl-C")
	d.quote(fmt.Sprintf(`docker run --rm %[1]s/demo/hello:v1          # sealed: pulls and runs
docker pull %[1]s/demo/hello:v3                # refused, with the reason
docker tag alpine %[1]s/demo/mine:v1 && docker push %[1]s/demo/mine:v1   # runs as root: refused
tail %[2]s/data/ledger/decisions.jsonl
`, d.host, d.directory))
	d.say("The policy is "+filepath.Join(d.directory, "sealgate.yaml")+": change it, and the change is in force as soon as it is saved.", "")
}
