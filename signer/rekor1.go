package signer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-openapi/strfmt"
	"github.com/sigstore/rekor/pkg/generated/client/entries"
	"github.com/sigstore/rekor/pkg/generated/models"
)

// rekor1 asks a transparency log of version 1 to take an entry, by its API
// (https://github.com/sigstore/rekor/blob/main/openapi.yaml). What sigstore-go asks with reads answers of any size, and takes
// their parts as given.
type rekor1 struct {
	url    string
	client *http.Client
}

// CreateLogEntry has the log take an entry. It answers with an entry that has a promise and a proof; whether they hold is for
// who verifies the bundle.
func (l *rekor1) CreateLogEntry(params *entries.CreateLogEntryParams, _ ...entries.ClientOption) (*entries.CreateLogEntryCreated, error) {
	proposed, err := json.Marshal(params.ProposedEntry)
	if err != nil {
		return nil, fmt.Errorf("propose a log entry: %w", err)
	}
	raw, err := propose(l.client, l.url, proposed)
	if err != nil {
		return nil, err
	}

	var all models.LogEntry
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("read the transparency log's answer: %w", err)
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("the transparency log answered with %d entries", len(all))
	}
	created := &entries.CreateLogEntryCreated{Payload: all}
	for id, entry := range all {
		if err := checkEntry(entry); err != nil {
			return nil, fmt.Errorf("the transparency log's answer: %w", err)
		}
		created.ETag = id
	}
	return created, nil
}

// checkEntry says what of an entry is missing. Without the promise nobody believes its time, without the proof it is no part
// of a bundle.
func checkEntry(entry models.LogEntryAnon) error {
	if err := entry.Validate(strfmt.Default); err != nil {
		return err
	}
	v := entry.Verification
	switch {
	case v == nil || len(v.SignedEntryTimestamp) == 0:
		return errors.New("no promise to include the entry (signedEntryTimestamp)")
	case v.InclusionProof == nil:
		return errors.New("no proof that the entry is included (inclusionProof)")
	}
	return nil
}

// GetLogEntryByUUID is asked where an entry is in the log already, which one by a new key never is.
func (*rekor1) GetLogEntryByUUID(*entries.GetLogEntryByUUIDParams, ...entries.ClientOption) (*entries.GetLogEntryByUUIDOK, error) {
	return nil, errors.New("the transparency log has this entry already")
}
