package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/gateway/upstream/keychain"
	"golang.org/x/oauth2"
	googleauth "golang.org/x/oauth2/google"
)

// Credentials are one word, or a username with a file that holds the password.
type Credentials struct {
	word string

	// Username to log in with.
	Username string `mapstructure:"username"`

	// PasswordFile holds the password. Others must not be able to read it.
	PasswordFile string `mapstructure:"password_file"`
}

const (
	noCredentials = "none"
	dockerConfig  = "docker-config"
	amazon        = "ecr"
	google        = "gar"
	azure         = "acr"
	callersOwn    = "caller"
)

// credentialWords are the kinds of credentials that need no more than a word.
var credentialWords = []string{noCredentials, dockerConfig, amazon, google, azure, callersOwn}

func (c *Credentials) takeWord(word string) error {
	if !slices.Contains(credentialWords, word) {
		return fmt.Errorf("is neither %s nor {username: ..., password_file: ...}", strings.Join(credentialWords, " nor ")) // may be a secret
	}
	c.word = word
	return nil
}

// forwarded refuses to forward what clients show where it is for us.
func (v *validator) forwarded(c *Config) {
	for i, r := range c.Registries {
		if r.Credentials.word == callersOwn && c.Clients.knowSomebody() {
			v.add(fmt.Sprintf("registries[%d].credentials", i), "caller forwards the credentials that clients show, and with clients they are for the gateway itself; leave one of the two out")
		}
	}
}

// cloud wants a cloud's credentials to go to that cloud's registries, by their whole host.
func (v *validator) cloud(at string, r Registry) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return // which was said
	}
	host := u.Host
	switch kind := r.Credentials.word; {
	case kind == amazon && keychain.ECRRegion(host) == "":
		v.add(at+".credentials", "ecr is for registries like https://123456789012.dkr.ecr.eu-central-1.amazonaws.com")
	case kind == google && !keychain.IsGoogle(host):
		v.add(at+".credentials", "gar is for registries like https://europe-docker.pkg.dev")
	case kind == azure && !keychain.IsAzure(host):
		v.add(at+".credentials", "acr is for registries like https://acmeprod.azurecr.io")
	}
	switch {
	case r.CredentialHelper == "":
	case r.Credentials.word != dockerConfig:
		v.add(at+".credential_helper", "is for credentials: docker-config alone")
	case !filepath.IsAbs(r.CredentialHelper) || !strings.HasPrefix(filepath.Base(r.CredentialHelper), "docker-credential-"):
		v.add(at+".credential_helper", "is not an absolute path like /usr/bin/docker-credential-pass")
	}
}

// keychain makes the credentials that a registry is configured with. What a cloud says that we are is looked up when it is
// first needed.
func (b *builder) keychain(c *Config, config Registry, origin *url.URL, password string) (authn.Keychain, error) {
	host := upstream.KeychainName(origin)
	switch {
	case config.Credentials.word == dockerConfig:
		file, err := dockerConfigFile(b.getenv)
		if err != nil {
			return nil, err
		}
		return keychain.Docker(host, file, config.CredentialHelper, c.helperEnvironment(os.Environ()))
	case config.Credentials.word == amazon:
		return keychain.ECR(host, aws.NewCredentialsCache(awsIdentity(keychain.ECRRegion(host))), nil)
	case config.Credentials.word == google:
		return keychain.Google(host, googleIdentity)
	case config.Credentials.word == azure:
		return keychain.Azure(host, azureIdentity{}, nil)
	case config.Credentials.Username != "":
		return upstream.StaticCredentials(config.Credentials.Username, password), nil
	}
	return nil, nil
}

// dockerConfigFile is where docker, or podman where docker has none, keeps what a login left.
func dockerConfigFile(getenv func(string) string) (string, error) {
	directory := getenv("DOCKER_CONFIG")
	if directory == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", errors.New("docker-config: there is no home directory; set DOCKER_CONFIG")
		}
		directory = filepath.Join(home, ".docker")
	}
	own := filepath.Join(directory, "config.json")
	for _, file := range []string{own, getenv("REGISTRY_AUTH_FILE"), filepath.Join(getenv("XDG_RUNTIME_DIR"), "containers/auth.json")} {
		if _, err := os.Stat(file); err == nil && filepath.IsAbs(file) {
			return file, nil
		}
	}
	return own, nil
}

// helperEnvironment leaves out our own variables, and those that hold the password of a signing key.
func (c *Config) helperEnvironment(environment []string) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.HasPrefix(name, "SEALGATE_") || slices.ContainsFunc(c.Signers, func(s Signer) bool { return s.Key.PasswordEnv == name })
	})
}

// awsIdentity is what this machine is at Amazon: by its environment, its files, its role.
func awsIdentity(region string) aws.CredentialsProviderFunc {
	return func(ctx context.Context) (aws.Credentials, error) {
		config, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(region))
		if err != nil {
			return aws.Credentials{}, err
		}
		return config.Credentials.Retrieve(ctx)
	}
}

// googleIdentity is what this machine is at Google: Application Default Credentials.
func googleIdentity(ctx context.Context) (*oauth2.Token, error) {
	found, err := googleauth.FindDefaultCredentials(ctx, "https://www.googleapis.com/auth/cloud-platform")
	if err != nil {
		return nil, err
	}
	return found.TokenSource.Token()
}

// azureIdentity is what this machine is at Azure: by its environment, as a workload, by a managed identity. The SDK's own
// chain would go on to programs that it finds on the path.
type azureIdentity struct{}

// GetToken implements [azcore.TokenCredential].
func (azureIdentity) GetToken(ctx context.Context, wanted policy.TokenRequestOptions) (azcore.AccessToken, error) {
	var chain []azcore.TokenCredential
	if c, err := azidentity.NewEnvironmentCredential(nil); err == nil {
		chain = append(chain, c)
	}
	if c, err := azidentity.NewWorkloadIdentityCredential(nil); err == nil {
		chain = append(chain, c)
	}
	if c, err := azidentity.NewManagedIdentityCredential(nil); err == nil {
		chain = append(chain, c)
	}
	all, err := azidentity.NewChainedTokenCredential(chain, nil)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return all.GetToken(ctx, wanted)
}
