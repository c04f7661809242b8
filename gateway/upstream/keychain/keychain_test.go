package keychain

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/oauth2"
	googleauth "golang.org/x/oauth2/google"
)

const canary = "canary-secret-5a1d"

// place is a registry's name.
type place string

func (p place) String() string      { return string(p) }
func (p place) RegistryStr() string { return string(p) }

// standIn serves for any host by HTTPS, and is the way there.
func standIn(t *testing.T, handler http.HandlerFunc) *http.Client {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: trusted, ServerName: "example.com"},
	}}
}

func ask1(t *testing.T, k *Keychain, host string) (*authn.AuthConfig, error) {
	t.Helper()
	found, err := authn.Resolve(t.Context(), k, place(host))
	if err != nil {
		t.Fatal(err)
	}
	return authn.Authorization(t.Context(), found)
}

// Whoever can have the gateway configured for a host that only looks like a cloud's must not get that cloud's credentials.
func TestThreat109_ALookalikeOfACloudsRegistryGetsNothing(t *testing.T) {
	for _, host := range []string{
		"123456789012.dkr.ecr.eu-central-1.amazonaws.com.attacker.test", "123456789012.dkr.ecr.attacker.test", "x123456789012.dkr.ecr.eu-central-1.amazonaws.com",
		"123456789012.dkr.ecr.eu-central-1.amazonaws.com:443", "123456789012.dkr.ecr.eu-central-1.evil.amazonaws.com", "123456789012xdkr.ecr.eu-central-1.amazonaws.com",
		"evil.azurecr.io.attacker.test", "acmeprod.azurecr.io@attacker.test", "acmeazurecr.io", "azurecr.io", "acmeprod.azurecr.io:8443", "ACMEPROD.azurecr.io", "-acmeprod.azurecr.io", "acmeprod.evil.azurecr.io",
		"europe-docker.pkg.dev.attacker.test", "evil.attacker.test/europe-docker.pkg.dev", "europe-dockerxpkg.dev", "gcr.io.attacker.test", "evilgcr.io", "a.b.gcr.io", "docker.pkg.dev",
		"", "\n",
	} {
		if _, err := ECR(host, aws.AnonymousCredentials{}, nil); err == nil {
			t.Errorf("%q is taken for a registry of Amazon's", host)
		}
		if _, err := Azure(host, directory{}, nil); err == nil {
			t.Errorf("%q is taken for a registry of Azure's", host)
		}
		if _, err := Google(host, nil); err == nil {
			t.Errorf("%q is taken for a registry of Google's", host)
		}
	}
	for _, host := range []string{"europe-docker.pkg.dev", "us-central1-docker.pkg.dev", "gcr.io", "eu.gcr.io"} {
		if !IsGoogle(host) {
			t.Errorf("%q is not taken for a registry of Google's", host)
		}
	}
	for host, region := range map[string]string{
		"123456789012.dkr.ecr.eu-central-1.amazonaws.com": "eu-central-1", "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com": "us-gov-west-1",
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn": "cn-north-1",
	} {
		if ECRRegion(host) != region {
			t.Errorf("the region of %s is %q, want %q", host, ECRRegion(host), region)
		}
	}
}

