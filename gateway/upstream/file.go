package upstream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy/manifest"
)

// File opens a blob of the embedded registry as the file that it is, so that the kernel can send it. It reads the layout
// of distribution's filesystem driver (registry/storage/paths.go there): a repository has a blob when its link to it
// exists. nil without an error means that there is no such file here, be it that the registry is elsewhere: ask [Registry.Do],
// whose answer counts. The caller closes the file.
func (r *Registry) File(repo string, d digest.Digest) (*os.File, error) {
	if r.directory == "" {
		return nil, nil
	}
	if err := errors.Join(checkRepository(repo), manifest.CheckDigest(d)); err != nil {
		return nil, err // it becomes a path
	}
	algorithm, hex := d.Algorithm().String(), d.Encoded()
	root := filepath.Join(r.directory, "docker", "registry", "v2")
	link, err := os.ReadFile(filepath.Join(root, "repositories", filepath.FromSlash(repo), "_layers", algorithm, hex, "link"))
	if errors.Is(err, os.ErrNotExist) || err == nil && string(link) != d.String() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: read the link to blob %s: %w", r.name, d, err)
	}
	file, err := os.Open(filepath.Join(root, "blobs", algorithm, hex[:2], hex, "data"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: open blob %s: %w", r.name, d, err)
	}
	return file, nil
}
