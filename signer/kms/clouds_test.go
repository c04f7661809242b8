package kms

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Google's and Microsoft's services have names that nothing changes, and their clients speak to nobody else. So the tests have a
// proxy, by which those names lead to servers of ours, and a certificate authority that vouches for them: what a client asks and
// what it checks are as ever.

// outside is the world behind the proxy.
var outside = &world{}

// world is two services that keep one key each.
type world struct {
	mu     sync.Mutex // guards what follows
	key    *ecdsa.PrivateKey
	azure  func(w http.ResponseWriter, r *http.Request) bool // answers in the vault's place where it says so
	google func(*kmspb.AsymmetricSignResponse) error         // changes an answer, or is the answer

	kmspb.UnimplementedKeyManagementServiceServer
}

// The names, and who asks.
const (
	azureVault  = "acme.vault.azure.net"
	azureLogin  = "login.microsoftonline.com"
	azureTenant = "11111111-2222-3333-4444-555555555555"
	azureKey    = "azurekms://" + azureVault + "/release"

	googleKMS   = "cloudkms.googleapis.com"
	googleLogin = "oauth2.googleapis.com"
	googleKey   = "gcpkms://projects/acme/locations/global/keyRings/release/cryptoKeys/images/versions/1"
)

func TestMain(m *testing.M) {
	directory, err := os.MkdirTemp("", "kms")
	if err != nil {
		log.Fatal(err)
	}
	if err := outside.open(directory); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	if err := os.RemoveAll(directory); err != nil {
		log.Print(err)
	}
	os.Exit(code)
}

// open has the names lead here. The clients read the variables once, so that it is done for all tests.
func (w *world) open(directory string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "outside"}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{azureVault, azureLogin, googleKMS, googleLogin}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	roots, credentials := filepath.Join(directory, "roots.pem"), filepath.Join(directory, "google.json")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return err
	}
	who := `{"type":"authorized_user","client_id":"acme","client_secret":"the-secret","refresh_token":"the-refresh-token"}`
	if err := os.WriteFile(credentials, []byte(who), 0o600); err != nil {
		return err
	}

	calls := grpc.NewServer()
	kmspb.RegisterKeyManagementServiceServer(calls, w)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.Host {
		case googleKMS, googleKMS + ":443":
			calls.ServeHTTP(rw, r)
		case googleLogin:
			w.googleToken(rw, r)
		case azureLogin:
			w.azureToken(rw, r)
		case azureVault:
			w.vault(rw, r)
		default:
			http.NotFound(rw, r)
		}
	}))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	proxy := httptest.NewServer(tunnel(server.Listener.Addr().String()))

	for name, value := range map[string]string{
		"SSL_CERT_FILE": roots, "SSL_CERT_DIR": directory, "HTTPS_PROXY": proxy.URL, "NO_PROXY": "",
		"GOOGLE_APPLICATION_CREDENTIALS": credentials,
		"AZURE_TENANT_ID":                azureTenant, "AZURE_CLIENT_ID": "acme", "AZURE_CLIENT_SECRET": "the-secret",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// tunnel is a proxy that leads to one place, whatever it is asked for.
func tunnel(to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
			return
		}
		far, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = far.Close()
			return
		}
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
		_, _ = io.Copy(near, far)
		_ = near.Close()
	})
}

// keeps gives both services a key, and takes what they were told to do before.
func (w *world) keeps(key *ecdsa.PrivateKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.key, w.azure, w.google = key, nil, nil
}