func TestAKeychainHasNothingForAnotherRegistry(t *testing.T) {
	k, err := Google("europe-docker.pkg.dev", func(context.Context) (*oauth2.Token, error) { return &oauth2.Token{AccessToken: canary}, nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"us-docker.pkg.dev", "europe-docker.pkg.dev.attacker.test", "europe-docker.pkg.dev:8443", ""} {
		if got, err := ask1(t, k, other); err != nil || *got != (authn.AuthConfig{}) {
			t.Errorf("%q gets %+v, %v", other, got, err)
		}
	}
	if got, err := ask1(t, k, "europe-docker.pkg.dev"); err != nil || got.Username != "oauth2accesstoken" || got.Password != canary {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestECRSpeaksAmazonsProtocol checks the request's signature as Amazon does: it is made again, from the request.
func TestECRSpeaksAmazonsProtocol(t *testing.T) {
	identity := aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", SessionToken: "session"}
	const host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
	expires := time.Now().Add(12 * time.Hour).Unix()
	way := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		signedAt, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil {
			http.Error(w, "no date", http.StatusBadRequest)
			return
		}
		again, _ := http.NewRequest(r.Method, "https://"+r.Host+r.URL.Path, strings.NewReader(string(body)))
		for _, name := range []string{"Content-Type", "X-Amz-Target"} {
			again.Header.Set(name, r.Header.Get(name))
		}
		sum := sha256.Sum256(body)
		if err := v4.NewSigner().SignHTTP(r.Context(), identity, again, hex.EncodeToString(sum[:]), "ecr", "eu-central-1", signedAt); err != nil {
			t.Error(err)
		}
		switch {
		case again.Header.Get("Authorization") != r.Header.Get("Authorization") || r.Header.Get("X-Amz-Security-Token") != "session":
			t.Errorf("the signature is %q, want %q", r.Header.Get("Authorization"), again.Header.Get("Authorization"))
		case r.Host != "api.ecr.eu-central-1.amazonaws.com" || r.Header.Get("X-Amz-Target") != "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken":
			t.Errorf("asked %s for %s", r.Host, r.Header.Get("X-Amz-Target"))
		case string(body) != `{"registryIds":["123456789012"]}`:
			t.Errorf("asked for %s", body)
		}
		fmt.Fprintf(w, `{"authorizationData":[
			{"authorizationToken":%q,"expiresAt":%d,"proxyEndpoint":"https://999999999999.dkr.ecr.eu-central-1.amazonaws.com"},
			{"authorizationToken":%q,"expiresAt":%d.5,"proxyEndpoint":"https://%s"}]}`,
			base64.StdEncoding.EncodeToString([]byte("AWS:another's")), expires, base64.StdEncoding.EncodeToString([]byte("AWS:"+canary)), expires, host)
	})
	k, err := ECR(host, aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return identity, nil }), way)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ask1(t, k, host); err != nil || got.Username != "AWS" || got.Password != canary {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestGoogleSpeaksOAuth has a service account's key exchanged as Google's token endpoint does it (RFC 7523).
func TestGoogleSpeaksOAuth(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.FormValue("assertion"), ".")
		if r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || len(parts) != 3 {
			t.Errorf("asked with %v", r.Form)
			return
		}
		signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
			t.Errorf("the assertion's signature: %v", err)
		}
		claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
		if !strings.Contains(string(claims), `"scope":"https://www.googleapis.com/auth/cloud-platform"`) {
			t.Errorf("the claims are %s", claims)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, canary)
	}))
	t.Cleanup(endpoint.Close)
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "gateway@acme.iam.gserviceaccount.com", "private_key_id": "1", "token_uri": endpoint.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	config, err := googleauth.JWTConfigFromJSON(account, "https://www.googleapis.com/auth/cloud-platform")
	if err != nil {
		t.Fatal(err)
	}
	k, err := Google("europe-docker.pkg.dev", func(ctx context.Context) (*oauth2.Token, error) { return config.TokenSource(ctx).Token() })
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ask1(t, k, "europe-docker.pkg.dev"); err != nil || got.Username != "oauth2accesstoken" || got.Password != canary {
		t.Errorf("got %+v, %v", got, err)
	}
}

// directory is an Entra ID that gives one token.
type directory struct{ token string }

