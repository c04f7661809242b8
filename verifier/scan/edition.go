package scan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sealgate/sealgate/policy/strictjson"
)

// versionInfo is what a program says of itself.
type versionInfo struct {
	scanner  string
	database time.Time
	edition  string
}

// versionFor is how long a version is believed.
const versionFor = 15 * time.Second

// undatedFor is how long a scanner without a version command is believed to be the same.
const undatedFor = 10 * time.Minute

// Edition implements [Scanner].
func (c *Command) Edition(ctx context.Context) (string, error) {
	version, err := c.ask(ctx)
	return version.edition, err
}

// ask asks the program for its version, from time to time.
func (c *Command) ask(ctx context.Context) (versionInfo, error) {
	if len(c.CommandOptions.Version) == 0 {
		return versionInfo{edition: time.Now().Truncate(undatedFor).UTC().Format(time.RFC3339)}, nil
	}
	c.asking.Lock()
	defer c.asking.Unlock()
	if time.Since(c.asked) < versionFor {
		return c.version, nil
	}
	folder, done, err := c.Workplace.Folder()
	if err != nil {
		return versionInfo{}, err
	}
	defer done()
	var raw []byte
	err = c.run(ctx, folder, c.asks, c.CommandOptions.Version, maxVersion, func(stdout io.Reader) error {
		raw, err = io.ReadAll(stdout)
		return err
	})
	if err != nil {
		return versionInfo{}, err
	}
	if c.version, err = readVersion(raw); err != nil {
		return versionInfo{}, err
	}
	c.asked = time.Now()
	return c.version, nil
}

// readVersion reads `trivy version -f json` and `grype db status -o json`.
func readVersion(raw []byte) (versionInfo, error) {
	var said struct {
		Version  string `json:"Version"` // Trivy's
		Built    string `json:"built"`   // Grype's
		Valid    *bool  `json:"valid"`
		Database struct {
			Updated string `json:"UpdatedAt"`
		} `json:"VulnerabilityDB"`
	}
	if err := strictjson.Decode(raw, &said); err != nil {
		return versionInfo{}, fmt.Errorf("what it says of its version cannot be read: %w", err)
	}
	if said.Valid != nil && !*said.Valid {
		return versionInfo{}, errors.New("it says that its database is not valid")
	}
	sum := sha256.Sum256(raw)
	v := versionInfo{scanner: said.Version, edition: hex.EncodeToString(sum[:12])}
	for _, text := range []string{said.Built, said.Database.Updated} {
		if text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return versionInfo{}, fmt.Errorf("its database is of %.60q, which is no time", text)
		}
		v.database = older(v.database, at.UTC())
	}
	return v, nil
}

// older is the earlier of two times of which one may be unknown.
func older(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
