package keychain

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-containerregistry/pkg/authn"
)

// ecrHost is a private registry of Amazon's: its account and its region.
var ecrHost = regexp.MustCompile(`^([0-9]{12})\.dkr\.ecr(-fips)?\.([a-z]{2}(?:-[a-z]+)+-[0-9])\.amazonaws\.com(\.cn)?$`)

// ECRRegion is the region of a registry of Amazon's, empty for a host that is none.
func ECRRegion(host string) string {
	found := ecrHost.FindStringSubmatch(host)
	if found == nil {
		return ""
	}
	return found[3]
}

// ECR gets passwords for a registry of Amazon's, by its API's GetAuthorizationToken. That is one signed request, and so it
// is made here with the SDK's signer: the SDK's client for ECR is generated code for a hundred other operations, and
// Amazon's own helper keeps passwords in a file. way is nil for the default.
func ECR(host string, credentials aws.CredentialsProvider, way *http.Client) (*Keychain, error) {
	found := ecrHost.FindStringSubmatch(host)
	if found == nil {
		return nil, fmt.Errorf("%s is no registry of Amazon ECR, like 123456789012.dkr.ecr.eu-central-1.amazonaws.com", host)
	}
	account, fips, region, china := found[1], found[2], found[3], found[4]
	endpoint := "https://api.ecr." + region + ".amazonaws.com" + china + "/"
	if fips != "" {
		endpoint = "https://ecr-fips." + region + ".amazonaws.com/"
	}
	c := client(way)
	return &Keychain{host: host, get: func(ctx context.Context) (*authn.AuthConfig, time.Time, error) {
		req, err := ecrRequest(ctx, endpoint, account, region, credentials)
		if err != nil {
			return nil, time.Time{}, err
		}
		var answer struct {
			AuthorizationData []struct {
				AuthorizationToken string  `json:"authorizationToken"`
				ExpiresAt          float64 `json:"expiresAt"` // seconds since 1970
				ProxyEndpoint      string  `json:"proxyEndpoint"`
			} `json:"authorizationData"`
		}
		if err := ask(c, req, &answer); err != nil {
			return nil, time.Time{}, err
		}
		for _, a := range answer.AuthorizationData {
			// It names the registry that it is for, without the fips.
			if a.ProxyEndpoint != "https://"+strings.Replace(host, ".ecr-fips.", ".ecr.", 1) && a.ProxyEndpoint != "https://"+host {
				continue
			}
			plain, err := base64.StdEncoding.DecodeString(a.AuthorizationToken)
			username, password, ok := strings.Cut(string(plain), ":")
			if err != nil || !ok || password == "" {
				continue
			}
			return &authn.AuthConfig{Username: username, Password: password}, time.Unix(int64(a.ExpiresAt), 0), nil
		}
		return nil, time.Time{}, fmt.Errorf("ask ECR in %s: %w", region, errNoCredential)
	}}, nil
}

func ecrRequest(ctx context.Context, endpoint, account, region string, credentials aws.CredentialsProvider) (*http.Request, error) {
	signing, err := credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("find AWS credentials: %w", err)
	}
	body, err := json.Marshal(map[string][]string{"registryIds": {account}})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, signing, req, hex.EncodeToString(sum[:]), "ecr", region, time.Now()); err != nil {
		return nil, fmt.Errorf("sign the request to ECR: %w", err)
	}
	return req, nil
}
