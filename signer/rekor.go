package signer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/sign"
)

// newLog is a log of version 1 or 2 whose requests end with the context.
func newLog(ctx context.Context, url string, version int) sign.Transparency {
	url = strings.TrimSuffix(url, "/")
	client := &http.Client{Transport: straight{ctx}}
	if version == 1 {
		return sign.NewRekor(&sign.RekorOptions{Client: &rekor1{url + "/api/v1/log/entries", client}, Version: 1})
	}
	return sign.NewRekor(&sign.RekorOptions{ClientV2: &rekor2{url + "/api/v2/log/entries", client}, Version: 2})
}

// propose sends a log an entry in JSON, and returns the answer that it took it.
func propose(client *http.Client, url string, entry []byte) ([]byte, error) {
	resp, err := client.Post(url, "application/json", bytes.NewReader(entry))
	if err != nil {
		return nil, fmt.Errorf("ask the transparency log: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the transparency log's answer: %w", err)
	}
	if resp.StatusCode != http.StatusCreated {
		return nil, fmt.Errorf("the transparency log answered %d: %s", resp.StatusCode, raw[:min(len(raw), maxSaid)])
	}
	return raw, nil
}
