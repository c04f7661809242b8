package ledger

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/sealgate/sealgate/policy"
)

// Bounds of what is remembered of subjects that were dropped: longer than any verification takes that was under way.
const (
	maxDropped  = 65_536
	droppedTime = 2 * time.Minute
)

// Evidence remembers what registries said is attached to subjects, as raw bytes, each with the time at which it was so. Its
// methods are what a verifier needs of a memory. It is safe for concurrent use.
//
// Whoever edits the file cannot make a signature: the verifier verifies what it gets again. But he could hide the newest scan,
// or make an old list look fresh. So each entry is authenticated, with a secret that is not beside it: what the secret does not
// confirm was never there.
type Evidence struct {
	store   *store
	newest  *newest
	secret  []byte
	dropped *expirable.LRU[policy.Subject, time.Time]
}

// Evidence returns the memory of evidence under a secret, of whoever can seal images in any case. Without one, what is kept is
// forgotten with the process. What was kept under another secret is not recalled.
func (l *Ledger) Evidence(secret []byte) *Evidence {
	if len(secret) == 0 {
		secret = make([]byte, sha256.Size)
		_, _ = rand.Read(secret) // never fails, or ends the program
	}
	return &Evidence{store: l.store, newest: l.newest, secret: secret, dropped: expirable.NewLRU[policy.Subject, time.Time](maxDropped, nil, droppedTime)}
}

// Keep remembers what was so at a time, in the place of what was before. It is written a little later. What is older than a
// drop of its subject is not kept.
func (e *Evidence) Keep(s policy.Subject, at time.Time, raw []byte) {
	sum := sha256.Sum256(raw)
	stamp, repo, digest := at.UnixNano(), s.Repo, s.Digest.String()
	e.store.soon(func(tx *sql.Tx) error {
		if dropped, ok := e.dropped.Get(s); ok && !at.After(dropped) {
			return nil
		}
		var before []byte
		err := tx.QueryRow("SELECT sum FROM evidence WHERE repo = ? AND digest = ?", repo, digest).Scan(&before)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if _, err := tx.Exec("INSERT INTO bodies (sum, body) VALUES (?, ?) ON CONFLICT DO NOTHING", sum[:], raw); err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT OR REPLACE INTO evidence (repo, digest, at, sum, mac) VALUES (?, ?, ?, ?, ?)",
			repo, digest, stamp, sum[:], e.mac(s, stamp, sum[:])); err != nil {
			return err
		}
		return tidy(tx, before)
	})
}

// Recall returns what was kept, and when it was so. ok is false where nothing was, or nothing that can be believed.
func (e *Evidence) Recall(s policy.Subject) (at time.Time, raw []byte, ok bool) {
	var stamp int64
	var sum, mac []byte
	err := e.store.read(func(db *sql.DB) error {
		return db.QueryRow("SELECT at, evidence.sum, mac, body FROM evidence JOIN bodies ON bodies.sum = evidence.sum WHERE repo = ? AND digest = ?",
			s.Repo, s.Digest.String()).Scan(&stamp, &sum, &mac, &raw)
	})
	if time.Now().Before(e.newest.time().Add(-maxBehind)) {
		return time.Time{}, nil, false // a clock that went back cannot tell how old it is
	}
	if err != nil || !hmac.Equal(mac, e.mac(s, stamp, sum)) {
		return time.Time{}, nil, false
	}
	if got := sha256.Sum256(raw); !hmac.Equal(got[:], sum) {
		return time.Time{}, nil, false
	}
	return time.Unix(0, stamp), raw, true
}

// Drop forgets a subject, because something else is attached to it now. It has happened when Drop returns.
func (e *Evidence) Drop(s policy.Subject) {
	e.dropped.Add(s, time.Now()) // what waits to be written is not, from here on
	repo, digest := s.Repo, s.Digest.String()
	var sum []byte
	err := e.store.read(func(db *sql.DB) error {
		return db.QueryRow("SELECT sum FROM evidence WHERE repo = ? AND digest = ?", repo, digest).Scan(&sum)
	})
	if err != nil {
		return // most subjects are not remembered; and a file that fails was set aside
	}
	_ = e.store.now(func(tx *sql.Tx) error { // the error was reported, and the file set aside
		if _, err := tx.Exec("DELETE FROM evidence WHERE repo = ? AND digest = ?", repo, digest); err != nil {
			return err
		}
		return tidy(tx, sum)
	})
}

// tidy removes a body that no entry has any more.
func tidy(tx *sql.Tx, sum []byte) error {
	_, err := tx.Exec("DELETE FROM bodies WHERE sum = ?1 AND NOT EXISTS (SELECT 1 FROM evidence WHERE sum = ?1)", sum)
	return err
}

// mac authenticates an entry: whose it is, when it was so, and what.
func (e *Evidence) mac(s policy.Subject, stamp int64, sum []byte) []byte {
	h := hmac.New(sha256.New, e.secret)
	for _, part := range [][]byte{[]byte("sealgate evidence v1"), []byte(s.Repo), []byte(s.Digest), binary.BigEndian.AppendUint64(nil, uint64(stamp)), sum} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write(part)
	}
	return h.Sum(nil)
}
