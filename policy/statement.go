package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// StatementType is the type of the statements that are made here: https://in-toto.io/Statement/v1.
const StatementType = "https://in-toto.io/Statement/v1"

// MaxPredicate bounds a predicate, in bytes. In an envelope, as base64, it still fits into what a verifier reads.
const MaxPredicate = 32 << 20

// Statement is something to be attested about a subject, before anybody signed it: the other way round, what was proven, is
// an [Attestation].
type Statement struct {
	// PredicateType says how the predicate is to be read, such as https://slsa.dev/provenance/v1.
	PredicateType string

	// Predicate is a JSON object of at most [MaxPredicate] bytes.
	Predicate []byte

	// Time is when it was found out. Of statements of one type by one signer, older ones make room for newer ones.
	Time time.Time

	// Same reports that a predicate which is attached already, by the same signer, says the same, so that nothing has to be
	// added. Nil: when its bytes are the same.
	Same func(attached []byte) bool
}

// Encode makes the in-toto statement about a subject: the bytes that get signed. It names the subject by its digest alone,
// because that is all that anybody may match it by.
func (st Statement) Encode(subject digest.Digest) ([]byte, error) {
	switch {
	case !predicateURI.MatchString(st.PredicateType) || len(st.PredicateType) > maxPredicateType:
		return nil, fmt.Errorf("predicate type %.80q is no URI", st.PredicateType)
	case len(st.Predicate) > MaxPredicate:
		return nil, fmt.Errorf("a predicate of %d bytes, at most %d are attested", len(st.Predicate), MaxPredicate)
	case !bytes.HasPrefix(bytes.TrimLeft(st.Predicate, " \t\r\n"), []byte("{")):
		return nil, errors.New("a predicate that is no JSON object")
	}
	type resource struct {
		Digest map[string]string `json:"digest"`
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(struct {
		Type          string          `json:"_type"`
		Subject       []resource      `json:"subject"`
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
	}{
		Type:          StatementType,
		Subject:       []resource{{Digest: map[string]string{subject.Algorithm().String(): subject.Encoded()}}},
		PredicateType: st.PredicateType,
		Predicate:     st.Predicate,
	})
	if err != nil {
		return nil, fmt.Errorf("encode a predicate: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