func (d directory) GetToken(_ context.Context, wanted policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(wanted.Scopes) != 1 || wanted.Scopes[0] != "https://containerregistry.azure.net/.default" {
		return azcore.AccessToken{}, errors.New("a token for " + strings.Join(wanted.Scopes, " "))
	}
	return azcore.AccessToken{Token: d.token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestAzureExchangesADirectorysToken(t *testing.T) {
	const host = "acmeprod-dev1.azurecr.io"
	ends := time.Now().Add(3 * time.Hour).Truncate(time.Second)
	refresh := "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, ends.Unix())) + ".sig"
	way := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host != host || r.Method != http.MethodPost || r.URL.Path != "/oauth2/exchange" ||
			r.FormValue("grant_type") != "access_token" || r.FormValue("service") != host || r.FormValue("access_token") != canary {
			t.Errorf("asked %s %s%s with %v", r.Method, r.Host, r.URL, r.Form)
		}
		fmt.Fprintf(w, `{"refresh_token":%q}`, refresh)
	})
	k, err := Azure(host, directory{canary}, way)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ask1(t, k, host); err != nil || got.IdentityToken != refresh || got.Password != "" {
		t.Errorf("got %+v, %v", got, err)
	}
	if !expiryOf(refresh).Equal(ends) || !k.renew.Before(ends) {
		t.Errorf("it ends at %s and is renewed at %s, want before %s", expiryOf(refresh), k.renew, ends)
	}
}

// What a cloud answers never gets into an error, and nobody is sent on by it.
func TestThreat109_174_AnswersThatAreNoCredentialSayNothing(t *testing.T) {
	stranger := 0
	for name, answer := range map[string]http.HandlerFunc{
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.Host, "attacker") {
				stranger++
			}
			http.Redirect(w, r, "https://attacker.test/", http.StatusTemporaryRedirect)
		},
		"an error": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, canary, http.StatusForbidden) },
		"no JSON":  func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, canary) },
		"nothing":  func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"x":"`+canary+`"}`) },
		"without end": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"x":"`+strings.Repeat(canary, maxAnswer))
		},
		"an empty one": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"refresh_token":"","authorizationData":[{}]}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			way := standIn(t, answer)
			amazon, err := ECR("123456789012.dkr.ecr.eu-central-1.amazonaws.com", aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "a", SecretAccessKey: canary}, nil
			}), way)
			if err != nil {
				t.Fatal(err)
			}
			azure, err := Azure("acme1.azurecr.io", directory{canary}, way)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range []*Keychain{amazon, azure} {
				got, err := ask1(t, k, k.host)
				if err == nil || strings.Contains(err.Error(), canary) {
					t.Errorf("got %+v, %v; want an error without the answer", got, err)
				}
			}
		})
	}
	if stranger > 0 {
		t.Error("a redirect was followed")
	}
}

func TestCredentialsAreRenewedBeforeTheyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, down := 0, false
		k, err := Google("gcr.io", func(context.Context) (*oauth2.Token, error) {
			if down {
				return nil, errors.New("metadata is away")
			}
			asked++
			return &oauth2.Token{AccessToken: fmt.Sprint(asked), Expiry: time.Now().Add(time.Hour)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := func(password string) {
			t.Helper()
			if got, err := ask1(t, k, "gcr.io"); err != nil || got.Password != password {
				t.Errorf("after %d fetches: got %+v, %v; want %s", asked, got, err, password)
			}
		}
		want("1")
		time.Sleep(time.Hour - refreshAhead - time.Second)
		want("1")
		time.Sleep(time.Second)
		want("2") // five minutes early

		down = true
		time.Sleep(time.Hour - time.Second)
		want("2") // to its very end
		time.Sleep(time.Second)
		if got, err := ask1(t, k, "gcr.io"); err == nil {
			t.Errorf("a credential that ended is used: %+v", got)
		}
	})
}

