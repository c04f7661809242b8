package verifier

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestThreat077_AnEntryIsOneThatALogPromisedOfAKindThatIsRead(t *testing.T) {
	entry := func(body, id, promise string) []byte {
		return fmt.Appendf(nil, `{"SignedEntryTimestamp":%q,"Payload":{"body":%q,"integratedTime":1,"logIndex":1,"logID":%q}}`,
			base64.StdEncoding.EncodeToString([]byte(promise)), base64.StdEncoding.EncodeToString([]byte(body)), id)
	}
	const record, id = `{"kind":"hashedrekord","apiVersion":"0.0.1"}`, "c0ffee"
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"another kind":      {entry(`{"kind":"rekord","apiVersion":"0.0.1"}`, id, "x"), `of kind "rekord"`},
		"an archive":        {entry(`{"kind":"jar","apiVersion":"0.0.1"}`, id, "x"), `of kind "jar"`},
		"no kind":           {entry(`{}`, id, "x"), `of kind ""`},
		"two kinds":         {entry(`{"kind":"jar","kind":"hashedrekord"}`, id, "x"), "twice"},
		"no promise":        {entry(record, id, ""), "no signed entry timestamp"},
		"no log":            {entry(record, "", "x"), "no log ID"},
		"no log's id":       {entry(record, "zz", "x"), "no log ID"},
		"something beside":  {[]byte(`{"x":1}`), "unknown"},
		"no body that ends": {entry(`{`, id, "x"), "body"},
	} {
		if _, err := logEntry(c.raw, []string{"hashedrekord"}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.want)
		}
	}
}

// What comes along with a signature leads to a root that is configured, and is never one.
func TestThreat073_ARootThatCameAlongIsDropped(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := func(subject, issuer string, authority bool) *x509.Certificate {
		t.Helper()
		template := func(name string) *x509.Certificate {
			return &x509.Certificate{
				SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: authority, BasicConstraintsValid: true,
				NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
			}
		}
		raw, err := x509.CreateCertificate(rand.Reader, template(subject), template(issuer), key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	root, between, leaf := made("root", "root", true), made("between", "root", true), made("leaf", "between", false)
	if got := onlyIntermediates([]*x509.Certificate{root, between, leaf, root}); len(got) != 1 || got[0] != between {
		t.Errorf("%d are left, want the one between", len(got))
	}
}
