package verifier

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// Instance is a Sigstore deployment of one's own, by its parts: what a trusted_root.json says, for who has the keys and
// certificates and no such file. All parts are believed from the beginning; who replaces one needs the file, which has times.
type Instance struct {
	Authorities     [][]*x509.Certificate // of each Fulcio its chain: the certificate that issues first, the root last
	Logs            []Log                 // Rekors
	CertificateLogs []crypto.PublicKey
	Timestamps      [][]*x509.Certificate // of each timestamp authority its chain: the one that stamps first, the root last
}

// Log is a transparency log.
type Log struct {
	URL string // as the log calls itself; its host names a Rekor 2 in its checkpoints
	Key crypto.PublicKey
}

// NewTrustRoot returns the root of an instance.
func NewTrustRoot(i Instance) (*TrustRoot, error) {
	var authorities []root.CertificateAuthority
	for _, chain := range i.Authorities {
		issuers, top, err := splitChain(chain)
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		authorities = append(authorities, &root.FulcioCertificateAuthority{Root: top, Intermediates: issuers, ValidityPeriodStart: top.NotBefore})
	}
	var stamps []root.TimestampingAuthority
	for n, chain := range i.Timestamps {
		issuers, top, err := splitChain(chain)
		if err != nil || len(issuers) == 0 {
			return nil, errors.Join(errors.New("timestamp authority: want the certificate that stamps, and those up to its root"), err)
		}
		stamps = append(stamps, &root.SigstoreTimestampingAuthority{
			Root: top, Intermediates: issuers[1:], Leaf: issuers[0], ValidityPeriodStart: top.NotBefore, URI: fmt.Sprintf("timestamps-%d", n),
		})
	}
	logs, ct := map[string]*root.TransparencyLog{}, map[string]*root.TransparencyLog{}
	for _, log := range i.Logs {
		if u, err := url.Parse(log.URL); err != nil || u.Hostname() == "" {
			return nil, fmt.Errorf("transparency log: %.100q is no URL with a host", log.URL)
		}
		if err := add(logs, log); err != nil {
			return nil, fmt.Errorf("transparency log: %w", err)
		}
	}
	for _, key := range i.CertificateLogs {
		if err := add(ct, Log{Key: key}); err != nil {
			return nil, fmt.Errorf("certificate log: %w", err)
		}
	}
	made, err := root.NewTrustedRoot(root.TrustedRootMediaType01, authorities, ct, stamps, logs)
	if err != nil {
		return nil, err
	}
	raw, err := made.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return ParseTrustRoot(raw) // one reader for all roots
}

// splitChain checks that each certificate issued the one before it, and the last itself.
func splitChain(chain []*x509.Certificate) (issuers []*x509.Certificate, top *x509.Certificate, err error) {
	if len(chain) == 0 {
		return nil, nil, errors.New("no certificate")
	}
	for i, c := range chain {
		issuer := chain[min(i+1, len(chain)-1)]
		if err := c.CheckSignatureFrom(issuer); err != nil {
			return nil, nil, fmt.Errorf("%q is not issued by %q, which stands after it: %w", c.Subject, issuer.Subject, err)
		}
	}
	last := len(chain) - 1
	return chain[:last], chain[last], nil
}

func add(logs map[string]*root.TransparencyLog, log Log) error {
	der, err := x509.MarshalPKIXPublicKey(log.Key)
	if err != nil {
		return err
	}
	id := sha256.Sum256(der)
	if key, ok := log.Key.(ed25519.PublicKey); ok && log.URL != "" {
		// A Rekor 2 is known by its key's id in checkpoints: https://github.com/C2SP/C2SP/blob/main/signed-note.md
		u, err := url.Parse(log.URL)
		if err != nil {
			return err
		}
		id = sha256.Sum256(append(append([]byte(u.Hostname()+"\n"), 1), key...))
	}
	name := hex.EncodeToString(id[:])
	if logs[name] != nil {
		return errors.New("one key is there twice")
	}
	logs[name] = &root.TransparencyLog{
		BaseURL: log.URL, ID: id[:], HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256, PublicKey: log.Key,
		ValidityPeriodStart: time.Unix(0, 0),
	}
	return nil
}
