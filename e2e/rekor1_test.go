package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// rekor1 is as much of a transparency log of the first generation as cosign 2 needs to sign: it takes an entry and answers with a
// promise to log it (https://github.com/sigstore/rekor/blob/main/openapi.yaml). The real one keeps its tree in a database
// server, which is not needed to verify a promise.
type rekor1 struct {
	url   string
	key   *ecdsa.PrivateKey
	id    string // SHA-256 of the public key
	count atomic.Int64
}

func startRekor1(publicKey string) (*rekor1, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(publicKey, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(public)
	l := &rekor1{url: "http://" + listener.Addr().String(), key: key, id: hex.EncodeToString(sum[:])}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/log/entries", l.add)
	go func() { _ = http.Serve(listener, mux) }()
	return l, nil
}

func (l *rekor1) add(w http.ResponseWriter, r *http.Request) {
	var proposed struct {
		Kind string `json:"kind"`
		Spec map[string]any
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&proposed)
	body := map[string]any{"apiVersion": "0.0.1", "kind": proposed.Kind, "spec": proposed.Spec}
	switch {
	case err == nil && proposed.Kind == "dsse":
		body["spec"], err = canonicalEnvelope(proposed.Spec)
	case err == nil && proposed.Kind != "hashedrekord": // is kept as it is proposed
		err = fmt.Errorf("an entry of kind %q", proposed.Kind)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}

	canonical, _ := json.Marshal(body) // as RFC 8785 wants it: sorted, and without space
	index := l.count.Add(1)
	entry := map[string]any{
		"body": base64.StdEncoding.EncodeToString(canonical), "integratedTime": time.Now().Unix(), "logID": l.id, "logIndex": index,
	}
	promised, _ := json.Marshal(entry)
	sum := sha256.Sum256(promised)
	promise, err := ecdsa.SignASN1(rand.Reader, l.key, sum[:])
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	entry["verification"] = map[string]any{"signedEntryTimestamp": promise}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{fmt.Sprintf("%064x", index): entry})
}

// canonicalEnvelope is what the log keeps of an envelope: hashes of it, and who signed.
func canonicalEnvelope(spec map[string]any) (map[string]any, error) {
	proposed, _ := spec["proposedContent"].(map[string]any)
	envelope, _ := proposed["envelope"].(string)
	verifiers, _ := proposed["verifiers"].([]any)
	var e struct {
		Payload    []byte
		Signatures []struct{ Sig string }
	}
	if err := json.Unmarshal([]byte(envelope), &e); err != nil {
		return nil, err
	}
	if len(e.Signatures) != 1 || len(verifiers) != 1 {
		return nil, errors.New("not one signature with its verifier")
	}
	hash := func(raw []byte) map[string]any {
		return map[string]any{"algorithm": "sha256", "value": fmt.Sprintf("%x", sha256.Sum256(raw))}
	}
	return map[string]any{
		"envelopeHash": hash([]byte(envelope)), "payloadHash": hash(e.Payload),
		"signatures": []any{map[string]any{"signature": e.Signatures[0].Sig, "verifier": verifiers[0]}},
	}, nil
}