func TestDockersConfiguration(t *testing.T) {
	directory := t.TempDir()
	config := filepath.Join(directory, "config.json")
	helper := filepath.Join(directory, "docker-credential-vault")
	wrote := filepath.Join(directory, "wrote")
	auth := base64.StdEncoding.EncodeToString([]byte("op:pass:word"))
	const long = 3 * maxAnswer
	for name, tt := range map[string]struct {
		config, script, helper string
		host                   string
		want                   authn.AuthConfig
		err                    string
	}{
		"an account by host":         {config: `{"auths":{"registry.acme.dev":{"auth":"` + auth + `"}}}`, want: authn.AuthConfig{Username: "op", Password: "pass:word"}},
		"an account by URL":          {config: `{"auths":{"https://registry.acme.dev/v1/":{"auth":"` + auth + `"}}}`, want: authn.AuthConfig{Username: "op", Password: "pass:word"}},
		"Docker Hub":                 {config: `{"auths":{"https://index.docker.io/v1/":{"auth":"` + auth + `"}}}`, host: "index.docker.io", want: authn.AuthConfig{Username: "op", Password: "pass:word"}},
		"an identity token":          {config: `{"auths":{"registry.acme.dev":{"identitytoken":"t"}}}`, want: authn.AuthConfig{IdentityToken: "t"}},
		"nobody":                     {config: `{"auths":{"other.acme.dev":{"auth":"` + auth + `"},"registry.acme.dev.attacker.test":{"auth":"` + auth + `"},"registry.acme.dev:8443":{"auth":"` + auth + `"}}}`},
		"no file":                    {},
		"no configuration":           {config: canary, err: "is not what docker writes"},
		"a helper":                   {config: `{"credHelpers":{"registry.acme.dev":"vault"}}`, script: `read -r server; [ "$1 $server" = "get registry.acme.dev" ] && echo '{"Username":"op","Secret":"s"}'`, helper: helper, want: authn.AuthConfig{Username: "op", Password: "s"}},
		"a store":                    {config: `{"credsStore":"vault"}`, script: `echo '{"Username":"<token>","Secret":"s"}'`, helper: helper, want: authn.AuthConfig{IdentityToken: "s"}},
		"a store for Docker Hub":     {config: `{"credsStore":"vault"}`, host: "index.docker.io", script: `read -r server; [ "$server" = "https://index.docker.io/v1/" ] && echo '{"Username":"op","Secret":"s"}'`, helper: helper, want: authn.AuthConfig{Username: "op", Password: "s"}},
		"a helper that has none":     {config: `{"credsStore":"vault"}`, script: `echo credentials not found in native keychain; exit 1`, helper: helper},
		"a helper nobody allowed":    {config: `{"credsStore":"vault"}`, script: "touch " + wrote, err: "which is not the helper that may be run"},
		"another helper":             {config: `{"credsStore":"../../bin/sh"}`, script: "touch " + wrote, helper: helper, err: "which is not the helper that may be run"},
		"a helper that fails":        {config: `{"credsStore":"vault"}`, script: "echo " + canary + "; echo " + canary + " >&2; exit 1", helper: helper, err: "exit status 1"},
		"a helper that says nothing": {config: `{"credsStore":"vault"}`, script: "echo " + canary, helper: helper, err: "no usable credential"},
		"a helper without end":       {config: `{"credsStore":"vault"}`, script: fmt.Sprintf("head -c %d /dev/zero", long), helper: helper, err: "more than 65536 bytes"},
		"a helper that is not there": {config: `{"credsStore":"vault"}`, helper: helper, err: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			for path, content := range map[string]string{config: tt.config, helper: "#!/bin/sh\n" + tt.script + "\n"} {
				_ = os.Remove(path)
				if content == "" || content == "#!/bin/sh\n\n" {
					continue
				}
				if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			host := tt.host
			if host == "" {
				host = "registry.acme.dev"
			}
			k, err := Docker(host, config, tt.helper, []string{"PATH=/usr/bin:/bin"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := ask1(t, k, host)
			switch {
			case tt.err == "" && (err != nil || *got != tt.want):
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), canary)):
				t.Errorf("got %+v, %v; want an error with %q and nothing of what was answered", got, err, tt.err)
			}
			if _, err := os.Stat(wrote); err == nil {
				t.Error("a helper was run that nobody allowed")
			}
		})
	}
	if _, err := Docker("registry.acme.dev", config, "docker-credential-vault", nil); err == nil {
		t.Error("a helper without an absolute path is taken")
	}
}

// TestAHelperThatHangsIsEnded has it leave a child behind, which must not hold us either.
func TestAHelperThatHangsIsEnded(t *testing.T) {
	helper := filepath.Join(t.TempDir(), "docker-credential-slow")
	if err := os.WriteFile(helper, []byte("#!/bin/sh\nsleep 1000 &\nsleep 1000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := run(ctx, helper, []string{"PATH=/usr/bin:/bin"}, "registry.acme.dev"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}
