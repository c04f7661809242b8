package e2e

import (
	"context"
	"crypto"
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
	"sync"
	"time"

	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
)

// rekor1 is a transparency log of the first generation, as far as those who sign ask it: it takes an entry into its tree and
// answers with a promise, and a proof that it is there (https://github.com/sigstore/rekor/blob/main/openapi.yaml). The real one
// keeps its tree in a database server.
type rekor1 struct {
	url string
	key *ecdsa.PrivateKey
	id  string // SHA-256 of the public key

	mu   sync.Mutex
	tree *testonly.Tree // guarded by mu
}

// entry is a log entry, as JSON has it.
type entry = map[string]any

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
	l := &rekor1{url: "http://" + listener.Addr().String(), key: key, id: hex.EncodeToString(sum[:]), tree: testonly.New(rfc6962.DefaultHasher)}
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
	id, answer, err := l.include(canonical)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{id: answer})
}

// include takes an entry into the tree, promises that it did, and proves it.
func (l *rekor1) include(canonical []byte) (id string, answer entry, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	index := l.tree.Size()
	l.tree.AppendData(canonical)
	path, err := l.tree.InclusionProof(index, index+1)
	if err != nil {
		return "", nil, err
	}
	hashes := make([]string, len(path))
	for i, hash := range path {
		hashes[i] = hex.EncodeToString(hash)
	}
	signer, err := signature.LoadSigner(l.key, crypto.SHA256)
	if err != nil {
		return "", nil, err
	}
	checkpoint, err := util.CreateAndSignCheckpoint(context.Background(), "rekor1.acme.example", 1, index+1, l.tree.Hash(), signer)
	if err != nil {
		return "", nil, err
	}

	answer = entry{
		"body": base64.StdEncoding.EncodeToString(canonical), "integratedTime": time.Now().Unix(), "logID": l.id, "logIndex": index,
	}
	promised, _ := json.Marshal(answer)
	sum := sha256.Sum256(promised)
	promise, err := ecdsa.SignASN1(rand.Reader, l.key, sum[:])
	answer["verification"] = entry{"signedEntryTimestamp": promise, "inclusionProof": entry{
		"checkpoint": string(checkpoint), "hashes": hashes, "logIndex": index, "rootHash": hex.EncodeToString(l.tree.Hash()), "treeSize": index + 1,
	}}
	return fmt.Sprintf("%064x", rfc6962.DefaultHasher.HashLeaf(canonical)), answer, err
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
