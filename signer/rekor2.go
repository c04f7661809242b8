package signer

import (
	"context"
	"fmt"
	"net/http"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	tilespb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"google.golang.org/protobuf/encoding/protojson"
)

// rekor2 asks a transparency log of version 2 to take an entry, by its API
// (https://github.com/sigstore/rekor-tiles/blob/main/CLIENTS.md). What sigstore-go asks with follows redirects, and takes the
// first 10 MB of an endless answer for all of it.
type rekor2 struct {
	url    string
	client *http.Client
}

// Add has the log take an entry. It answers when the entry is in the log, with a proof; whether that holds is for who
// verifies the bundle.
func (l *rekor2) Add(_ context.Context, entry any) (*rekorpb.TransparencyLogEntry, error) {
	signed, ok := entry.(*tilespb.HashedRekordRequestV002)
	if !ok {
		return nil, fmt.Errorf("propose a log entry: %T is none", entry)
	}
	proposed, err := protojson.Marshal(&tilespb.CreateEntryRequest{Spec: &tilespb.CreateEntryRequest_HashedRekordRequestV002{HashedRekordRequestV002: signed}})
	if err != nil {
		return nil, fmt.Errorf("propose a log entry: %w", err)
	}
	raw, err := propose(l.client, l.url, proposed)
	if err != nil {
		return nil, err
	}
	var made rekorpb.TransparencyLogEntry
	if err := protojson.Unmarshal(raw, &made); err != nil {
		return nil, fmt.Errorf("read the transparency log's answer: %w", err)
	}
	return &made, nil
}
