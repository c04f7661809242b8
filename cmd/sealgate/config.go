package main

import (
	"time"

	"github.com/sealgate/sealgate/policy"
)

// Config is the configuration file, in the order in which a person reads it. The tags are the keys; what is left out has
// the default that is named here. A relative path is relative to the file that holds it. config.example.yaml says the same
// in YAML, and schema.json, for editors, is generated from these comments: run `go generate` after a change.
//
// The file holds no secret, only the names of files and environment variables that do.
//
//go:generate go test -run TestSchemaIsGeneratedFromTheConfigStruct -update .
type Config struct {
	// Listen is the listener for clients: docker, containerd, podman and their kind.
	Listen Listen `mapstructure:"listen"`

	// Admin is a listener of its own for health and metrics.
	Admin Admin `mapstructure:"admin"`

	// Storage is where the gateway keeps what it knows.
	Storage Storage `mapstructure:"storage"`

	// Clients says who may ask. Without it nobody is asked who he is.
	Clients Clients `mapstructure:"clients"`

	// Registries stand behind the gateway. The longest matching prefix wins. Default: one that is embedded, named local,
	// with an empty prefix.
	Registries []Registry `mapstructure:"registries"`

	// TrustRoots are the Sigstore deployments that authorities may name as their trusted_root, beside public-good and files.
	// Default: public-good, as it is built in.
	TrustRoots []TrustRoot `mapstructure:"trust_roots"`

	// Authorities can vouch for an image. Default: gateway, who signs with the signer of that name.
	Authorities []Authority `mapstructure:"authorities"`

	// Signers are the keys that we sign with. Default: gateway, with the key gateway.key in the storage directory.
	Signers []Signer `mapstructure:"signers"`

	// Scanners look for vulnerabilities in what is pushed. Default none.
	Scanners []Scanner `mapstructure:"scanners"`

	// Verification bounds how long and how much of what was proven about images is remembered.
	Verification Verification `mapstructure:"verification"`

	// Delete says whether clients may delete.
	Delete Delete `mapstructure:"delete"`

	// Policies say what is admitted. The first that matches a repository decides; what no policy names is denied. A file
	// has at least one. Without a file there is one for all repositories: it seals what is pushed unless it runs as root,
	// and lets nothing be pulled that the gateway did not sign.
	Policies []policy.Document `mapstructure:"policies"`
}

// Storage is where the gateway keeps what it knows.
type Storage struct {
	// Directory holds the embedded registry, the decisions and the generated key. Default sealgate-data.
	// SEALGATE_STORAGE_DIRECTORY overrides it.
	Directory string `mapstructure:"directory"`
}

// Verification bounds what is remembered of what was proven.
type Verification struct {
	// CacheTTL is how long a proven signature is believed before it is looked up again, between 1s and 1h: so long may a
	// signature that was removed still count. Default 1m.
	CacheTTL time.Duration `mapstructure:"cache_ttl"`

	// OutageTTL is how long what is attached to an image is believed while the registry behind the gateway cannot be asked
	// what is attached now, up to 168h: so long a removed signature may count, and a newer scan be missed, in an outage. 0s
	// decides nothing in an outage. Default 1h.
	OutageTTL time.Duration `mapstructure:"outage_ttl"`

	// CacheEntries is how many images are remembered. Default 100000.
	CacheEntries int `mapstructure:"cache_entries"`
}

// Delete says whether clients may delete.
type Delete struct {
	// Allowed lets clients delete manifests, tags and blobs where they may push. What protects an image stays
	// undeletable. Default false.
	Allowed bool `mapstructure:"allowed"`
}

// defaults is the configuration without a file.
func defaults() Config {
	return Config{
		Listen:       Listen{Address: "127.0.0.1:5000"},
		Admin:        Admin{Address: "127.0.0.1:5001"},
		Storage:      Storage{Directory: "sealgate-data"},
		Clients:      Clients{Anonymous: true},
		Registries:   []Registry{{Name: "local", Embedded: true, Credentials: Credentials{word: noCredentials}}},
		TrustRoots:   []TrustRoot{{Name: publicGood}},
		Authorities:  []Authority{{Name: "gateway", Signer: "gateway"}},
		Signers:      []Signer{{Name: "gateway", Formats: Formats{"auto"}}},
		Verification: Verification{CacheTTL: time.Minute, OutageTTL: time.Hour, CacheEntries: 100_000},
		Policies: []policy.Document{{
			Name:         "default",
			Repositories: []string{"**"},
			Mode:         "enforce",
			Pull:         &policy.PullDocument{SignedBy: &policy.SignedBy{Any: []string{"gateway"}}},
			Push: &policy.PushDocument{
				Image: policy.ImageDocument{NonRoot: "deny"},
				Seal:  &policy.SealDocument{Signer: "gateway"},
			},
		}},
	}
}
