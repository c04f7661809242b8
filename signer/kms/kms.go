// Package kms opens keys that a key management service keeps: AWS KMS, Google Cloud KMS, Azure Key Vault, and the transit
// engine of Vault and OpenBao.
//
// A key is named by a reference, as cosign writes it:
//
//	awskms:///arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
//	awskms://localhost:4566/alias/release
//	gcpkms://projects/acme/locations/global/keyRings/release/cryptoKeys/images/versions/1
//	azurekms://acme.vault.azure.net/release
//	hashivault://release, openbao://release
//
// Where the service is and who asks, the providers read from the environment, as their own command lines do: AWS_REGION,
// GOOGLE_APPLICATION_CREDENTIALS, AZURE_TENANT_ID, VAULT_ADDR, VAULT_TOKEN, and so on. This is the one place that links the
// providers, and the one that calls them.
package kms

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature/kms"
	"github.com/sigstore/sigstore/pkg/signature/kms/aws"
	"github.com/sigstore/sigstore/pkg/signature/kms/azure"
	"github.com/sigstore/sigstore/pkg/signature/kms/gcp"
	"github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// scheme is a service that is known, with who reads its references.
type scheme struct {
	prefix string
	check  func(reference string) error
}

var schemes = []scheme{
	{aws.ReferenceScheme, aws.ValidReference},
	{azure.ReferenceScheme, azure.ValidReference},
	{gcp.ReferenceScheme, gcp.ValidReference},
	{hashivault.ReferenceScheme, hashivault.ValidReference},
	{hashivault.AlternativeScheme, hashivault.ValidReference},
}

// prefixes are the beginnings of references, such as awskms://.
func prefixes() []string {
	var all []string
	for _, s := range schemes {
		all = append(all, s.prefix)
	}
	return all
}

// CheckReference says what is wrong with a reference. Nothing is opened.
//
// It stands before every use of one: the library takes the scheme of a reference that it does not know for the name of a
// program, sigstore-kms-SCHEME, and runs it.
func CheckReference(reference string) error {
	const limit = 1024
	if len(reference) > limit {
		return fmt.Errorf("a reference of more than %d bytes", limit)
	}
	if strings.ContainsFunc(reference, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("a reference with characters that no reference has")
	}
	i := slices.IndexFunc(schemes, func(s scheme) bool { return strings.HasPrefix(reference, s.prefix) })
	if i < 0 {
		return fmt.Errorf("a reference that begins with none of %s", strings.Join(prefixes(), ", "))
	}
	return schemes[i].check(reference)
}

// open opens a key for signing SHA-256 digests and for reading its public half. The error says that the service could not be
// asked, or refused.
//
// Some providers do not listen to a context: when it ends, open returns, and what they do comes to nothing.
func open(ctx context.Context, reference string) (kms.SignerVerifier, error) {
	if err := CheckReference(reference); err != nil {
		return nil, err
	}
	if err := checkEnvironment(); err != nil {
		return nil, err
	}
	key, err := inTime(ctx, func() (kms.SignerVerifier, error) { return kms.Get(ctx, reference, crypto.SHA256) })
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", reference, err)
	}
	return key, nil
}

// PublicKey fetches the public half of a key.
func PublicKey(ctx context.Context, reference string) (crypto.PublicKey, error) {
	key, err := open(ctx, reference)
	if err != nil {
		return nil, err
	}
	public, err := inTime(ctx, func() (crypto.PublicKey, error) { return key.PublicKey(options.WithContext(ctx)) })
	if err != nil {
		return nil, fmt.Errorf("fetch the public key of %s: %w", reference, err)
	}
	return public, nil
}

// unchecked are the variables by which providers would talk to a service without knowing that it is the one. Who answers in
// its place would say whose signatures count.
var unchecked = []string{"AWS_TLS_INSECURE_SKIP_VERIFY", "VAULT_SKIP_VERIFY"}

func checkEnvironment() error {
	for _, name := range unchecked {
		if off, err := strconv.ParseBool(os.Getenv(name)); err == nil && off {
			return fmt.Errorf("%s is set: nobody would know whose key it is; unset it, and name the service's own authority instead (AWS_CA_BUNDLE, VAULT_CACERT)", name)
		}
	}
	return nil
}

// inTime waits for f, at most until the context ends.
func inTime[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				answers <- answer{err: fmt.Errorf("panic: %v", p)}
			}
		}()
		value, err := f()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
