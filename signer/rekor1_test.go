package signer

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sigstore/rekor/pkg/generated/client/entries"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/tle"
)

// aLogEntry is an entry with all that one has. Whether it proves anything is for who verifies it.
func aLogEntry() map[string]any {
	hash := strings.Repeat("0a", 32)
	return map[string]any{
		"body": base64.StdEncoding.EncodeToString([]byte(`{"kind":"hashedrekord","apiVersion":"0.0.1","spec":{}}`)), "logID": hash, "logIndex": 7, "integratedTime": 1,
		"verification": map[string]any{"signedEntryTimestamp": "AAAA", "inclusionProof": map[string]any{
			"checkpoint": "log - 1\n8\nAAAA\n\n— log AAAAAA==\n", "hashes": []string{hash}, "logIndex": 7, "rootHash": hash, "treeSize": 8,
		}},
	}
}

func logAnswer(t testing.TB, change func(entry map[string]any)) []byte {
	t.Helper()
	entry := aLogEntry()
	if change != nil {
		change(entry)
	}
	return must(json.Marshal(map[string]any{"24296fb24b8ad77a": entry}))
}

// asks has a log answer something, and says what comes of it.
func asks(t *testing.T, status int, answer []byte) (*entries.CreateLogEntryCreated, error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/api/v1/log/entries" {
			t.Errorf("asked %s %s", r.Method, r.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = w.Write(answer)
	}))
	defer server.Close()
	log := &rekor1{server.URL + "/api/v1/log/entries", &http.Client{Transport: straight{t.Context()}}}
	return log.CreateLogEntry(entries.NewCreateLogEntryParams().WithProposedEntry(&models.Hashedrekord{}))
}

func TestALogsAnswerHasWhatIsNeeded(t *testing.T) {
	created, err := asks(t, http.StatusCreated, logAnswer(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if entry := created.Payload[created.ETag]; *entry.LogIndex != 7 {
		t.Errorf("got %+v", created)
	}
	part := func(entry map[string]any, names ...string) map[string]any {
		for _, name := range names {
			entry = entry[name].(map[string]any)
		}
		return entry
	}
	lacks := func(name string, of ...string) []byte {
		return logAnswer(t, func(entry map[string]any) { delete(part(entry, of...), name) })
	}
	for name, c := range map[string]struct {
		status int
		answer []byte
		want   string
	}{
		"a refusal":             {http.StatusBadRequest, []byte(`{"message":"bad entry"}`), "400: {\"message\":\"bad entry\"}"},
		"a refusal without end": {http.StatusBadRequest, []byte(strings.Repeat("x", 2<<20)), "400"},
		"it is there already":   {http.StatusConflict, nil, "409"},
		"no JSON":               {http.StatusCreated, []byte("<html>"), "read the transparency log's answer"},
		"nothing":               {http.StatusCreated, []byte("{}"), "0 entries"},
		"null":                  {http.StatusCreated, []byte("null"), "0 entries"},
		"two entries":           {http.StatusCreated, []byte(`{"a":{},"b":{}}`), "2 entries"},
		"an entry without end":  {http.StatusCreated, append(logAnswer(t, nil), []byte(strings.Repeat(" ", maxAnswer))...), "more than"},
		"no body":               {http.StatusCreated, lacks("body"), "body"},
		"no log":                {http.StatusCreated, lacks("logID"), "logID"},
		"no index":              {http.StatusCreated, lacks("logIndex"), "logIndex"},
		"no time":               {http.StatusCreated, lacks("integratedTime"), "integratedTime"},
		"no verification":       {http.StatusCreated, lacks("verification"), "no promise"},
		"no promise":            {http.StatusCreated, lacks("signedEntryTimestamp", "verification"), "no promise"},
		"no proof":              {http.StatusCreated, lacks("inclusionProof", "verification"), "no proof"},
		"no checkpoint":         {http.StatusCreated, lacks("checkpoint", "verification", "inclusionProof"), "checkpoint"},
		"no root":               {http.StatusCreated, lacks("rootHash", "verification", "inclusionProof"), "rootHash"},
		"no size":               {http.StatusCreated, lacks("treeSize", "verification", "inclusionProof"), "treeSize"},
	} {
		if created, err := asks(t, c.status, c.answer); err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 2*maxSaid {
			t.Errorf("%s: got %+v, %.1000v", name, created, err)
		}
	}
}

// FuzzLogEntry holds that an entry that passes for one can be read by the library, which takes its parts for granted.
func FuzzLogEntry(f *testing.F) {
	f.Add(logAnswer(f, nil))
	f.Add([]byte(`{"a":{"body":null,"verification":{"inclusionProof":{}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		log := &rekor1{"http://log.acme.dev", &http.Client{Transport: answers(raw)}}
		created, err := log.CreateLogEntry(entries.NewCreateLogEntryParams().WithProposedEntry(&models.Hashedrekord{}))
		if err != nil {
			return
		}
		if entry, err := tle.GenerateTransparencyLogEntry(created.Payload[created.ETag]); err == nil && entry.GetInclusionPromise() == nil {
			t.Fatalf("without a promise: %s", raw)
		}
	})
}

// answers is a transport that knows one answer.
type answers []byte

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "log.acme.dev" {
		return nil, errors.New("asked " + r.URL.Host)
	}
	return &http.Response{StatusCode: http.StatusCreated, Body: io.NopCloser(strings.NewReader(string(a))), Header: http.Header{}}, nil
}

func TestAKeylessSignerKnowsTwoVersionsOfLogs(t *testing.T) {
	fulcio := newCertifier(t)
	for version, want := range map[int]bool{0: false, 1: true, 2: true, 3: false} {
		_, err := NewKeyless(KeylessOptions{
			Fulcio: fulcio.url, Token: func() (string, error) { return anIdentityToken, nil }, Proof: fulcio, Fingerprint: "sealgate",
			Rekor: "https://rekor.acme.dev", RekorVersion: version,
		})
		if (err == nil) != want {
			t.Errorf("version %s: got %v", fmt.Sprint(version), err)
		}
	}
}