func (w *world) azureDoes(f func(http.ResponseWriter, *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.azure = f
}

func (w *world) googleDoes(f func(*kmspb.AsymmetricSignResponse) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.google = f
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

// azureToken is as much of Entra ID as gives a token for a secret.
func (w *world) azureToken(rw http.ResponseWriter, r *http.Request) {
	at := "https://" + azureLogin + "/" + azureTenant
	switch r.URL.Path {
	case "/common/discovery/instance":
		answer(rw, map[string]any{"tenant_discovery_endpoint": at + "/v2.0/.well-known/openid-configuration", "metadata": []any{}})
	case "/" + azureTenant + "/v2.0/.well-known/openid-configuration":
		answer(rw, map[string]any{
			"issuer": at + "/v2.0", "token_endpoint": at + "/oauth2/v2.0/token", "authorization_endpoint": at + "/oauth2/v2.0/authorize",
		})
	case "/" + azureTenant + "/oauth2/v2.0/token":
		if r.FormValue("client_secret") != "the-secret" || !strings.Contains(r.FormValue("scope"), "https://vault.azure.net/.default") {
			rw.WriteHeader(http.StatusUnauthorized)
			answer(rw, map[string]any{"error": "invalid_client", "error_description": "no such secret"})
			return
		}
		answer(rw, map[string]any{"access_token": "azure-token", "token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600})
	default:
		http.NotFound(rw, r)
	}
}

// vault is Azure Key Vault, as far as a key is read and signs.
func (w *world) vault(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer azure-token" {
		rw.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="https://%s/%s", resource="https://vault.azure.net"`, azureLogin, azureTenant))
		rw.WriteHeader(http.StatusUnauthorized)
		return
	}
	if w.azure != nil && w.azure(rw, r) {
		return
	}
	url64 := base64.RawURLEncoding.EncodeToString
	refuse := func(code int, what string) {
		rw.WriteHeader(code)
		answer(rw, map[string]any{"error": map[string]any{"code": what, "message": what}})
	}
	version := r.URL.Query().Get("api-version")
	switch r.Method + " " + strings.TrimSuffix(r.URL.Path, "/") {
	case "GET /keys/release", "GET /keys/release/0123456789abcdef":
		point, err := w.key.PublicKey.Bytes()
		if err != nil || version == "" {
			refuse(http.StatusBadRequest, "BadParameter")
			return
		}
		answer(rw, map[string]any{"attributes": map[string]any{"enabled": true}, "key": map[string]any{
			"kid": "https://" + azureVault + "/keys/release/0123456789abcdef", "kty": "EC-HSM", "crv": "P-256",
			"x": url64(point[1:33]), "y": url64(point[33:]), "key_ops": []string{"sign", "verify"},
		}})
	case "POST /keys/release/sign", "POST /keys/release/0123456789abcdef/sign":
		var asked struct{ Alg, Value string }
		if json.NewDecoder(r.Body).Decode(&asked) != nil || asked.Alg != "ES256" || version == "" {
			refuse(http.StatusBadRequest, "BadParameter")
			return
		}
		digest, err := base64.RawURLEncoding.DecodeString(asked.Value)
		if err != nil || len(digest) != sha256.Size {
			refuse(http.StatusBadRequest, "BadParameter")
			return
		}
		sr, ss, err := ecdsa.Sign(rand.Reader, w.key, digest)
		if err != nil {
			refuse(http.StatusInternalServerError, "InternalError")
			return
		}
		raw := append(sr.FillBytes(make([]byte, 32)), ss.FillBytes(make([]byte, 32))...)
		answer(rw, map[string]any{"kid": "https://" + azureVault + "/keys/release/0123456789abcdef", "value": url64(raw)})
	default:
		refuse(http.StatusNotFound, "KeyNotFound")
	}
}

// googleToken gives a token of a second, so that each call needs a new one.
func (w *world) googleToken(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/token" || r.FormValue("refresh_token") != "the-refresh-token" || r.FormValue("client_secret") != "the-secret" {
		rw.WriteHeader(http.StatusUnauthorized)
		answer(rw, map[string]any{"error": "invalid_grant"})
		return
	}
	answer(rw, map[string]any{"access_token": "google-token", "token_type": "Bearer", "expires_in": 1})
}

const googleRing = "projects/acme/locations/global/keyRings/release/cryptoKeys/images"

// called checks who calls, and that the call is routed by the name that it is about.
func called(ctx context.Context, name, want string) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if strings.Join(md.Get("authorization"), "") != "Bearer google-token" {
		return status.Error(codes.Unauthenticated, "who are you?")
	}
	if !strings.Contains(strings.Join(md.Get("x-goog-request-params"), ""), "name=") {
		return status.Error(codes.InvalidArgument, "without a routing header")
	}
	if name != want {
		return status.Errorf(codes.NotFound, "%s is not here", name)
	}
	return nil
}

func (w *world) GetCryptoKey(ctx context.Context, r *kmspb.GetCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	return &kmspb.CryptoKey{Name: googleRing, Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN}, called(ctx, r.GetName(), googleRing)
}

func (w *world) GetCryptoKeyVersion(ctx context.Context, r *kmspb.GetCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	return &kmspb.CryptoKeyVersion{
		Name: r.GetName(), State: kmspb.CryptoKeyVersion_ENABLED, Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256,
	}, called(ctx, r.GetName(), googleRing+"/cryptoKeyVersions/1")
}

func (w *world) GetPublicKey(ctx context.Context, r *kmspb.GetPublicKeyRequest) (*kmspb.PublicKey, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	der, err := x509.MarshalPKIXPublicKey(w.key.Public())
	if err != nil {
		return nil, err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return &kmspb.PublicKey{
		Pem: string(public), Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, Name: r.GetName(), PemCrc32C: checksum(public),
	}, called(ctx, r.GetName(), googleRing+"/cryptoKeyVersions/1")
}

// AsymmetricSign signs a digest whose checksum is right, and no other.
func (w *world) AsymmetricSign(ctx context.Context, r *kmspb.AsymmetricSignRequest) (*kmspb.AsymmetricSignResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := called(ctx, r.GetName(), googleRing+"/cryptoKeyVersions/1"); err != nil {
		return nil, err
	}
	digest := r.GetDigest().GetSha256()
	if len(digest) != sha256.Size || r.GetDigestCrc32C() == nil || r.GetDigestCrc32C().GetValue() != checksum(digest).GetValue() {
		return nil, status.Error(codes.InvalidArgument, "the digest was changed on its way")
	}
	sig, err := ecdsa.SignASN1(rand.Reader, w.key, digest)
	if err != nil {
		return nil, err
	}
	made := &kmspb.AsymmetricSignResponse{Name: r.GetName(), Signature: sig, SignatureCrc32C: checksum(sig), VerifiedDigestCrc32C: true}
	if w.google != nil {
		return made, w.google(made)
	}
	return made, nil
}

func checksum(raw []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(raw, crc32.MakeTable(crc32.Castagnoli))))
}

func TestAKeyInACloudSignsDigestsThatOthersVerify(t *testing.T) {
	key := newKey(t)
	outside.keeps(key)
	known, err := signature.LoadVerifier(key.Public(), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("what is signed"))
	for _, reference := range []string{azureKey, azureKey + "/0123456789abcdef", googleKey} {
		public, err := PublicKey(t.Context(), reference)
		if err != nil {
			t.Errorf("%s: %v", reference, err)
			continue
		}
		if !key.PublicKey.Equal(public) {
			t.Errorf("%s: got another key", reference)
		}
		k := KnownKey(reference, public)
		for i := range 2 { // the second push, when the first is over
			push, over := context.WithCancel(t.Context())
			sig, err := k.SignDigest(push, sum[:])
			over()
			if err != nil {
				t.Errorf("%s, signature %d: %v", reference, i+1, err)
				continue
			}
			if err := known.VerifySignature(bytes.NewReader(sig), strings.NewReader("what is signed")); err != nil {
				t.Errorf("%s: %v", reference, err)
			}
		}
	}
	for _, reference := range []string{"azurekms://" + azureVault + "/another", strings.Replace(googleKey, "images", "another", 1)} {
		if public, err := PublicKey(t.Context(), reference); err == nil {
			t.Errorf("%s: got %v", reference, public)
		}
	}
}

func TestThreat155_ACloudThatRefusesOrSpoilsASignatureGivesNone(t *testing.T) {
	key := newKey(t)
	refuses := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			w.WriteHeader(code)
			answer(w, map[string]any{"error": map[string]any{"code": "Refused", "message": "it says why"}})
			return true
		}
	}
	for name, c := range map[string]struct {
		reference, want string
		arrange         func()
	}{
		"Azure permits it not": {azureKey, "403", func() { outside.azureDoes(refuses(http.StatusForbidden)) }},
		"Azure lost the key":   {azureKey, "404", func() { outside.azureDoes(refuses(http.StatusNotFound)) }},
		"Google permits it not": {googleKey, "PermissionDenied", func() {
			outside.googleDoes(func(*kmspb.AsymmetricSignResponse) error { return status.Error(codes.PermissionDenied, "it says why") })
		}},
		"Google throttles": {googleKey, "ResourceExhausted", func() {
			outside.googleDoes(func(*kmspb.AsymmetricSignResponse) error { return status.Error(codes.ResourceExhausted, "it says why") })
		}},
		"a signature is changed on its way": {googleKey, "response corrupted", func() {
			outside.googleDoes(func(r *kmspb.AsymmetricSignResponse) error { r.Signature[4] ^= 1; return nil })
		}},
		"a digest was changed on its way": {googleKey, "request corrupted", func() {
			outside.googleDoes(func(r *kmspb.AsymmetricSignResponse) error { r.VerifiedDigestCrc32C = false; return nil })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			outside.keeps(key)
			k := KnownKey(c.reference, key.Public())
			sum := sha256.Sum256([]byte("what is signed"))
			if _, err := k.SignDigest(t.Context(), sum[:]); err != nil {
				t.Fatal(err)
			}
			c.arrange()
			if sig, err := k.SignDigest(t.Context(), sum[:]); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %x, %v", sig, err)
			}
			outside.keeps(key)
			if _, err := k.SignDigest(t.Context(), sum[:]); err != nil {
				t.Errorf("the next: %v", err)
			}
		})
	}
}
