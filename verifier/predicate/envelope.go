package predicate

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
)

// MaxSignatures bounds the signatures of one envelope.
const MaxSignatures = 8

// Envelope is signed bytes in DSSE's form: https://github.com/secure-systems-lab/dsse/blob/master/envelope.md. The ids of
// keys are hints that nobody vouches for, and are not read.
type Envelope struct {
	PayloadType string
	Payload     []byte
	Signatures  [][]byte
}

var (
	envelopeFields  = fieldsOf("payloadType!", "payload!", "signatures!")
	signatureFields = fieldsOf("sig!")
)

// ReadEnvelope reads an envelope as cosign 2 attaches it.
func ReadEnvelope(raw []byte) (Envelope, error) {
	e := Envelope{}
	s := newStream(bytes.NewReader(raw), int64(len(raw)))
	s.object(envelopeFields, func(key string) {
		switch key {
		case "payloadType":
			e.PayloadType = s.required(key)
		case "payload":
			e.Payload = s.base64(raw)
		case "signatures":
			s.array(func() {
				if len(e.Signatures) == MaxSignatures {
					s.fail("more than %d signatures", MaxSignatures)
					return
				}
				s.object(signatureFields, func(string) { e.Signatures = append(e.Signatures, s.base64(raw)) })
			})
		}
	})
	if err := s.finish(); err != nil {
		return Envelope{}, err
	}
	if len(e.Signatures) == 0 {
		return Envelope{}, errors.New("no signature")
	}
	return e, nil
}

// PAE is what is signed: the type and the payload, each with its length, so that neither passes for the other.
func (e Envelope) PAE() []byte {
	return append(fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(e.PayloadType), e.PayloadType, len(e.Payload)), e.Payload...)
}

// base64 reads a text of any length out of the whole input, which is at hand.
func (s *stream) base64(raw []byte) []byte {
	if c := s.next(); c != '"' {
		s.wrongType("a text", c)
		return nil
	}
	from := s.offset() + 1
	if s.skipText(); s.err != nil {
		return nil
	}
	written := raw[from : s.offset()-1]
	if bytes.IndexByte(written, '\\') >= 0 {
		s.fail("base64 with escapes")
		return nil
	}
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(written)))
	n, err := base64.StdEncoding.Strict().Decode(decoded, written)
	if err != nil {
		s.fail("a text that is not base64")
	}
	return decoded[:n]
}
