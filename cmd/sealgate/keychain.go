package main

import (
	"context"
	"errors"
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
